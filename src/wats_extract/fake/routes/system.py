"""Routes for the configuration of the server: processes, levels, groups, clients, barcodes, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid5

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, json_response
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.programs import BURN_IN, FUNCTION, ICT, REPAIR, REPAIR_CODES, Process
from wats_extract.fake.plant.scenario import BENCHES, PLACES, TESTERS
from wats_extract.fake.plant.stores import Store, Table
from wats_extract.fake.routes.products import GROUPS, group_rows
from wats_extract.fake.routes.scim import Users

TOP_LEVEL = "Fjordtest"
LEVELS: Mapping[str, str] = {place.split(",")[0]: place for place in PLACES}
"""The levels below the top level, and the location of their reports."""

FAILURE_TYPES = {"Component": 4, "Solder process": 6, "Assembly process": 6, "No failure found": 3}
"""The failure type per repair category: 3 no failure found, 4 component, 6 manual process."""

_CLIENT = dict.fromkeys((
    "id", "parentId", "clientGroupId", "clientId", "name", "displayName", "siteCode", "regDateUtc",
    "location", "purpose", "typeEnum", "type", "acceptedVersion", "utcOffset", "lastPingUtc",
    "recentReportCount", "lastReportUtc", "pendingCount", "gps", "status", "statusString", "version",
    "osVersion", "machineAccountId", "disks", "converters", "deployments", "softwarePackages",
))  # fmt: skip
_BARCODE: Json = {
    "id": None, "pattern": None, "serialNumber": None, "partNumber": None, "revision": None,
    "batchNumber": None, "process": None, "order": 0, "description": None,
}  # fmt: skip
_LEVEL_KIND, _SERVER_KIND, _CLIENT_KIND = (0, "Level"), (2, "Master server"), (5, "Client")

_TEST, _REPAIR, _WIP = "includeTestOperations", "includeRepairOperations", "includeWipOperations"


class System(Store):
    """The configuration of the server.

    Args:
        plant: The reports.
        clients: The number of nodes: levels, the server, the stations of the reports, further clients.
        barcodes: The number of barcode patterns.
        exports: The number of exports of the token's user.

    Attributes:
        levels: The levels by `levelId`, with the `parentId`, which `App/Levels` does not return.
        clients: The nodes by `id`.
        barcodes: The barcode patterns by `id`.
        exports: The exports by `name`.
    """

    def __init__(self, plant: Plant, *, clients: int = 20, barcodes: int = 6, exports: int = 3) -> None:
        super().__init__(plant)
        self._client_count = clients
        self.levels = Table("levelId", {"levelId": None, "levelName": None, "parentId": None}, _level_rows)
        self.clients = Table("id", _CLIENT, self._client_rows)
        self.barcodes = Table("id", _BARCODE, lambda: map(_barcode, range(barcodes)))
        self.exports = Table("name", {}, lambda: ({"name": f"yield-{n:03d}.xlsx"} for n in range(exports)))

    def _client_rows(self) -> Iterator[Json]:
        levels = [{"clientGroupId": row["levelId"], "name": row["levelName"], **_kind(_LEVEL_KIND),
                   "parentId": row["parentId"]} for row in self.levels.rows()]  # fmt: skip
        server = {"name": "FJORD-WATS", "parentId": 1, **_kind(_SERVER_KIND), "acceptedVersion": "7.0"}
        stations = chain(*TESTERS.values(), BENCHES, (f"LAB-{n:04d}" for n in range(self._client_count)))
        rows = [*levels, server, *(self._station(name) for name in stations)]
        for number, row in enumerate(rows[: self._client_count], 1):
            mac = f"8C16{number:08X}"
            yield {"id": number, "displayName": row["name"], **row} | (
                {"clientId": number, "machineAccountId": mac} if row["typeEnum"] != _LEVEL_KIND[0] else {}
            )

    def _station(self, name: str) -> Json:
        rng = self.rng("client", name)
        level = next((n for n, city in enumerate(LEVELS, 2) if name.startswith(_ascii(city))), 1)
        seen = self.plant.now - rng.randrange(90 * 24) * clock.HOUR // 13
        return {
            "name": name,
            "parentId": level,
            "clientGroupId": level,
            "siteCode": f"NO-{level}",
            **_kind(_CLIENT_KIND),
            "location": (None, *PLACES)[level - 1],
            "purpose": "Repair" if "REPAIR" in name else "Production",
            "regDateUtc": clock.utc(clock.OPENING - rng.randrange(2000) * clock.DAY),
            "lastPingUtc": clock.utc(seen),
            "lastReportUtc": clock.utc(seen) if level > 1 else None,
            "recentReportCount": rng.randrange(500),
            "pendingCount": rng.choice((0, 0, 0, 4)),
            "utcOffset": 1.0,
            "status": 1,
            "statusString": "Online",
            "version": "7.0.312.0",
            "osVersion": "Microsoft Windows 11 Pro",
            "disks": [{"name": "C:", "size": 512 << 30, "free": rng.randrange(400 << 30)}],
            "converters": [],
            "deployments": [],
            "softwarePackages": [],
        }


def version(call: Call) -> Response:
    """`GET /api/App/Version`: a JSON string."""
    return json_response(call.quirks.version)


def processes(call: Call) -> Response:
    """`GET /api/App/Processes`: active processes, or only some kinds. Keys without a value are left out."""
    kinds = {flag for flag in (_TEST, _REPAIR, _WIP) if call.flag(flag, default=False)}
    inactive = call.flag("includeInactiveProcesses", default=False)
    found = [
        each
        for kind, each in _processes()
        if (not kinds or kind in kinds) and (inactive or each["state"] == 1)
    ]
    return json_response(found)


def process_rows() -> list[Json]:
    """All processes as in `App/Processes`, each with an `id`."""
    return [{**row, "id": _id("process", row["name"])} for _, row in _processes()]


def levels(call: Call) -> Response:
    """`GET /api/App/Levels`, with the keys that clients of WATS read. The specification names none."""
    rows = call.store(System).levels.rows()
    return call.json([{name: row[name] for name in ("levelId", "levelName")} for row in rows])


def product_groups(call: Call) -> Response:
    """`GET /api/App/ProductGroups`: with `includeFilters` the part numbers of each group as `details`."""
    rows = list(group_rows())
    if call.flag("includeFilters", default=False):
        rows = [row | {"details": _filters(row["productGroupName"])} for row in rows]
    return call.json(rows)


def common_user_settings(call: Call) -> Response:
    """`GET /api/App/CommonUserSettings?UserName=…`. Some users are limited to a level and a group."""
    name = call.required("UserName")
    user = call.store(Users).named(name)
    limited = user is not None and len(user["userName"]) % 3 == 0
    return call.item(
        user
        and {
            "fullName": user["displayName"],
            "cultureCode": "nb-NO",
            "email": user["emails"][0]["value"] if user["emails"] else None,
            "roles": ["Administrator"] if not limited else ["Operator"],
            "levels": ["Horten"] if limited else [],
            "productGroups": ["Boards"] if limited else [],
        },
        f"User '{name}'",
    )


def clients(call: Call) -> Response:
    """`GET /api/SystemManager/Clients`: levels and clients, with the columns of the server's own pages."""
    return call.json(call.store(System).clients.rows())


