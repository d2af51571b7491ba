"""Software packages, their files, and the folders that contain them.

Sources: ``GET /api/Software/…`` (api-facts §2.9).
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import moment, place, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import PlacedDocuments
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.shape import list_or_object

_PACKAGES = table(
    "packages",
    "package_id",
    uuid("packageId"),
    text("name"),
    whole("version"),
    text("status description"),
    truth("installOnRoot"),
    text("rootDirectory"),
    whole("priority"),
    uuid("virtualFolderId"),
    moment("created"),
    text("createdBy"),
    moment("modified"),
    text("modifiedBy"),
    moment("released"),
    text("releasedBy"),
    moment("revoked"),
    text("revokedBy"),
    doc="one row per version of a package",
    docs={
        "status": "Draft, Pending, Released or Revoked",
        "virtual_folder_id": "joins virtual_folders.id",
    },
    counted=True,
)
_TAGS = table(
    "package_tags",
    "package_id tag_index",
    uuid("=package_id"),
    place("tag_index", "the package's tags"),
    text("key value"),
    whole("change"),
    doc="one row per tag of a package",
    owner="package_id",
)
_FILES = table(
    "package_files",
    "package_id file_index",
    uuid("=package_id"),
    place("file_index", "the package's files"),
    uuid("packageFileId"),
    text("name packageFolderName attributes Description"),
    doc="one row per file of a package, without its content",
    docs={"package_id": "joins packages.package_id"},
    owner="package_id",
)
_FOLDERS = table(
    "virtual_folders",
    "id",
    uuid("id parentId"),
    text("name description"),
    doc="one row per folder of packages",
)

_PACKAGE_OR_LIST = list_or_object("packageId")
"""The specification says one package in its schema, and a list in its text."""

PACKAGE_LIST = Snapshot("Software/Packages")

PACKAGES = Resource(
    name="packages",
    summary="software packages, one row per version",
    route="Software/Packages",
    reader=PagedReader(
        PACKAGE_LIST,
        FlatShredder(_PACKAGES, [Child(_TAGS, ("tags",))], shape=_PACKAGE_OR_LIST),
    ),
    tables=(_PACKAGES, _TAGS),
    key="package_id",
)

VIRTUAL_FOLDERS = Resource(
    name="virtual_folders",
    summary="folders of software packages",
    route="Software/VirtualFolders",
    reader=PagedReader(Snapshot("Software/VirtualFolders"), FlatShredder(_FOLDERS)),
    tables=(_FOLDERS,),
    key="id",
)

PACKAGE_FILES = Resource(
    name="package_files",
    summary="the files in each software package",
    route="Software/PackageFiles/{key}",
    reader=ByKeyReader(
        listing=PACKAGE_LIST,
        asked={},
        route="Software/PackageFiles/{key}",
        query=lambda key, options: {},
        shredder=PlacedDocuments(
            FlatShredder(_PACKAGES, [Child(_TAGS, ("tags",))], shape=_PACKAGE_OR_LIST),
            FlatShredder(_FILES),
            placed=lambda key, version, place: (key, place),
        ),
    ),
    tables=(_FILES,),
    key="package_id",
)
