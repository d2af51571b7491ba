"""Declares the tables of full reports (WSJF documents).

The native module reads the declarations of the steps and measurements too (``steps.py``).
"""

from __future__ import annotations

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table

_TEXT, _INT, _LONG, _DOUBLE, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_DOUBLES = pa.list_(pa.float64())

_REPORT = Column("report_uuid", _TEXT, doc="joins reports.uuid")
_STEP = Column("step_index", _INT, doc="joins steps.step_index")
_MAYBE_STEP = Column(
    "step_index", _INT, doc="joins steps.step_index; null if it belongs to the report itself"
)


def _index(name: str, of: str) -> Column:
    return Column(name, _INT, doc=f"index among {of}, from 0")


def _child(name: str, key: tuple[str, ...], columns: tuple[Column, ...], doc: str) -> Table:
    return Table(name, key=("report_uuid", *key), columns=(_REPORT, *columns), owner="report_uuid", doc=doc)


REPORTS = Table(
    "reports",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    counted=True,
    doc="one row per report: a test (UUT) or a repair (UUR)",
    columns=(
        Column("uuid", _TEXT, kind="uuid"),
        Column("report_type", _TEXT, "type", "UUT (test) or UUR (repair)", "report_type"),
        Column("part_number", _TEXT, "pn"),
        Column("serial_number", _TEXT, "sn"),
        Column("revision", _TEXT, "rev", "trailing spaces are kept"),
        Column("product_name", _TEXT, "productName"),
        Column(
            "process_code",
            _INT,
            "processCode",
            "the operation: of the test in UUT, of the repair in UUR reports",
        ),
        Column("process_name", _TEXT, "processName"),
        Column("result", _TEXT, "result", "Passed, Failed, Error or Terminated", "result"),
        Column("station_name", _TEXT, "machineName"),
        Column("location", _TEXT, "location"),
        Column("purpose", _TEXT, "purpose"),
        Column("origin", _TEXT, "origin", "the client that sent the report"),
        Column("start", TIMESTAMP),
        Column(
            "start_offset_minutes",
            _INT,
            doc="the station's offset from UTC, in minutes, positive to the east",
        ),
        Column("time_stamp", _LONG, doc="position in the server's processing order; not a time"),
        Column("user_name", _TEXT, "uut.user uur.user", "the operator"),
        Column("comment", _TEXT, "uut.comment uur.comment"),
        Column("execution_time", _DOUBLE, "uut.execTime uur.execTime", "in seconds"),
        Column("batch_number", _TEXT, "uut.batchSN", "number of the production batch"),
        Column("fixture_id", _TEXT, "uut.fixtureId"),
        Column("test_socket_index", _INT, "uut.testSocketIndex"),
        Column("error_code", _INT, "uut.errorCode"),
        Column("error_message", _TEXT, "uut.errorMessage"),
        Column("batch_fail_count", _INT, "uut.batchFailCount"),
        Column("batch_loop_index", _INT, "uut.batchLoopIndex"),
        Column("step_id_caused_uut_failure", _INT, "uut.stepIdCausedUUTFailure", "joins steps.step_id"),
        Column("test_process_code", _INT, "uur.processCode", "UUR reports: the test operation that failed"),
        Column("test_process_name", _TEXT, "uur.processName", "UUR reports: name of the test operation"),
        Column(
            "referenced_uut", _TEXT, "uur.refUUT", "UUR reports: uuid of the UUT report that failed", "uuid"
        ),
        Column("confirmed_at", TIMESTAMP, "uur.confirmDate", "UUR reports only"),
        Column("finalized_at", TIMESTAMP, "uur.finalizeDate", "UUR reports only"),
        Column(
            "parent_uuid",
            _TEXT,
            "uur.parent",
            "UUR reports: uuid of the report that this sub-repair belongs to",
            "uuid",
        ),
    ),
)