def client(call: Call) -> Response:
    """`GET /api/SystemManager/Client?name=…` or `identifier=…`, which is the MAC in `machineAccountId`."""
    name, mac = call.query.get("name"), call.query.get("identifier")
    if name is None and mac is None:
        raise RefusedError(400, "Either name or identifier is required.")
    return call.item(_client(call, name, mac), f"Client '{name or mac}'")


def client_log(call: Call) -> Response:
    """`GET /api/SystemManager/ClientLog/{identifier}`: plain text."""
    (mac,) = call.names()
    row = _client(call, None, mac)
    if row is None:
        raise RefusedError(404, f"Client '{mac}' was not found.")
    lines = (row["regDateUtc"], "Registered"), (row["lastPingUtc"], "Service is running ✓")
    text = "\r\n".join(f"{moment} INFO {row['name']} {words}" for moment, words in lines)
    return Response(200, text.encode(), "text/plain; charset=utf-8")


def level(call: Call) -> Response:
    """`GET /api/SystemManager/Level?hierarchy=a&hierarchy=b`: the id of the level at this path, or null."""
    names = [value for name, value in parse_qsl(call.request.query) if name.lower() == "hierarchy"]
    if not names:
        call.required("hierarchy")
    found: int | None = None
    for name in names:
        below = (row for row in call.store(System).levels.rows() if row["parentId"] == found)
        found = next((row["levelId"] for row in below if collated(row["levelName"]) == collated(name)), None)
        if found is None:
            break
    return json_response(found)


def system_status(call: Call) -> Response:
    """`GET /api/SystemStatus`: texts by name."""
    return json_response(
        {"Version": call.quirks.version, "Database": "OK", "ReportQueue": "0", "License": "Valid"}
    )


