"""Routes below `/api/Asset`: assets, asset types and the asset log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from wats_extract.fake.exchange import Call, Response, Route
from wats_extract.fake.listing import Listing
from wats_extract.fake.odata import Entity, Kind, Order, collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.stores import Store, Table
from wats_extract.fake.routes.products import tagged

_MODEL = "Virinco.WATS.Web.Dashboard.Models.Mes.Asset.OData"
_ASSET_FIELDS: dict[str, Kind] = {
    "assetId": "string", "parentAssetId": "string", "assetName": "string", "serialNumber": "string",
    "parentSerialNumber": "string", "partNumber": "string", "revision": "string", "typeId": "guid",
    "state": "number", "description": "string", "location": "string", "firstSeenDate": "time",
    "lastSeenDate": "time", "lastMaintenanceDate": "time", "nextMaintenanceDate": "time",
    "lastCalibrationDate": "time", "nextCalibrationDate": "time", "totalCount": "number",
    "runningCount": "number", "xmlData": "string",
}  # fmt: skip
_LOG_FIELDS: dict[str, Kind] = {
    "logId": "number", "assetId": "string", "serialNumber": "string", "date": "time", "user": "string",
    "type": "number", "property": "string", "value": "string", "comment": "string",
}  # fmt: skip
_TYPE_FIELDS: dict[str, Kind] = {
    "typeId": "guid", "typeName": "string", "runningCountLimit": "number", "totalCountLimit": "number",
    "maintenanceInterval": "number", "calibrationInterval": "number", "warningThreshold": "number",
    "alarmThreshold": "number", "isReadonly": "bool", "icon": "string",
}  # fmt: skip
ASSET = Entity(f"{_MODEL}.Asset", _ASSET_FIELDS, {}, tuple(_ASSET_FIELDS))
LOG = Entity(f"{_MODEL}.AssetLog", _LOG_FIELDS, {}, tuple(_LOG_FIELDS))
TYPE = Entity(f"{_MODEL}.AssetType", _TYPE_FIELDS, {}, tuple(_TYPE_FIELDS))

_ASSETS = Listing(ASSET, (Order("assetId", descending=False),))
_LOGS = Listing(LOG, (Order("date", descending=True),))
_TYPES = Listing(TYPE, (Order("typeName", descending=False),))

_TYPE_ROWS: tuple[tuple[str, int | None, float | None, float | None], ...] = (
    ("DMM", 2400, None, 365.0),
    ("Power supply", None, 180.0, 365.0),
    ("Fixture", 50_000, 30.0, -1.0),
    ("Rack", None, None, None),
    ("adapter", 10_000, None, -2.0),
)
"""Name, limit of the running count, maintenance interval and calibration interval in days."""
_TIMES = ("Maintenance", "Calibration")
_USERS = ("kari", "tor", "ewa", "åse")
_ENTRIES = (
    (1, "", None),
    (4, "", "Kalibrert hos Justervesenet"),
    (2, "location", None),
    (0, "", "Ny kabel"),
    (5, "", None),
    (3, "runningCount", None),
)
"""Type, property and comment of an asset's log entries, which repeat in this order."""


