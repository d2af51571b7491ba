"""The setup of the server: its version, levels, product groups, and the clients that send reports.

Sources: ``GET /api/App/Version``, ``GET /api/App/Levels``, ``GET /api/App/ProductGroups``,
``GET /api/SystemManager/Clients`` (api-facts §2.5, §2.10, §2.13). The fields of levels and groups are not
documented. The columns are those that clients of WATS read, also under the names that the server's own pages
use; other fields go to ``_extra``.
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
    doc="one row per level that the token may read",
    docs={"parent_id": "joins levels.level_id: the level above; not every server returns it"},
)
_GROUPS = table(
    "product_groups",
    "product_group_id",
    whole("productGroupId|id=product_group_id"),
    text("productGroupName|name=product_group_name"),
    text("owner description"),
    whole("type"),
    uuid("syncId"),
    doc="one row per product group",
    counted=True,
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
    doc="one row per filter that selects the products of a group",
    docs={
        "part_number": "may contain the wildcards % (any text) and _ (any character)",
        "revision": "may contain the wildcards % (any text) and _ (any character)",
        "exclude": "whether it removes the selected products from the group",
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
    doc="one row per level, server or client of the system",
    docs={
        "parent_id": "joins clients.id: the level or server above it",
        "client_group_id": "joins levels.level_id",
        "type_enum": "1 = local server, 2 = master server, 5 = client, 6 = web client",
        "utc_offset": "in hours",
        "free_space": "in bytes",
        "machine_account_id": "the MAC address",
    },
)

_VERSIONS = table(
    "server_versions",
    "version",
    text("version"),
    doc="one row per version of WATS that the server had when a run asked",
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
    summary="levels of the organization",
    route="App/Levels",
    reader=PagedReader(Snapshot("App/Levels"), FlatShredder(_LEVELS)),
    tables=(_LEVELS,),
    key="level_id",
    unproven="the columns: the specification does not list them",
)

PRODUCT_GROUPS = Resource(
    name="product_groups",
    summary="product groups, with the filters that select their products",
    route="App/ProductGroups",
    reader=PagedReader(
        Snapshot("App/ProductGroups", query={"includeFilters": True}),
        FlatShredder(_GROUPS, [Child(_FILTERS, ("details",))]),
    ),
    tables=(_GROUPS, _FILTERS),
    key="product_group_id",
    unproven="the columns: the specification does not list them",
)

CLIENTS = Resource(
    name="clients",
    summary="levels, servers and clients, with their status",
    route="SystemManager/Clients",
    reader=PagedReader(Snapshot("SystemManager/Clients"), FlatShredder(_CLIENTS)),
    tables=(_CLIENTS,),
    key="id",
    unproven="the columns: they are those of the server's pages, since the specification does not list them",
)