STEPS = _child(
    "steps",
    ("step_index",),
    (
        Column("step_index", _INT, doc="position in the report, depth first, from 0"),
        Column("step_id", _INT, "id", "WATS's step order number: unique in the report, may have gaps"),
        Column("parent_step_index", _INT, doc="null for the root"),
        Column("depth", _INT, doc="0 for the root"),
        Column("path", _TEXT, doc="step names from the root, joined by `/`; a `/` within a name is doubled"),
        Column("name", _TEXT, "name"),
        Column("step_group", _TEXT, "group", "S = setup, M = main, C = cleanup"),
        Column("step_type", _TEXT, "stepType", "an open set of names, such as ET_NLT"),
        Column(
            "status", _TEXT, "status", "Passed, Failed, Done, Skipped, Error, Terminated or Unknown", "result"
        ),
        Column("start", TIMESTAMP, "start"),
        Column("total_time", _DOUBLE, "totTime", "in seconds"),
        Column("error_code", _INT, "errorCode"),
        Column("error_message", _TEXT, "errorMessage"),
        Column("report_text", _TEXT, "reportText", "comment of the step"),
        Column("caused_uut_failure", _BOOL, "causedUUTFailure", "whether the step failed the unit"),
        Column("caused_sequence_failure", _BOOL, "causedSeqFailure", "whether the step failed its sequence"),
        Column("loop_role", _TEXT, doc="`header` (summary of a loop), `iteration`, or `none`"),
        Column("loop_index", _INT, "loop.idx", "iterations: number of the iteration, from 0"),
        Column("loop_count", _INT, "loop.num", "headers: number of iterations"),
        Column("loop_passed", _INT, "loop.passed", "headers: number of passed iterations"),
        Column("loop_failed", _INT, "loop.failed", "headers: number of failed iterations"),
        Column("sequence_path", _TEXT, "seqCall.path", "path of the called sequence file"),
        Column("sequence_name", _TEXT, "seqCall.name", "name of the called sequence"),
        Column("sequence_version", _TEXT, "seqCall.version", "version of the called sequence"),
        Column("exit_code", _DOUBLE, "callExe.exitCode", "exit code of the called program"),
        Column("button", _INT, "messagePopup.button", "index of the button that the operator pressed"),
        Column("response", _TEXT, "messagePopup.response", "response of the operator to a message popup"),
    ),
    "one row per step",
)

_PLACE = (_STEP, _index("measurement_index", "the measurements of this table in the step"))
_MEASUREMENT_KEY = ("step_index", "measurement_index")
_MEASURED_NAME = Column("name", _TEXT, "name", "null if the step has a single measurement")