class Assets(Store):
    """The assets.

    They are one rack per line, a multimeter and a power supply in each rack, three fixtures, and adapters,
    every third in a fixture. The reports name the same instruments and fixtures. The ids are numbers, some
    with a letter before them; the server sorts them as strings.

    Args:
        plant: The reports.
        count: The number of assets.
        types: The number of types.
        logs: The number of log entries, assigned to the assets in turn.

    Attributes:
        assets: The assets by `assetId`, with the columns of the list and `ClientId`.
        types: The types by `typeId`.
        log: The log entries by `logId`.
    """

    def __init__(self, plant: Plant, *, count: int = 40, types: int = 5, logs: int = 150) -> None:
        super().__init__(plant)
        self._count, self._type_count, self._log_count = count, types, logs
        self.assets = Table("assetId", dict.fromkeys([*_ASSET_FIELDS, "ClientId"]), self._asset_rows)
        self.types = Table("typeId", dict.fromkeys(_TYPE_FIELDS), self._type_rows)
        self.log = Table("logId", dict.fromkeys(_LOG_FIELDS), self._log_rows)

    def delete(self, asset_id: str) -> None:
        """Delete an asset and its log, as the server does.

        Raises:
            KeyError: There is no such asset.
        """
        entries = [row["logId"] for row in self.log.rows() if row["assetId"] == asset_id]
        self.assets.delete(asset_id)
        for each in entries:
            self.log.delete(each)

    def find(self, name: str | None) -> Json | None:
        """The asset with this id, or else with this serial number; None if there is none."""
        if name is None:
            return None
        by_serial = (row for row in self.assets.rows() if collated(row["serialNumber"]) == collated(name))
        return self.assets.get(name) or next(by_serial, None)

    def below(self, asset: Json, levels: int = 0) -> list[Json]:
        """The assets within an asset, down to this number of levels; 0 for all."""
        children: dict[str | None, list[Json]] = {}
        for row in self.assets.rows():
            children.setdefault(row["parentAssetId"], []).append(row)
        found: list[list[Json]] = []
        level, seen = [asset], {asset["assetId"]}
        while level and (not levels or levels > len(found)):
            level = [row for each in level for row in children.get(each["assetId"], ())]
            level = [row for row in level if row["assetId"] not in seen]
            seen.update(row["assetId"] for row in level)
            found.append(level)
        return list(chain.from_iterable(found))

    # -------------------------------------------------------- rows

    def _type_rows(self) -> Iterator[Json]:
        for number in range(self._type_count):
            known = number < len(_TYPE_ROWS)
            name, limit, maintenance, calibration = (
                _TYPE_ROWS[number] if known else (f"Type {number:04d}", None, None, 90.0)
            )
            yield {
                "typeId": self.guid("asset type", number),
                "typeName": name,
                "runningCountLimit": limit,
                "maintenanceInterval": maintenance,
                "calibrationInterval": calibration,
                "warningThreshold": 90.0 if limit else None,
                "alarmThreshold": 100.0 if limit else None,
                "isReadonly": number == 2,
                "icon": "fa-wrench" if known else None,
            }

    def _asset_rows(self) -> Iterator[Json]:
        return (self._asset(number) for number in range(self._count))

    def _asset(self, number: int) -> Json:
        kind, serial, parent = _place(number)
        rng = self.rng("asset", number)
        first = clock.OPENING - rng.randrange(300) * clock.DAY
        last = self.plant.now - rng.randrange(40 * 24) * clock.HOUR // 7
        used = rng.randrange(4000)
        return {
            "assetId": _id(number),
            "parentAssetId": None if parent is None else _id(parent),
            "assetName": f"{_TYPE_ROWS[kind][0]} {number}" if number % 9 else None,
            "serialNumber": serial,
            "parentSerialNumber": None if parent is None else _place(parent)[1],
            "partNumber": f"EQ-{_TYPE_ROWS[kind][0].upper()}" if number % 5 else None,
            "revision": "B" if number % 5 == 1 else None,
            "typeId": self.guid("asset type", kind % self._type_count) if self._type_count else None,
            "state": 1 if number < 12 else rng.choice((0, 1, 1, 1, 2, 3, 4, 5, 6)),
            "description": "Målerom, hylle 3" if number % 13 == 4 else None,
            "location": ("Horten, Norway", "Trondheim, Norway", "Gdańsk, Poland")[number % 3],
            "firstSeenDate": clock.utc(first),
            "lastSeenDate": clock.utc(max(first, last)),
            **_due(kind, clock.OPENING - rng.randrange(200) * clock.DAY),
            "totalCount": used + rng.randrange(20_000),
            "runningCount": used,
            "xmlData": tagged({"Owner": "Test dept."} if number % 4 == 0 else {})["xmlData"],
            "ClientId": number % 3 + 2 if kind == 3 else None,
        }

    def _log_rows(self) -> Iterator[Json]:
        assets = self.assets.rows()
        for number in range(self._log_count if assets else 0):
            asset, repetition = assets[number % len(assets)], number // len(assets)
            kind, name, comment = _ENTRIES[repetition % len(_ENTRIES)]
            rng = self.rng("asset log", number)
            yield {
                "logId": number + 1,
                "assetId": asset["assetId"],
                "serialNumber": asset["serialNumber"],
                "date": clock.utc(clock.OPENING + number * clock.HOUR - rng.randrange(5) * clock.DAY),
                "user": rng.choice(_USERS),
                "type": kind,
                "property": name or None,
                "value": {"location": asset["location"], "runningCount": "0"}.get(name),
                "comment": comment,
            }


def _id(number: int) -> str:
    letter = {3: "a", 5: "B"}.get(number % 11, "")
    return f"{letter}{number + 1}"


def _place(number: int) -> tuple[int, str, int | None]:
    """The type, the serial number and the number of the parent of an asset."""
    line = number % 3
    if number < 3:
        return 3, f"RACK-{line + 1}", None
    if number < 6:
        return 0, f"DMM-{line + 1}042", line
    if number < 9:
        return 1, f"PSU-{line + 1}007", line
    if number < 12:
        return 2, f"FIX-{line + 1:02d}", None
    return 4, f"adp-{number:05d}", 9 + number // 3 % 3 if line == 0 else None


