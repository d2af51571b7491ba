"""The tables of full reports (WSJF documents), column by column, as in docs/glossary.md."""

from __future__ import annotations

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table

_TEXT, _INT, _LONG, _DOUBLE, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_DOUBLES = pa.list_(pa.float64())

_REPORT = Column("report_uuid", _TEXT, doc="joins reports.uuid")
_STEP = Column("step_index", _INT, doc="joins steps.step_index")
_MAYBE_STEP = Column("step_index", _INT, doc="joins steps.step_index; null where it is the report's")


def _index(name: str, of: str) -> Column:
    return Column(name, _INT, doc=f"the place among {of}, from 0")


def _child(name: str, key: tuple[str, ...], columns: tuple[Column, ...], doc: str) -> Table:
    return Table(name, key=("report_uuid", *key), columns=(_REPORT, *columns), owner="report_uuid", doc=doc)


REPORTS = Table(
    "reports",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    doc="one row a report, test (UUT) or repair (UUR)",
    columns=(
        Column("uuid", _TEXT, kind="uuid"),
        Column("report_type", _TEXT, "type", "UUT (test) or UUR (repair)", "report_type"),
        Column("part_number", _TEXT, "pn"),
        Column("serial_number", _TEXT, "sn"),
        Column("revision", _TEXT, "rev", "trailing blanks are kept"),
        Column("product_name", _TEXT, "productName"),
        Column("process_code", _INT, "processCode", "the test, or the repair, operation"),
        Column("process_name", _TEXT, "processName"),
        Column("result", _TEXT, "result", "Passed, Failed, Error or Terminated", "result"),
        Column("station_name", _TEXT, "machineName"),
        Column("location", _TEXT, "location"),
        Column("purpose", _TEXT, "purpose"),
        Column("origin", _TEXT, "origin", "the client that sent it"),
        Column("start", TIMESTAMP),
        Column("start_offset_minutes", _INT, doc="the station's offset from UTC, minutes east"),
        Column("time_stamp", _LONG, doc="the server's processing order; not a time"),
        Column("user_name", _TEXT, "uut.user uur.user", "the operator"),
        Column("comment", _TEXT, "uut.comment uur.comment"),
        Column("execution_time", _DOUBLE, "uut.execTime uur.execTime", "seconds"),
        Column("batch_number", _TEXT, "uut.batchSN", "of the production batch"),
        Column("fixture_id", _TEXT, "uut.fixtureId"),
        Column("test_socket_index", _INT, "uut.testSocketIndex"),
        Column("error_code", _INT, "uut.errorCode"),
        Column("error_message", _TEXT, "uut.errorMessage"),
        Column("batch_fail_count", _INT, "uut.batchFailCount"),
        Column("batch_loop_index", _INT, "uut.batchLoopIndex"),
        Column("step_id_caused_uut_failure", _INT, "uut.stepIdCausedUUTFailure", "joins steps.step_id"),
        Column("test_process_code", _INT, "uur.processCode", "repairs: the test operation that failed"),
        Column("test_process_name", _TEXT, "uur.processName", "repairs: its name"),
        Column("referenced_uut", _TEXT, "uur.refUUT", "repairs: the uuid of the test that failed", "uuid"),
        Column("confirmed_at", TIMESTAMP, "uur.confirmDate", "repairs"),
        Column("finalized_at", TIMESTAMP, "uur.finalizeDate", "repairs"),
        Column(
            "parent_uuid", _TEXT, "uur.parent", "repairs: the report that this sub-repair belongs to", "uuid"
        ),
    ),
)