NUMERIC_MEASUREMENTS = _child(
    "numeric_measurements",
    _MEASUREMENT_KEY,
    (
        *_PLACE,
        _MEASURED_NAME,
        Column("value", _DOUBLE, "value", "the measured value, in unit"),
        Column("unit", _TEXT, "unit"),
        Column(
            "comp_op",
            _TEXT,
            "compOp",
            "LOG, EQ, NE, GT, GE, LT, LE, GTLT … LEGE; a single limit is low_limit, also for LT and LE",
        ),
        Column("low_limit", _DOUBLE, "lowLimit", "null if none is set", "limit"),
        Column("high_limit", _DOUBLE, "highLimit", "null if none is set", "limit"),
        Column(
            "status",
            _TEXT,
            "status",
            "Passed, Failed or Skipped: the verdict of the station, never recomputed",
            "result",
        ),
    ),
    "one row per numeric measurement",
)
STRING_MEASUREMENTS = _child(
    "string_measurements",
    _MEASUREMENT_KEY,
    (
        *_PLACE,
        _MEASURED_NAME,
        Column("value", _TEXT, "value"),
        Column("comp_op", _TEXT, "compOp"),
        Column("limit_value", _TEXT, "limit", "the string that value is compared with"),
        Column("status", _TEXT, "status", "Passed, Failed or Skipped", "result"),
    ),
    "one row per string measurement",
)
BOOLEAN_MEASUREMENTS = _child(
    "boolean_measurements",
    _MEASUREMENT_KEY,
    (
        *_PLACE,
        _MEASURED_NAME,
        Column("status", _TEXT, "status", "the measured value: Passed, Failed or Skipped", "result"),
    ),
    "one row per pass/fail measurement",
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
        Column("y", _DOUBLES, "ydata", "usually as long as x, but not always"),
    ),
    "one row per series of a chart",
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
        Column("id", _TEXT, "id", "UUR reports: id of the misc info in the process", "uuid"),
    ),
    "one row per misc info",
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
        Column("index", _INT, "idx", "UUR reports: WATS's own number: 0 for the main unit, may have gaps"),
        Column("parent_index", _INT, "parentIdx", "UUR reports: index of the unit that contains it"),
        Column("position", _INT, "position"),
        Column("replaced_index", _INT, "replacedIdx", "UUR reports: index of the unit that replaces it"),
    ),
    "one row per sub unit; UUR reports also have a row for the main unit",
)
ASSETS_USED = _child(
    "assets_used",
    ("asset_index",),
    (
        _index("asset_index", "the assets used"),
        Column("asset_serial_number", _TEXT, "assetSN"),
        Column("usage_count", _INT, "usageCount", "uses during the test"),
        Column("usage_count_format", _TEXT, "usageCountFormat"),
    ),
    "one row per asset that the test used",
)
ASSET_STATS = _child(
    "asset_stats",
    ("asset_stat_index",),
    (
        _index("asset_stat_index", "the report's asset statistics"),
        Column("asset_serial_number", _TEXT, "assetSN"),
        Column("running_count", _INT, "runningCount", "uses since the last calibration"),
        Column("running_count_exceeded", _INT, "runningCountExceeded", "uses above the limit"),
        Column("total_count", _INT, "totalCount", "uses in its lifetime"),
        Column("total_count_exceeded", _INT, "totalCountExceeded", "uses above the limit"),
        Column("days_since_calibration", _DOUBLE, "daysSinceCalibration"),
        Column(
            "is_days_since_calibration_unknown",
            _BOOL,
            "isDaysSinceCalibrationUnknown",
            "true if never calibrated",
        ),
        Column("calibration_days_overdue", _DOUBLE, "calibrationDaysOverdue", "in days"),
        Column("days_since_maintenance", _DOUBLE, "daysSinceMaintenance"),
        Column(
            "is_days_since_maintenance_unknown",
            _BOOL,
            "isDaysSinceMaintenanceUnknown",
            "true if never maintained",
        ),
        Column("maintenance_days_overdue", _DOUBLE, "maintenanceDaysOverdue", "in days"),
        Column("message", _TEXT, "message"),
    ),
    "one row per asset, as it was at the time of the test",
)
ADDITIONAL_DATA = _child(
    "additional_data",
    ("additional_data_index",),
    (
        _index(
            "additional_data_index", "the report's additional data, followed by its steps' additional results"
        ),
        _MAYBE_STEP,
        Column("name", _TEXT, "name"),
        Column("properties", _TEXT, "props", "JSON, as in the document", "json"),
    ),
    "one row per block of additional data or additional results",
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
    "one row per failure that the repair found",
)
ATTACHMENTS = _child(
    "attachments",
    ("attachment_index",),
    (
        _index("attachment_index", "the report's attachments"),
        _MAYBE_STEP,
        Column("name", _TEXT, "name"),
        Column("content_type", _TEXT, "contentType"),
        Column("size_bytes", _LONG, doc="size of the content, in bytes"),
        Column("sha256", _TEXT, doc="SHA-256 of the content, hexadecimal"),
        Column("content", pa.binary(), doc="only with `attachments: content`"),
    ),
    "one row per attachment, with `attachments: metadata` or `content`",
)
RAW_REPORTS = Table(
    "raw_reports",
    key=("uuid",),
    owner="uuid",
    doc="one row per report: its document, compressed, with `keep_raw: true`",
    columns=(
        Column("uuid", _TEXT, doc="joins reports.uuid"),
        Column("encoding", _TEXT, doc="compression of document: zstd"),
        Column("size_bytes", _LONG, doc="size of the document before compression, in bytes"),
        Column("document", pa.binary(), doc="the WSJF document, compressed"),
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
"""All tables of full reports, in the order of the documentation; the first has one row per report."""