def _due(kind: int, last: int) -> Json:
    """The last and next dates of maintenance and calibration, as far as the type has intervals."""
    intervals = dict(zip(_TIMES, _TYPE_ROWS[kind][2:], strict=True))
    return {
        name: value
        for word, days in intervals.items()
        if days is not None and days > 0
        for name, value in (
            (f"last{word}Date", clock.utc(last)),
            (f"next{word}Date", clock.utc(last + int(days) * clock.DAY)),
        )
    }


# ------------------------------------------------------------ routes


def assets(call: Call) -> Response:
    """`GET /api/Asset`: sorted by `assetId` as a string, by default 1,000 rows."""
    rows = call.store(Assets).assets.rows()
    return _ASSETS.response(call, ({name: row[name] for name in _ASSET_FIELDS} for row in rows))


def log(call: Call) -> Response:
    """`GET /api/Asset/Log`: newest first, by default 1,000 rows. Ids are not in the order of dates."""
    return _LOGS.response(call, call.store(Assets).log.rows())


def types(call: Call) -> Response:
    """`GET /api/Asset/Types`: sorted by name, by default 1,000 rows."""
    return _TYPES.response(call, call.store(Assets).types.rows())


def asset(call: Call) -> Response:
    """`GET /api/Asset/{assetId}` and `/{serialNumber}`, which share a path. The id takes precedence."""
    store, (name,) = call.store(Assets), call.names()
    row = store.find(name)
    return call.item(row and _detail(store, row), f"Asset '{name}'")


def status(call: Call) -> Response:
    """`GET /api/Asset/Status?id=…` or `serialNumber=…`. An unknown asset has status 1, not an error."""
    store = call.store(Assets)
    row = store.find(_name(call))
    return call.json(_status(store, row) if row else _STATUS | {"Status": 1, "Message": "Not registered."})


def sub_assets(call: Call) -> Response:
    """`GET /api/Asset/SubAssets?id=…` or `serialNumber=…`: full assets, down to `level` (0 for all)."""
    store = call.store(Assets)
    row = store.find(_name(call))
    found = store.below(row, call.number("level", default=0) or 0) if row else []
    return call.json([_detail(store, each) for each in found])


def _name(call: Call) -> str:
    return call.query.get("id") or call.required("serialNumber")


def _detail(store: Assets, row: Json) -> Json:
    """A full asset. Its children have the same shape, without children of their own."""
    children = [_part(store, each) for each in store.below(row, 1)]
    return _part(store, row) | {"assetChildren": children}


def _part(store: Assets, row: Json) -> Json:
    shown = {name: value for name, value in row.items() if name != "xmlData"}
    return shown | {
        "tags": tagged({"Owner": "Test dept."})["tags"] if row["xmlData"] else [],
        "assetChildren": [],
        "assetType": store.types.get(row["typeId"]),
        "assetLog": [each for each in store.log.rows() if each["assetId"] == row["assetId"]],
    }


_STATUS: Json = {
    "Status": 0, "Message": "OK", "CalibrationDaysOverdue": 0.0, "MaintenanceDaysOverdue": 0.0,
    "TotalCount": 0, "TotalCountExceeded": 0, "RunningCount": 0, "RunningCountExceeded": 0,
}  # fmt: skip


def _status(store: Assets, row: Json) -> Json:
    kind = store.types.get(row["typeId"]) or {}
    exceeded = {
        f"{name[0].upper()}{name[1:]}Exceeded": max(0, row[name] - (kind.get(f"{name}Limit") or row[name]))
        for name in ("totalCount", "runningCount")
    }
    overdue = {f"{word}DaysOverdue": _overdue(store.plant, row[f"next{word}Date"]) for word in _TIMES}
    late = any([*exceeded.values(), *overdue.values()])
    alarm = {"Status": 3, "Message": "A limit is exceeded."} if late else {}
    counts = {"TotalCount": row["totalCount"], "RunningCount": row["runningCount"]}
    return {**_STATUS, **alarm, **overdue, **counts, **exceeded}


def _overdue(plant: Plant, due: str | None) -> float:
    return max(0.0, (plant.now - clock.parse(due)) / clock.DAY) if due else 0.0


ROUTES = (
    Route("GET", "/api/Asset", assets),
    Route("GET", "/api/Asset/Log", log),
    Route("GET", "/api/Asset/Types", types),
    Route("GET", "/api/Asset/Status", status),
    Route("GET", "/api/Asset/SubAssets", sub_assets),
    Route("GET", "/api/Asset/{}", asset),
)
