"""The rows that tables must hold, computed from the documents independently of the library."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any

WORDS = {
    "P": "Passed",
    "F": "Failed",
    "E": "Error",
    "T": "Terminated",
    "D": "Done",
    "S": "Skipped",
    "U": "Unknown",
}
TYPES = {"T": "UUT", "R": "UUR"}

HEADER_FIELDS = [
    "uuid",
    "serialNumber",
    "partNumber",
    "reportType",
    "start",
    "revision",
    "result",
    "batchNumber",
    "userName",
    "stationName",
    "location",
    "purpose",
    "measuresDeleted",
    "timeStamp",
    "processCode",
    "processName",
    "comment",
    "executionTime",
    "swFilename",
    "swVersion",
    "testSocketIndex",
    "fixtureId",
    "errorCode",
    "errorMessage",
    "run",
    "receiveCount",
    "reportSize",
    "causedUutFailure",
    "causedUutFailurePath",
    "passedInRun",
    "referencedUut",
]


def snake(name: str) -> str:
    """A camel-case name in snake case."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def moment(text: str | None) -> datetime | None:
    """A timestamp in UTC, cut off after microseconds."""
    if not text:
        return None
    date, clock = re.split("[T ]", text, maxsplit=1)
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(?:\.(\d*))?(Z|([+-])(\d\d):(\d\d))?", clock)
    assert found, text
    hour, minute, second, fraction, zone, sign, zone_hour, zone_minute = found.groups()
    year, month, day = map(int, date.split("-"))
    microsecond = int(((fraction or "") + "000000")[:6])
    local = datetime(year, month, day, int(hour), int(minute), int(second), microsecond, UTC)
    if zone in (None, "Z"):
        return local
    offset = timedelta(hours=int(zone_hour), minutes=int(zone_minute))
    return local + offset if sign == "-" else local - offset


def number(value: Any) -> float | None:
    """A number as a double."""
    return None if value is None else float(value)


def header_row(header: dict[str, Any]) -> dict[str, Any]:
    """The row of ``report_headers`` for one header."""
    row = {snake(name): header.get(name) for name in HEADER_FIELDS}
    return row | {
        "start": moment(header.get("start")),
        "result": WORDS.get(header.get("result"), header.get("result")),
        "report_type": TYPES.get(header["reportType"], header["reportType"]),
        "execution_time": number(header.get("executionTime")),
    }


