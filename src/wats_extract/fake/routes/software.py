"""Routes below `/api/Software`: packages, one row per version, their files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wats_extract.fake.exchange import Call, Response, Route, invalid
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.stores import Store, Table

STATUSES = ("Draft", "Pending", "Released", "Revoked")

_PACKAGE: Json = {
    "packageId": None, "name": None, "installOnRoot": False, "version": 1, "description": None,
    "rootDirectory": None, "tags": [], "modified": None, "modifiedBy": None, "status": "Draft",
    "priority": 0, "virtualFolderId": None, "created": None, "createdBy": None, "released": None,
    "releasedBy": None, "revoked": None, "revokedBy": None,
}  # fmt: skip
_FILE = dict.fromkeys(
    ("packageFileId", "name", "packageFolderName", "attributes", "Description", "packageId")
)
_FOLDERS = ("Fjordtest", "Test programs", "Drivers", "Målerom")
_PROGRAMS = ("ICT", "Functional test", "Burn in", "Repair", "Driver DMM", "Driver PSU")


class Software(Store):
    """The packages.

    Each program has up to four versions: revoked, released, pending, and a draft. The folders form a tree,
    and the root has no parent.

    Args:
        plant: The reports.
        count: The number of packages.
        files: The most files per package. Every fifth package is empty.

    Attributes:
        packages: The packages by `packageId`.
        files: The files by `packageFileId`, with the `packageId`, which the server does not return.
        folders: The folders by `id`.
    """

    def __init__(self, plant: Plant, *, count: int = 18, files: int = 3) -> None:
        super().__init__(plant)
        self._count, self._file_count = count, files
        self.packages = Table("packageId", _PACKAGE, lambda: map(self._package, range(count)))
        self.files = Table("packageFileId", _FILE, self._file_rows)
        self.folders = Table(
            "id", {"id": None, "parentId": None, "name": None, "description": None}, self._tree
        )

    def _package(self, number: int) -> Json:
        program, step = divmod(number, 4)
        name = _PROGRAMS[program] if program < len(_PROGRAMS) else f"Program {program:04d}"
        rng = self.rng("package", number)
        created = clock.OPENING - (400 - 90 * step + rng.randrange(60)) * clock.DAY
        moments = [clock.utc(created + days * clock.DAY + rng.randrange(10**11)) for days in (0, 3, 80, 90)]
        status = ("Revoked", "Released", "Pending", "Draft")[step]
        return {
            "packageId": self.guid("package", number),
            "name": name,
            "version": step + 1,
            "installOnRoot": program % 3 == 0,
            "description": "Måling og «kalibrering»" if step % 2 else None,
            "rootDirectory": "C:\\Test" if program % 3 else None,
            "tags": [{"key": "Stage", "value": ("Pilot", "Series")[step % 2], "change": 0}]
            if program % 2
            else [],
            "modified": moments[1],
            "modifiedBy": "tor",
            "status": status,
            "priority": program % 3,
            "virtualFolderId": self.guid("folder", program % len(_FOLDERS)),
            "created": moments[0],
            "createdBy": "ewa",
            **({"released": moments[2], "releasedBy": "tor"} if status in ("Released", "Revoked") else {}),
            **({"revoked": moments[3], "revokedBy": "åse"} if status == "Revoked" else {}),
        }

    def _file_rows(self) -> Iterator[Json]:
        for number in range(self._count):
            for place in range(0 if number % 5 == 4 else 1 + number % max(1, self._file_count)):
                yield {
                    "packageFileId": self.guid("package file", number, place),
                    "name": f"{('main', 'limits', 'readme')[place % 3]}{place or ''}.seq",
                    "packageFolderName": ("", "config", "doc/norsk")[place % 3],
                    "attributes": "ExecuteOnce" if place == 0 else "None",
                    "Description": "Grenseverdier" if place == 1 else None,
                    "packageId": self.guid("package", number),
                }

    def _tree(self) -> Iterator[Json]:
        for number, name in enumerate(_FOLDERS):
            parent = self.guid("folder", number // 2) if number else None
            yield {"id": self.guid("folder", number), "parentId": parent, "name": name}


# ------------------------------------------------------------ routes


def packages(call: Call) -> Response:
    """`GET /api/Software/Packages`: all versions of all packages, or with a quirk only the first one."""
    rows = call.store(Software).packages.rows()
    return call.json(next(iter(rows), None) if call.quirks.single_package else rows)


def package(call: Call) -> Response:
    """`GET /api/Software/Package/{id}`."""
    (key,) = call.names()
    return call.item(call.store(Software).packages.get(key), f"Package '{key}'")


def package_by_name(call: Call) -> Response:
    """`GET /api/Software/PackageByName?name=…&status=…`: the given `version`, by default the newest."""
    name, status, version = call.required("name"), _status(call), call.number("version")
    rows = [row for row in _with_status(status, call) if collated(row["name"]) == collated(name)]
    found = [row for row in rows if version is None or row["version"] == version]
    return call.item(max(found, key=lambda row: int(row["version"]), default=None), f"Package '{name}'")


def packages_by_tag(call: Call) -> Response:
    """`GET /api/Software/PackagesByTag?tag=name=value&status=…`. Only the name is case-sensitive."""
    key, _, value = call.required("tag").partition("=")
    return call.json([row for row in _with_status(_status(call), call) if _has_tag(row["tags"], key, value)])


def package_files(call: Call) -> Response:
    """`GET /api/Software/PackageFiles/{id}`: the files of a package; an empty list for an unknown package."""
    (key,) = call.names()
    rows = (row for row in call.store(Software).files.rows() if row["packageId"] == key.lower())
    return call.json([{name: each for name, each in row.items() if name != "packageId"} for row in rows])


def virtual_folders(call: Call) -> Response:
    """`GET /api/Software/VirtualFolders`."""
    return call.json(call.store(Software).folders.rows())


def _status(call: Call) -> str:
    text = call.required("status")
    if text.capitalize() not in STATUSES:
        raise invalid("status", text)
    return text.capitalize()


def _with_status(status: str, call: Call) -> Iterator[Json]:
    return (row for row in call.store(Software).packages.rows() if row["status"] == status)


def _has_tag(tags: Iterable[Json], key: str, value: str) -> bool:
    return any(tag["key"] == key and collated(tag["value"]) == collated(value) for tag in tags)


ROUTES = (
    Route("GET", "/api/Software/Packages", packages),
    Route("GET", "/api/Software/Package/{}", package),
    Route("GET", "/api/Software/PackageByName", package_by_name),
    Route("GET", "/api/Software/PackagesByTag", packages_by_tag),
    Route("GET", "/api/Software/PackageFiles/{}", package_files),
    Route("GET", "/api/Software/VirtualFolders", virtual_folders),
)