STEPS = _child(
    "steps",
    ("step_index",),
    (
        Column("step_index", _INT, doc="the place in the report, depth first, from 0"),
        Column("step_id", _INT, "id", "WATS's step order number; unique in the report, may have gaps"),
        Column("parent_step_index", _INT, doc="null for the root"),
        Column("depth", _INT, doc="0 for the root"),
        Column("path", _TEXT, doc="names from the root joined by /, a / within a name doubled"),
        Column("name", _TEXT, "name"),
        Column("step_group", _TEXT, "group", "S setup, M main, C cleanup"),
        Column("step_type", _TEXT, "stepType", "an open set of words"),
        Column("status", _TEXT, "status", kind="result"),
        Column("start", TIMESTAMP, "start"),
        Column("total_time", _DOUBLE, "totTime", "seconds"),
        Column("error_code", _INT, "errorCode"),
        Column("error_message", _TEXT, "errorMessage"),
        Column("report_text", _TEXT, "reportText"),
        Column("caused_uut_failure", _BOOL, "causedUUTFailure"),
        Column("caused_sequence_failure", _BOOL, "causedSeqFailure"),
        Column("loop_role", _TEXT, doc="header (a loop's summary), iteration or none"),
        Column("loop_index", _INT, "loop.idx", "iterations: which one, from 0"),
        Column("loop_count", _INT, "loop.num", "headers: iterations in all"),
        Column("loop_passed", _INT, "loop.passed"),
        Column("loop_failed", _INT, "loop.failed"),
        Column("sequence_path", _TEXT, "seqCall.path"),
        Column("sequence_name", _TEXT, "seqCall.name"),
        Column("sequence_version", _TEXT, "seqCall.version"),
        Column("exit_code", _DOUBLE, "callExe.exitCode", "of a called program"),
        Column("button", _INT, "messagePopup.button", "of a message popup"),
        Column("response", _TEXT, "messagePopup.response", "of a message popup"),
    ),
    "one row a step",
)

_PLACE = (_STEP, _index("measurement_index", "the step's measurements of this kind"))
_MEASUREMENT_KEY = ("step_index", "measurement_index")
_MEASURED_NAME = Column("name", _TEXT, "name", "null where the step has one measurement")

