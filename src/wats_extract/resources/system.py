"""How the server is set up: its version, levels, product groups, and the clients that send reports.

Sources: ``GET /api/App/Version``, ``GET /api/App/Levels``, ``GET /api/App/ProductGroups``,
``GET /api/SystemManager/Clients`` (api-facts §2.5, §2.10, §2.13). Nothing documents the fields of levels and
groups: those that clients of WATS
expect are columns, under the names of the server's own pages too; all else lands in ``_extra``.
"""

from __future__ import annotations

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import long, moment, number, place, table, text, tree, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder, VersionShredder

_LEVELS = table(
    "levels",
    "level_id",
    whole("levelId|clientGroupId=level_id"),
    text("levelName|name=level_name"),
    whole("parentId"),
    text("type gps"),
    doc="one row a level that the token may see",
    docs={"parent_id": "the level above; not every server tells it"},
)
_GROUPS = table(
    "product_groups",
    "product_group_id",
    whole("productGroupId|id=product_group_id"),
    text("productGroupName|name=product_group_name"),
    text("owner description"),
    whole("type"),
    uuid("syncId"),
    doc="one row a product group",
)
_FILTERS = table(
    "product_group_filters",
    "product_group_id filter_index",
    whole("=product_group_id"),
    place("filter_index", "the group's filters"),
    whole("id"),
    text("partNumber revision"),
    truth("exclude"),
    whole("orderNo"),
    doc="one row a filter that says which products are in a group",
    docs={
        "part_number": "% and _ stand for any text and any letter",
        "revision": "% and _ stand for any text and any letter",
        "exclude": "what it finds is not in the group",
    },
    owner="product_group_id",
)
_CLIENTS = table(
    "clients",
    "id",
    whole("id parentId clientGroupId clientId"),
    text("name displayName siteCode location purpose"),
    whole("typeEnum"),
    text("type description machineAccountId"),
    truth("isSelf"),
    text("version acceptedVersion updateStatus"),
    whole("status"),
    text("statusString"),
    moment("regDateUtc lastPingUtc lastReportUtc inactiveSinceUtc miscInfoUpdatedUtc"),
    whole("recentReportCount pendingCount"),
    number("utcOffset"),
    text("gps countryCode imageName licenseCompany licenseName licenseNumber"),
    text("osVersion osArchitecture osLanguage clrVersion dbEngine"),
    text("domain totalPhysicalMemory computerModel manufacturer"),
    long("freeSpace"),
    tree("disks converters deployments softwarePackages"),
    doc="one row a level, server or client of the system",
    docs={
        "parent_id": "joins clients.id: the level or server that it stands below",
        "client_group_id": "joins levels.level_id",
        "type_enum": "1 local server, 2 master server, 5 client, 6 web client",
        "utc_offset": "hours",
        "free_space": "bytes",
        "machine_account_id": "the MAC address",
    },
)

_VERSIONS = table(
    "server_versions",
    "version",
    text("version"),
    doc="one row a version of WATS that the server has had when it was asked",
)

VERSION = Resource(
    name="version",
    summary="the version of the server",
    route="App/Version",
    reader=PagedReader(Snapshot("App/Version"), VersionShredder(_VERSIONS)),
    tables=(_VERSIONS,),
    key="version",
)

LEVELS = Resource(
    name="levels",
    summary="levels of the organisation",
    route="App/Levels",
    reader=PagedReader(Snapshot("App/Levels"), FlatShredder(_LEVELS)),
    tables=(_LEVELS,),
    key="level_id",
    unproven="the columns, on which the specification is silent",
)

PRODUCT_GROUPS = Resource(
    name="product_groups",
    summary="product groups, with the filters that fill them",
    route="App/ProductGroups",
    reader=PagedReader(
        Snapshot("App/ProductGroups", query={"includeFilters": True}),
        FlatShredder(_GROUPS, [Child(_FILTERS, ("details",))]),
    ),
    tables=(_GROUPS, _FILTERS),
    key="product_group_id",
    unproven="the columns, on which the specification is silent",
)

CLIENTS = Resource(
    name="clients",
    summary="levels, servers and clients, with their state",
    route="SystemManager/Clients",
    reader=PagedReader(Snapshot("SystemManager/Clients"), FlatShredder(_CLIENTS)),
    tables=(_CLIENTS,),
    key="id",
    unproven="the columns, which are those of the server's own pages; the specification is silent on them",
)
