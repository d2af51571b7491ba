"""Assets: test equipment, its log and its types.

Sources: ``GET /api/Asset/…`` (api-facts §2.8).
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.numbered import NumberedList
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reader import Query
from wats_extract.readers.text_keyset import TextKeyset
from wats_extract.resources.fields import moment, number, place, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import PlacedDocuments
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.shape import one_object

_ASSETS = table(
    "assets",
    "asset_id",
    text("assetId parentAssetId assetName serialNumber parentSerialNumber partNumber revision"),
    uuid("typeId"),
    whole("state"),
    text("description location"),
    moment("firstSeenDate lastSeenDate lastMaintenanceDate nextMaintenanceDate"),
    moment("lastCalibrationDate nextCalibrationDate"),
    whole("totalCount runningCount"),
    text("xmlData"),
    doc="one row per asset",
    docs={
        "state": "0 = unknown, 1 = in operation, 2 = in transit, 3 = in maintenance, 4 = in calibration, "
        "5 = in storage, 6 = scrapped",
        "running_count": "uses since the last calibration",
        "total_count": "uses in its lifetime",
        "type_id": "joins asset_types.type_id",
    },
)
_LOG = table(
    "asset_logs",
    "log_id",
    whole("logId"),
    text("assetId serialNumber"),
    moment("date"),
    text("user"),
    whole("type"),
    text("property value comment"),
    doc="one row per entry in the log of an asset",
    docs={
        "asset_id": "joins assets.asset_id",
        "type": "0 = message, 1 = register, 2 = update, 3 = reset count, 4 = calibration, 5 = maintenance; "
        "values up to 8 exist",
    },
    version="log_id",
)
_TYPES = table(
    "asset_types",
    "type_id",
    uuid("typeId"),
    text("typeName"),
    whole("runningCountLimit totalCountLimit"),
    number("maintenanceInterval calibrationInterval warningThreshold alarmThreshold"),
    truth("isReadonly"),
    text("icon"),
    doc="one row per asset type",
    docs={
        "maintenance_interval": "in days; -1 = unlimited, -2 = external",
        "calibration_interval": "in days; -1 = unlimited, -2 = external",
        "warning_threshold": "in percent",
        "alarm_threshold": "in percent",
    },
)

_STATUSES = table(
    "asset_statuses",
    "asset_id",
    text("=asset_id"),
    whole("Status"),
    text("Message"),
    number("CalibrationDaysOverdue MaintenanceDaysOverdue"),
    whole("TotalCount TotalCountExceeded RunningCount RunningCountExceeded"),
    doc="one row per asset: its status when it was read",
    docs={
        "asset_id": "joins assets.asset_id",
        "status": "0 = OK, 1 = not registered, 2 = warning, 3 = alarm, 4 = system error, 5 = asset error",
        "calibration_days_overdue": "in days",
        "maintenance_days_overdue": "in days",
        "total_count": "uses in its lifetime",
        "running_count": "uses since the last calibration",
    },
)
_SUB_ASSETS = table(
    "sub_assets",
    "asset_id sub_asset_index",
    text("=asset_id"),
    place("sub_asset_index", "the assets that it contains"),
    text("assetId=sub_asset_id parentAssetId assetName serialNumber parentSerialNumber partNumber revision"),
    uuid("typeId"),
    whole("state"),
    text("description location"),
    whole("totalCount runningCount"),
    doc="one row per asset that is part of another one, at any level below it",
    docs={
        "asset_id": "joins assets.asset_id: the asset that contains it",
        "sub_asset_id": "joins assets.asset_id",
    },
    owner="asset_id",
)
_FIGURES = "CalibrationDaysOverdue|MaintenanceDaysOverdue|TotalCount|RunningCount"
"""Error objects have ``status`` and ``message`` too."""

ASSET_LIST = TextKeyset(route="Asset", field="assetId")

ASSETS = Resource(
    name="assets",
    summary="test equipment",
    route="Asset",
    reader=PagedReader(ASSET_LIST, FlatShredder(_ASSETS)),
    tables=(_ASSETS,),
    key="asset_id",
    filters={column.name: column for column in _ASSETS.columns},
)

ASSET_LOGS = Resource(
    name="asset_logs",
    summary="the log of assets; later runs read only new entries",
    route="Asset/Log",
    reader=PagedReader(
        NumberedList(Keyset(route="Asset/Log", field="logId", key="logId", page_size=1000, overlap=100)),
        FlatShredder(_LOG),
    ),
    tables=(_LOG,),
    key="log_id",
    cursor="logId",
    filters={column.name: column for column in _LOG.columns},
)

ASSET_TYPES = Resource(
    name="asset_types",
    summary="asset types and their limits",
    route="Asset/Types",
    reader=PagedReader(TextKeyset(route="Asset/Types", field="typeName"), FlatShredder(_TYPES)),
    tables=(_TYPES,),
    key="type_id",
    filters={column.name: column for column in _TYPES.columns},
)


def _of_each(name: str, route: str, summary: str, *, rows: FlatShredder, query: Query) -> Resource:
    """Return a resource that sends one request per asset."""
    return Resource(
        name=name,
        summary=summary,
        route=route,
        reader=ByKeyReader(
            listing=ASSET_LIST,
            asked={},
            route=route,
            query=lambda key, options: {"id": key, **query},
            shredder=PlacedDocuments(
                FlatShredder(_ASSETS),
                rows,
                placed=lambda key, version, place: (key, place) if rows.shape.lists else (key,),
            ),
        ),
        tables=(rows.table,),
        key="asset_id",
        unproven="the columns: the specification does not list them",
    )


ASSET_STATUSES = _of_each(
    "asset_statuses",
    "Asset/Status",
    "whether each asset may be used: calibration, maintenance and use counts",
    rows=FlatShredder(_STATUSES, shape=one_object(f"Status {_FIGURES}")),
    query={},
)
SUB_ASSETS = _of_each(
    "sub_assets",
    "Asset/SubAssets",
    "the assets that each asset contains",
    rows=FlatShredder(_SUB_ASSETS),
    query={"level": 0},
)