NUMERIC_MEASUREMENTS = _child(
    "numeric_measurements",
    _MEASUREMENT_KEY,
    (
        *_PLACE,
        _MEASURED_NAME,
        Column("value", _DOUBLE, "value"),
        Column("unit", _TEXT, "unit"),
        Column("comp_op", _TEXT, "compOp", "LOG, EQ … LEGE; one-sided ones (also LT, LE) use low_limit"),
        Column("low_limit", _DOUBLE, "lowLimit", kind="limit"),
        Column("high_limit", _DOUBLE, "highLimit", kind="limit"),
        Column("status", _TEXT, "status", "as the station judged it; never recomputed", "result"),
    ),
    "one row a numeric measurement",
)
STRING_MEASUREMENTS = _child(
    "string_measurements",
    _MEASUREMENT_KEY,
    (
        *_PLACE,
        _MEASURED_NAME,
        Column("value", _TEXT, "value"),
        Column("comp_op", _TEXT, "compOp"),
        Column("limit_value", _TEXT, "limit"),
        Column("status", _TEXT, "status", kind="result"),
    ),
    "one row a text measurement",
)
BOOLEAN_MEASUREMENTS = _child(
    "boolean_measurements",
    _MEASUREMENT_KEY,
    (*_PLACE, _MEASURED_NAME, Column("status", _TEXT, "status", "the value itself", "result")),
    "one row a pass/fail measurement",
)
CHART_SERIES = _child(
    "chart_series",
    ("step_index", "series_index"),
    (
        _STEP,
        _index("series_index", "the chart's series"),
        Column("chart_type", _TEXT),
        Column("label", _TEXT),
        Column("x_label", _TEXT),
        Column("x_unit", _TEXT),
        Column("y_label", _TEXT),
        Column("y_unit", _TEXT),
        Column("name", _TEXT, "name"),
        Column("data_type", _TEXT, "dataType"),
        Column("x", _DOUBLES, "xdata"),
        Column("y", _DOUBLES, "ydata", "usually as long as x; not guaranteed"),
    ),
    "one row a series of a chart",
)
MISC_INFOS = _child(
    "misc_infos",
    ("misc_info_index",),
    (
        _index("misc_info_index", "the report's misc infos"),
        Column("description", _TEXT, "description"),
        Column("text", _TEXT, "text"),
        Column("numeric", _LONG, "numeric"),
        Column("numeric_format", _TEXT, "numericFormat"),
        Column("type_definition", _TEXT, "typedef", "obsolete"),
        Column("id", _TEXT, "id", "repairs: which misc info of the process", "uuid"),
    ),
    "one row a misc info",
)
SUB_UNITS = _child(
    "sub_units",
    ("unit_index",),
    (
        _index("unit_index", "the report's sub units"),
        Column("part_type", _TEXT, "partType"),
        Column("part_number", _TEXT, "pn"),
        Column("revision", _TEXT, "rev"),
        Column("serial_number", _TEXT, "sn"),
        Column("index", _INT, "idx", "repairs: WATS's own number, 0 for the main unit; may have gaps"),
        Column("parent_index", _INT, "parentIdx", "repairs: index of the unit that it sits in"),
        Column("position", _INT, "position"),
        Column("replaced_index", _INT, "replacedIdx", "repairs: index of the unit that replaces it"),
    ),
    "one row a sub unit; in repairs the main unit too",
)
ASSETS_USED = _child(
    "assets_used",
    ("asset_index",),
    (
        _index("asset_index", "the assets used"),
        Column("asset_serial_number", _TEXT, "assetSN"),
        Column("usage_count", _INT, "usageCount"),
        Column("usage_count_format", _TEXT, "usageCountFormat"),
    ),
    "one row an asset that was used",
)
ASSET_STATS = _child(
    "asset_stats",
    ("asset_stat_index",),
    (
        _index("asset_stat_index", "the report's asset statistics"),
        Column("asset_serial_number", _TEXT, "assetSN"),
        Column("running_count", _INT, "runningCount"),
        Column("running_count_exceeded", _INT, "runningCountExceeded"),
        Column("total_count", _INT, "totalCount"),
        Column("total_count_exceeded", _INT, "totalCountExceeded"),
        Column("days_since_calibration", _DOUBLE, "daysSinceCalibration"),
        Column("is_days_since_calibration_unknown", _BOOL, "isDaysSinceCalibrationUnknown"),
        Column("calibration_days_overdue", _DOUBLE, "calibrationDaysOverdue"),
        Column("days_since_maintenance", _DOUBLE, "daysSinceMaintenance"),
        Column("is_days_since_maintenance_unknown", _BOOL, "isDaysSinceMaintenanceUnknown"),
        Column("maintenance_days_overdue", _DOUBLE, "maintenanceDaysOverdue"),
        Column("message", _TEXT, "message"),
    ),
    "one row the state of an asset at the time of the test",
)
ADDITIONAL_DATA = _child(
    "additional_data",
    ("additional_data_index",),
    (
        _index("additional_data_index", "the report's additional data, then its steps' additional results"),
        _MAYBE_STEP,
        Column("name", _TEXT, "name"),
        Column("properties", _TEXT, "props", "JSON, as in the document", "json"),
    ),
    "one row a block of additional data or additional results",
)
REPAIR_FAILURES = _child(
    "repair_failures",
    ("unit_index", "failure_index"),
    (
        Column("unit_index", _INT, doc="joins sub_units.unit_index"),
        _index("failure_index", "the unit's failures"),
        Column("category", _TEXT, "category"),
        Column("code", _TEXT, "code"),
        Column("comment", _TEXT, "comment"),
        Column("component_reference", _TEXT, "comRef"),
        Column("function_block", _TEXT, "funcBlock"),
        Column("article_number", _TEXT, "artNumber"),
        Column("article_revision", _TEXT, "artRev"),
        Column("article_vendor", _TEXT, "artVendor"),
        Column("article_description", _TEXT, "artDescription"),
        Column("referenced_step_id", _INT, "refStepId", "joins steps.step_id of the referenced test"),
        Column("referenced_step_name", _TEXT, "refStepName"),
    ),
    "one row a failure that a repair found",
)
ATTACHMENTS = _child(
    "attachments",
    ("attachment_index",),
    (
        _index("attachment_index", "the report's attachments"),
        _MAYBE_STEP,
        Column("name", _TEXT, "name"),
        Column("content_type", _TEXT, "contentType"),
        Column("size_bytes", _LONG),
        Column("sha256", _TEXT, doc="of the content, hexadecimal"),
        Column("content", pa.binary(), doc="with attachments: content"),
    ),
    "one row an attachment",
)
RAW_REPORTS = Table(
    "raw_reports",
    key=("uuid",),
    owner="uuid",
    doc="with keep_raw: the document itself",
    columns=(
        Column("uuid", _TEXT),
        Column("encoding", _TEXT, doc="zstd"),
        Column("size_bytes", _LONG, doc="of the document, before compression"),
        Column("document", pa.binary()),
    ),
)

TABLES = (
    REPORTS,
    STEPS,
    NUMERIC_MEASUREMENTS,
    STRING_MEASUREMENTS,
    BOOLEAN_MEASUREMENTS,
    CHART_SERIES,
    MISC_INFOS,
    SUB_UNITS,
    REPAIR_FAILURES,
    ASSETS_USED,
    ASSET_STATS,
    ADDITIONAL_DATA,
    ATTACHMENTS,
    RAW_REPORTS,
)
"""All of them, in the order of reading; the first has one row a report."""
