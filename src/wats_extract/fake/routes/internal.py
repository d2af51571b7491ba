"""Routes below `/api/internal`, which the vendor does not support: processes, inspections, alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from urllib.parse import urlsplit

from wats_extract.fake.exchange import (
    NOT_FOUND_PAGE,
    Call,
    RefusedError,
    Response,
    Route,
    json_response,
    page_response,
    parse_tick,
)
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json, Plant
from wats_extract.fake.plant.stores import Store, Table
from wats_extract.fake.routes.system import process_rows

_DEFINITION: Json = {
    "TestSequenceDefinitionId": None, "Name": None, "Description": None, "Version": 1, "Status": 0,
    "IsGlobal": False, "VirtualFolderId": None, "RepairProcessId": None, "Created": None, "CreatedBy": None,
    "CreatedBySite": None, "Modified": None, "ModifiedBy": None, "Released": None, "ReleasedBy": None,
    "Revoked": None, "RevokedBy": None, "OnFailGotoCleanup": False, "OnFailRequireSubmit": True,
    "OnFailRequireRepair": 0, "LogOperator": True, "LogDescription": False, "AddChildUnits": False,
    "CreateUnsubmittedReportOnFailedStep": False, "IncludeUURMiscInfoInUUT": False,
    "LoadPreviousMiscInfo": False, "InstancesCount": 0, "Relations": [], "XAML": None,
}  # fmt: skip
_ALARM: Json = {
    "logId": None, "logDate": None, "name": None, "triggerId": None, "type": 1, "state": 0,
    "groupingSet": None, "clientGroupIds": [], "productSelectionIds": [], "reportId": None,
    "partNumber": None, "stationName": None, "fpy": None, "unitCount": None, "assetname": None,
    "serialnumber": None, "typeid": None, "assetstate": None, "bubbledstatus": None,
}  # fmt: skip


class Inspections(Store):
    """Definitions of manual inspections, and the alarm log.

    Args:
        plant: The reports.
        count: The number of definitions. Every third is global.
        alarms: The number of alarms, somewhat more than an hour apart. The last one is at the plant's
            present.

    Attributes:
        definitions: The definitions by `TestSequenceDefinitionId`.
        alarms: The alarms by `logId`.
    """

    def __init__(self, plant: Plant, *, count: int = 6, alarms: int = 40) -> None:
        super().__init__(plant)
        self._count, self._alarm_count = count, alarms
        self.definitions = Table("TestSequenceDefinitionId", _DEFINITION, self._definition_rows)
        self.alarms = Table("logId", _ALARM, self._alarm_rows)

    def _definition_rows(self) -> Iterator[Json]:
        for number in range(self._count):
            status = (2, 0, 3, 1)[number % 4]
            created = clock.OPENING - (300 - number % 200) * clock.DAY
            yield {
                "TestSequenceDefinitionId": self.guid("inspection", number),
                "Name": f"Visuell kontroll {number}",
                "Version": number % 3 + 1,
                "Status": status,
                "IsGlobal": number % 3 == 0,
                "Created": clock.utc(created),
                "CreatedBy": "ewa",
                "CreatedBySite": "Horten",
                "Released": clock.utc(created + 9 * clock.DAY) if status in (2, 3) else None,
                "ReleasedBy": "tor" if status in (2, 3) else None,
                "Relations": [{"EntityKey": "partNumber", "EntityValue": "PCBA-1%"}] if number % 2 else [],
            }

    def _alarm_rows(self) -> Iterator[Json]:
        for number in range(self._alarm_count):
            tick = self.plant.now - (self._alarm_count - 1 - number) * (clock.HOUR + 7 * 3_366_667)
            kind = (1, 2, 5)[number % 3]
            yield {
                "logId": number + 1,
                "logDate": clock.utc(tick)[:-1],
                "name": ("Report failed", "Yield is low", "Asset is due")[number % 3],
                "triggerId": number % 3 + 1,
                "type": kind,
                "clientGroupIds": [number % 3 + 2],
                **_ALARM_FIELDS[kind](number),
            }


_ALARM_FIELDS: dict[int, Callable[[int], Json]] = {
    1: lambda n: {"partNumber": "MODULE-320", "stationName": "TRONDHEIM-FCT-1"},
    2: lambda n: {"partNumber": "MODULE-320", "fpy": 0.8 + n % 10 / 100, "unitCount": n % 50},
    5: lambda n: {"assetname": f"DMM {n % 3}", "serialnumber": f"DMM-{n % 3 + 1}042", "assetstate": 1,
                  "bubbledstatus": 3},
}  # fmt: skip


# ------------------------------------------------------------ routes


def processes(call: Call) -> Response:
    """`GET /api/internal/Process/GetProcesses`: all processes, in PascalCase."""
    _require_referer(call)
    return json_response([_process(row) for row in process_rows()])


def definitions(call: Call) -> Response:
    """`GET /api/internal/ManualInspection/GetTestSequenceDefinitions`: all, or only global or local ones."""
    _require_referer(call)
    rows = call.store(Inspections).definitions.rows()
    if "isglobaldefinitions" in call.query:
        is_global = call.flag("isGlobalDefinitions", default=False)
        rows = [row for row in rows if row["IsGlobal"] == is_global]
    return json_response(rows)


def alarms(call: Call) -> Response:
    """`POST` (and `GET`) `/api/internal/Trigger/GetAlarmAndNotificationLogs`: alarms, newest first.

    `dateFrom`, `dateTo` and `topCount` are in the body or, with GET, in the query. `includeTypes` is in the
    query. Level and product group are ignored.
    """
    _require_referer(call)
    given = {**call.query, **call.body()}
    first, last = _tick(given.get("datefrom"), EVER[0]), _tick(given.get("dateto"), EVER[1])
    kinds = {text for text in str(given.get("includetypes", "")).split(";") if text}
    rows = [
        row
        for row in call.store(Inspections).alarms.rows()
        if first <= clock.parse(row["logDate"]) < last and (not kinds or str(row["type"]) in kinds)
    ]
    rows.sort(key=lambda row: clock.parse(row["logDate"]), reverse=True)
    return json_response(list(islice(rows, int(given.get("topcount") or len(rows)))))


def _require_referer(call: Call) -> None:
    """Refuse requests that do not come from the server's own pages.

    Raises:
        RefusedError: `Referer` is not the server's address, or this server has no internal routes.
    """
    if call.quirks.no_internal:
        raise RefusedError(404, "", NOT_FOUND_PAGE)
    headers = call.request.headers
    if urlsplit(headers.get("referer", "")).netloc != headers.get("host", "?"):
        raise RefusedError(401, "", page_response(401, "Unauthorized"))


def _tick(value: object, default: int) -> int:
    return parse_tick("dateFrom or dateTo", str(value) if value else None, default=default)


def _process(row: Json) -> Json:
    names = ("Code", "Name", "Description", "ProcessIndex", "State", "IsTestOperation", "IsRepairOperation")
    shown = {name: row.get(name[0].lower() + name[1:]) for name in names}
    return shown | {"ProcessID": row["id"], "IsWIPOperation": row["isWipOperation"], "Properties": None}


_ALARMS = "/api/internal/Trigger/GetAlarmAndNotificationLogs"
ROUTES = (
    Route("GET", "/api/internal/Process/GetProcesses", processes),
    Route("GET", "/api/internal/ManualInspection/GetTestSequenceDefinitions", definitions),
    Route("POST", _ALARMS, alarms),
    Route("GET", _ALARMS, alarms),
)
