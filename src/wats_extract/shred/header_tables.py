"""Declares the tables of report headers: the list of reports, from which every extraction starts.

Source: ``GET /api/Report/Query/Header`` (OData; api-facts §2.1).
"""

from __future__ import annotations

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table

_TEXT, _INT, _LONG, _DOUBLE, _BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()

HEADERS = Table(
    "report_headers",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    counted=True,
    doc="one row per report: a test (UUT) or a repair (UUR)",
    columns=(
        Column("uuid", _TEXT, "uuid", kind="uuid"),
        Column("serial_number", _TEXT, "serialNumber"),
        Column("part_number", _TEXT, "partNumber"),
        Column("report_type", _TEXT, "reportType", "UUT (test) or UUR (repair)", "report_type"),
        Column("start", TIMESTAMP, "start"),
        Column("revision", _TEXT, "revision"),
        Column("result", _TEXT, "result", "Passed, Failed, Error or Terminated", "result"),
        Column("batch_number", _TEXT, "batchNumber", "number of the production batch"),
        Column("user_name", _TEXT, "userName", "the operator"),
        Column("station_name", _TEXT, "stationName"),
        Column("location", _TEXT, "location"),
        Column("purpose", _TEXT, "purpose"),
        Column(
            "measures_deleted",
            _BOOL,
            "measuresDeleted",
            "whether the server has deleted the report's measurements",
        ),
        Column("time_stamp", _LONG, "timeStamp", "position in the server's processing order; not a time"),
        Column(
            "process_code",
            _INT,
            "processCode",
            "the operation: of the test in UUT, of the repair in UUR reports",
        ),
        Column("process_name", _TEXT, "processName"),
        Column("comment", _TEXT, "comment"),
        Column("execution_time", _DOUBLE, "executionTime", "in seconds"),
        Column("sw_filename", _TEXT, "swFilename"),
        Column("sw_version", _TEXT, "swVersion"),
        Column("test_socket_index", _INT, "testSocketIndex"),
        Column("fixture_id", _TEXT, "fixtureId"),
        Column("error_code", _INT, "errorCode"),
        Column("error_message", _TEXT, "errorMessage"),
        Column("run", _INT, "run", "number of the test of this serial number in this operation, from 1"),
        Column(
            "receive_count",
            _INT,
            "receiveCount",
            "how often the report was sent; above 1 if it was sent again",
        ),
        Column("report_size", _INT, "reportSize", "in kB"),
        Column("caused_uut_failure", _TEXT, "causedUutFailure", "name of the step that failed the unit"),
        Column(
            "caused_uut_failure_path", _TEXT, "causedUutFailurePath", "path of the step that failed the unit"
        ),
        Column("passed_in_run", _INT, "passedInRun", "number of the run in which the unit first passed"),
        Column(
            "referenced_uut",
            _TEXT,
            "referencedUut",
            "UUR reports: uuid of the UUT report that failed",
            "uuid",
        ),
    ),
)

_OWNER = Column("report_uuid", _TEXT, doc="joins report_headers.uuid", kind="uuid")


def _expanded(name: str, index: str, *columns: Column, doc: str) -> Table:
    position = Column(index, _INT, doc="index in the header's list, from 0")
    return Table(
        name, key=("report_uuid", index), columns=(_OWNER, position, *columns), owner="report_uuid", doc=doc
    )


HEADER_SUB_UNITS = _expanded(
    "header_sub_units",
    "sub_unit_index",
    Column("part_type", _TEXT, "partType", "UUT reports only"),
    Column("serial_number", _TEXT, "serialNumber"),
    Column("part_number", _TEXT, "partNumber"),
    Column("revision", _TEXT, "revision"),
    doc="one row per sub unit of a report, with `expand: [subUnits, uurSubUnits]`",
)
HEADER_MISC_INFOS = _expanded(
    "header_misc_infos",
    "misc_info_index",
    Column("description", _TEXT, "description"),
    Column("value", _TEXT, "value", "text or number, as text"),
    doc="one row per misc info of a report, with `expand: [miscInfo, uurMiscInfo]`",
)
HEADER_ASSETS = _expanded(
    "header_assets",
    "asset_index",
    Column("serial_number", _TEXT, "serialNumber"),
    Column("running_count", _INT, "runningCount", "uses since the last calibration"),
    Column("running_count_exceeded", _INT, "runningCountExceeded", "uses above the limit"),
    Column("total_count", _INT, "totalCount", "uses in its lifetime"),
    Column("total_count_exceeded", _INT, "totalCountExceeded", "uses above the limit"),
    Column("days_since_maintenance", _DOUBLE, "daysSinceMaintenance"),
    Column("maintenance_days_overdue", _DOUBLE, "maintenanceDaysOverdue", "in days"),
    Column("days_since_calibration", _DOUBLE, "daysSinceCalibration"),
    Column("calibration_days_overdue", _DOUBLE, "calibrationDaysOverdue", "in days"),
    doc="one row per asset that a test used, with `expand: [assets]`",
)
HEADER_ATTACHMENTS = _expanded(
    "header_attachments",
    "attachment_index",
    Column("step_id", _INT, "stepId", "UUT reports: joins steps.step_id"),
    Column("id", _TEXT, "id", "UUR reports: id of the file", "uuid"),
    Column("filename", _TEXT, "filename"),
    doc="one row per file attached to a report, with `expand: [attachments, uurAttachments]`",
)

TABLES = (HEADERS, HEADER_SUB_UNITS, HEADER_MISC_INFOS, HEADER_ASSETS, HEADER_ATTACHMENTS)
"""All tables of report headers; the first has one row per report."""
