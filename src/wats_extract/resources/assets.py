"""Assets: what stations test with, its log and its types.

Sources: ``GET /api/Asset/…`` (api-facts §2.8).
"""

from __future__ import annotations

from wats_extract.readers.keyset import Keyset
from wats_extract.readers.listing import NumberedList
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.text_keyset import TextKeyset
from wats_extract.resources.fields import moment, number, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import FlatShredder

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
    doc="one row an asset",
    docs={
        "state": "0 unknown, 1 in operation, 2 transit, 3 maintenance, 4 calibration, 5 storage, 6 scrapped",
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
    doc="one row an entry of an asset's log",
    docs={
        "asset_id": "joins assets.asset_id",
        "type": "0 message, 1 register, 2 update, 3 reset count, 4 calibration, 5 maintenance; up to 8",
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
    doc="one row a type of asset",
    docs={
        "maintenance_interval": "days; -1 unlimited, -2 external",
        "calibration_interval": "days; -1 unlimited, -2 external",
        "warning_threshold": "percent",
        "alarm_threshold": "percent",
    },
)

ASSETS = Resource(
    name="assets",
    summary="what stations test with",
    route="Asset",
    reader=PagedReader(TextKeyset(route="Asset", field="assetId"), FlatShredder(_ASSETS)),
    tables=(_ASSETS,),
    key="asset_id",
    filters={column.name: column for column in _ASSETS.columns},
)

ASSET_LOGS = Resource(
    name="asset_logs",
    summary="what happened to assets; only new entries are read",
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
    summary="types of assets, with their limits",
    route="Asset/Types",
    reader=PagedReader(TextKeyset(route="Asset/Types", field="typeName"), FlatShredder(_TYPES)),
    tables=(_TYPES,),
    key="type_id",
    filters={column.name: column for column in _TYPES.columns},
)