def barcode_identifiers(call: Call) -> Response:
    """`GET /api/BarcodeIdentifiers/BarcodeIdentifiers`: sorted by `order`."""
    return call.json(sorted(call.store(System).barcodes.rows(), key=lambda row: int(row["order"])))


def exports(call: Call) -> Response:
    """`GET /api/Export/List`: file names."""
    return json_response([row["name"] for row in call.store(System).exports.rows()])


# ------------------------------------------------------------ data


def _level_rows() -> Iterator[Json]:
    yield {"levelId": 1, "levelName": TOP_LEVEL}
    yield from ({"levelId": n, "levelName": name, "parentId": 1} for n, name in enumerate(LEVELS, 2))


def _kind(kind: tuple[int, str]) -> Json:
    return {"typeEnum": kind[0], "type": kind[1]}


def _ascii(city: str) -> str:
    return city.upper().replace("Ń", "N")


def _client(call: Call, name: str | None, mac: str | None) -> Json | None:
    """The client with this name, or without a name the client with this MAC. Levels are not clients."""
    field, wanted = ("machineAccountId", mac) if name is None else ("name", name)
    rows = (row for row in call.store(System).clients.rows() if row["clientId"])
    return next((row for row in rows if collated(row[field]) == collated(wanted)), None)


def _filters(group: str) -> list[Json]:
    return [
        {
            "id": number,
            "partNumber": pattern.replace("*", "%"),
            "revision": "%",
            "exclude": False,
            "orderNo": number,
        }
        for number, pattern in enumerate(GROUPS[group], 1)
    ]


def _barcode(number: int) -> Json:
    part = ("partNumber", "revision", "batchNumber", "process")[number % 4]
    return {
        "id": number + 1,
        "pattern": rf"^(SN\d{{{7 + number % 5}}});(.+)$",
        "serialNumber": "$1",
        part: "$2",
        "order": 97 * number % 101,
        "description": None if number % 3 else f"Etikett {number}",
    }


@cache
def _processes() -> tuple[tuple[str, dict[str, Any]], ...]:
    return (
        (_TEST, _process(ICT, _TEST, 1, description="In-circuit test")),
        (_TEST, _process(FUNCTION, _TEST, 2)),
        (_TEST, _process(BURN_IN, _TEST, 3)),
        (_TEST, _process(Process(40, "Final test (old)"), _TEST, 4, active=False)),
        (_WIP, _process(Process(200, "Packing"), _WIP, 5)),
        (_REPAIR, _process(REPAIR, _REPAIR, 6) | {"repairOperation": _repair_operation()}),
    )


def _process(
    process: Process, kind: str, index: int, *, description: str = "", active: bool = True
) -> dict[str, Any]:
    return {
        "name": process.name,
        "code": process.code,
        **({"description": description} if description else {}),
        "isTestOperation": kind == _TEST,
        "isRepairOperation": kind == _REPAIR,
        "isWipOperation": kind == _WIP,
        "processIndex": index,
        "state": int(active),
    }


def _repair_operation() -> dict[str, Any]:
    return {
        "uutBinding": 1,
        "bomBinding": 2,
        "vendorBinding": 1,
        "compRefMask": "^[A-Z]+[0-9]+$",
        "compRefValidationText": "Letters, then a number",
        "repairCategories": [
            {
                "id": _id(category),
                "description": category,
                "status": 1,
                "repairCodes": [
                    {"id": _id(category, code), "description": code, "failureType": FAILURE_TYPES[category],
                     "imageConstraint": "1", "status": 1}
                    for code in codes
                ],
            }
            for category, codes in REPAIR_CODES.items()
        ],
        "miscInfos": [{"id": _id("Ticket"), "description": "Ticket", "status": 1, "sortOrder": 0}],
    }  # fmt: skip


def _id(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(("wats", *names))))


ROUTES = (
    Route("GET", "/api/App/Version", version),
    Route("GET", "/api/App/Processes", processes),
    Route("GET", "/api/App/Levels", levels),
    Route("GET", "/api/App/ProductGroups", product_groups),
    Route("GET", "/api/App/CommonUserSettings", common_user_settings),
    Route("GET", "/api/SystemManager/Clients", clients),
    Route("GET", "/api/SystemManager/Client", client),
    Route("GET", "/api/SystemManager/ClientLog/{}", client_log),
    Route("GET", "/api/SystemManager/Level", level),
    Route("GET", "/api/SystemStatus", system_status),
    Route("GET", "/api/BarcodeIdentifiers/BarcodeIdentifiers", barcode_identifiers),
    Route("GET", "/api/Export/List", exports),
)