def header_children(header: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables that expanded headers fill."""

    def rows(index: str, *fields: str) -> list[dict[str, Any]]:
        items = [item for field in fields for item in header.get(field) or []]
        return [
            {"report_uuid": header["uuid"], index: place, **{snake(k): v for k, v in item.items()}}
            for place, item in enumerate(items)
        ]

    return {
        "header_sub_units": rows("sub_unit_index", "subUnits", "uurSubUnits"),
        "header_misc_infos": rows("misc_info_index", "miscInfo", "uurMiscInfo"),
        "header_assets": rows("asset_index", "assets"),
        "header_attachments": rows("attachment_index", "attachments", "uurAttachments"),
    }


def report_rows(document: dict[str, Any], time_stamp: int | None) -> dict[str, list[dict[str, Any]]]:
    """The rows of one WSJF document by table, without ``_extra``."""
    uuid = document["id"].lower()
    test, repair = document.get("uut") or {}, document.get("uur") or {}
    about = test or repair
    start = document.get("start")
    offset = re.search(r"([+-])(\d\d):(\d\d)$", start or "")
    minutes = None
    if offset:
        minutes = (int(offset[2]) * 60 + int(offset[3])) * (-1 if offset[1] == "-" else 1)
    elif start and start.endswith("Z"):
        minutes = 0
    tables: dict[str, list[dict[str, Any]]] = {
        "reports": [
            {
                "uuid": uuid,
                "report_type": TYPES.get(document["type"], document["type"]),
                "part_number": document.get("pn"),
                "serial_number": document.get("sn"),
                "revision": document.get("rev"),
                "product_name": document.get("productName"),
                "process_code": document.get("processCode"),
                "process_name": document.get("processName"),
                "result": WORDS.get(document.get("result"), document.get("result")),
                "station_name": document.get("machineName"),
                "location": document.get("location"),
                "purpose": document.get("purpose"),
                "origin": document.get("origin"),
                "start": moment(start),
                "start_offset_minutes": minutes,
                "time_stamp": time_stamp,
                "user_name": about.get("user"),
                "comment": about.get("comment"),
                "execution_time": number(about.get("execTime")),
                "batch_number": test.get("batchSN"),
                "fixture_id": test.get("fixtureId"),
                "test_socket_index": test.get("testSocketIndex"),
                "error_code": test.get("errorCode"),
                "error_message": test.get("errorMessage"),
                "batch_fail_count": test.get("batchFailCount"),
                "batch_loop_index": test.get("batchLoopIndex"),
                "step_id_caused_uut_failure": test.get("stepIdCausedUUTFailure"),
                "test_process_code": repair.get("processCode"),
                "test_process_name": repair.get("processName"),
                "referenced_uut": repair.get("refUUT"),
                "confirmed_at": moment(repair.get("confirmDate")),
                "finalized_at": moment(repair.get("finalizeDate")),
                "parent_uuid": repair.get("parent"),
            }
        ]
    }
    flat = []
    if document.get("root"):
        _steps(document["root"], None, 0, "", flat)
    tables["steps"] = [{"report_uuid": uuid, **row} for row, _ in flat]
    tables |= _measurements(uuid, flat)
    tables |= _lists(uuid, document, flat)
    return tables


def _steps(step: dict[str, Any], parent: int | None, depth: int, above: str, flat: list[Any]) -> None:
    index = len(flat)
    path = above + (step.get("name") or "").replace("/", "//")
    loop, call = step.get("loop") or {}, step.get("seqCall") or {}
    exe, popup = step.get("callExe") or {}, step.get("messagePopup") or {}
    role = "none" if step.get("loop") is None else "header" if loop.get("idx") is None else "iteration"
    row = {
        "step_index": index,
        "step_id": step.get("id"),
        "parent_step_index": parent,
        "depth": depth,
        "path": path,
        "name": step.get("name"),
        "step_group": step.get("group"),
        "step_type": step.get("stepType"),
        "status": WORDS.get(step.get("status"), step.get("status")),
        "start": moment(step.get("start")),
        "total_time": number(step.get("totTime")),
        "error_code": step.get("errorCode"),
        "error_message": step.get("errorMessage"),
        "report_text": step.get("reportText"),
        "caused_uut_failure": step.get("causedUUTFailure"),
        "caused_sequence_failure": step.get("causedSeqFailure"),
        "loop_role": role,
        "loop_index": loop.get("idx"),
        "loop_count": loop.get("num"),
        "loop_passed": loop.get("passed"),
        "loop_failed": loop.get("failed"),
        "sequence_path": call.get("path"),
        "sequence_name": call.get("name"),
        "sequence_version": call.get("version"),
        "exit_code": number(exe.get("exitCode")),
        "button": popup.get("button"),
        "response": popup.get("response"),
    }
    flat.append((row, step))
    for child in step.get("steps") or []:
        _steps(child, index, depth + 1, path + "/", flat)


def _measurements(uuid: str, flat: list[Any]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {
        "numeric_measurements": [],
        "string_measurements": [],
        "boolean_measurements": [],
        "chart_series": [],
    }
    for row, step in flat:
        place = {"report_uuid": uuid, "step_index": row["step_index"]}
        for index, found in enumerate(step.get("numericMeas") or []):
            tables["numeric_measurements"].append(
                place
                | {
                    "measurement_index": index,
                    "name": found.get("name"),
                    "value": number(found.get("value")),
                    "unit": found.get("unit"),
                    "comp_op": found.get("compOp"),
                    "low_limit": number(found.get("lowLimit")),
                    "high_limit": number(found.get("highLimit")),
                    "status": WORDS.get(found.get("status"), found.get("status")),
                }
            )
        for index, found in enumerate(step.get("stringMeas") or []):
            tables["string_measurements"].append(
                place
                | {
                    "measurement_index": index,
                    "name": found.get("name"),
                    "value": found.get("value"),
                    "comp_op": found.get("compOp"),
                    "limit_value": found.get("limit"),
                    "status": WORDS.get(found.get("status"), found.get("status")),
                }
            )
        for index, found in enumerate(step.get("booleanMeas") or []):
            status = WORDS.get(found.get("status"), found.get("status"))
            tables["boolean_measurements"].append(
                place | {"measurement_index": index, "name": found.get("name"), "status": status}
            )
        chart = step.get("chart") or {}
        for index, series in enumerate(chart.get("series") or []):
            tables["chart_series"].append(
                place
                | {
                    "series_index": index,
                    "chart_type": chart.get("chartType"),
                    "label": chart.get("label"),
                    "x_label": chart.get("xLabel"),
                    "x_unit": chart.get("xUnit"),
                    "y_label": chart.get("yLabel"),
                    "y_unit": chart.get("yUnit"),
                    "name": series.get("name"),
                    "data_type": series.get("dataType"),
                    "x": [float(value) for value in series["xdata"].split(";") if value],
                    "y": [float(value) for value in series["ydata"].split(";") if value],
                }
            )
    return tables


_COLUMNS = {
    "misc_infos": {
        "description": "description",
        "text": "text",
        "numeric": "numeric",
        "numericFormat": "numeric_format",
        "typedef": "type_definition",
        "id": "id",
    },
    "sub_units": {
        "partType": "part_type",
        "pn": "part_number",
        "rev": "revision",
        "sn": "serial_number",
        "idx": "index",
        "parentIdx": "parent_index",
        "position": "position",
        "replacedIdx": "replaced_index",
    },
    "repair_failures": {
        "category": "category",
        "code": "code",
        "comment": "comment",
        "comRef": "component_reference",
        "funcBlock": "function_block",
        "artNumber": "article_number",
        "artRev": "article_revision",
        "artVendor": "article_vendor",
        "artDescription": "article_description",
        "refStepId": "referenced_step_id",
        "refStepName": "referenced_step_name",
    },
    "assets_used": {
        "assetSN": "asset_serial_number",
        "usageCount": "usage_count",
        "usageCountFormat": "usage_count_format",
    },
    "asset_stats": {
        "assetSN": "asset_serial_number",
        **{
            name: snake(name)
            for name in [
                "runningCount",
                "runningCountExceeded",
                "totalCount",
                "totalCountExceeded",
                "daysSinceCalibration",
                "isDaysSinceCalibrationUnknown",
                "calibrationDaysOverdue",
                "daysSinceMaintenance",
                "isDaysSinceMaintenanceUnknown",
                "maintenanceDaysOverdue",
                "message",
            ]
        },
    },
}


def _named(table: str, item: dict[str, Any]) -> dict[str, Any]:
    return {column: item.get(field) for field, column in _COLUMNS[table].items()}


def _lists(uuid: str, document: dict[str, Any], flat: list[Any]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    for table, field, index in (
        ("misc_infos", "miscInfos", "misc_info_index"),
        ("sub_units", "subUnits", "unit_index"),
        ("assets_used", "assets", "asset_index"),
        ("asset_stats", "assetStats", "asset_stat_index"),
    ):
        tables[table] = [
            {"report_uuid": uuid, index: place, **_named(table, item)}
            for place, item in enumerate(document.get(field) or [])
        ]
    tables["repair_failures"] = [
        {"report_uuid": uuid, "unit_index": unit_place, "failure_index": place}
        | _named("repair_failures", failure)
        for unit_place, unit in enumerate(document.get("subUnits") or [])
        for place, failure in enumerate(unit.get("failures") or [])
    ]
    additional = [(None, data) for data in document.get("additionalData") or []]
    additional += [
        (row["step_index"], data) for row, step in flat for data in step.get("additionalResults") or []
    ]
    tables["additional_data"] = [
        {
            "report_uuid": uuid,
            "additional_data_index": place,
            "step_index": step_index,
            "name": data.get("name"),
            "properties": data.get("props"),
        }
        for place, (step_index, data) in enumerate(additional)
    ]
    tables["attachments"] = _attachments(uuid, document, flat)
    return tables


def _attachments(uuid: str, document: dict[str, Any], flat: list[Any]) -> list[dict[str, Any]]:
    found = [(None, item) for item in document.get("binaryData") or []]
    steps = [(row["step_index"], step["attachment"]) for row, step in flat if step.get("attachment")]
    repairs = [
        (None, item)
        for unit in document.get("subUnits") or []
        for failure in unit.get("failures") or []
        for item in failure.get("attachments") or []
    ]
    rows = []
    for place, (step_index, item) in enumerate([*found, *steps, *repairs]):
        content = base64.b64decode(item["data"]) if item.get("data") is not None else None
        rows.append(
            {
                "report_uuid": uuid,
                "attachment_index": place,
                "step_index": step_index,
                "name": item.get("name"),
                "content_type": item.get("contentType"),
                "size_bytes": None if content is None else len(content),
                "sha256": None if content is None else hashlib.sha256(content).hexdigest(),
                "content": content,
            }
        )
    return rows
