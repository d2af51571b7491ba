"""Data that only internal routes serve: complete processes, manual inspections, alarms.

Sources: ``GET /api/internal/…`` (api-facts §2.11, §2.12). The vendor does not support these routes, and any
version may change or refuse them. They are requested only if the pipeline sets ``internal: true``.
"""

from __future__ import annotations

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.readers.time_window import TimeWindows
from wats_extract.resources.fields import moment, number, table, text, tree, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import FlatShredder

_UNSUPPORTED = "everything: the vendor does not support this route"

_PROCESSES = table(
    "internal_processes",
    "code",
    whole("Code=code"),
    uuid("ProcessID=process_id"),
    text("Name=name Description=description"),
    whole("ProcessIndex=process_index State=state"),
    text("Properties=properties"),
    truth("IsTestOperation=is_test_operation IsWIPOperation=is_wip_operation"),
    truth("IsRepairOperation=is_repair_operation"),
    doc="one row per process",
    docs={"state": "1 = active", "process_id": "the id of the process on other internal routes"},
)
_INSPECTIONS = table(
    "manual_inspections",
    "test_sequence_definition_id",
    uuid("TestSequenceDefinitionId=test_sequence_definition_id"),
    text("Name=name Description=description"),
    whole("Version=version Status=status"),
    truth("IsGlobal=is_global"),
    uuid("VirtualFolderId=virtual_folder_id RepairProcessId=repair_process_id"),
    moment("Created=created"),
    text("CreatedBy=created_by CreatedBySite=created_by_site"),
    moment("Modified=modified"),
    text("ModifiedBy=modified_by"),
    moment("Released=released"),
    text("ReleasedBy=released_by"),
    moment("Revoked=revoked"),
    text("RevokedBy=revoked_by"),
    truth("OnFailGotoCleanup=on_fail_goto_cleanup OnFailRequireSubmit=on_fail_require_submit"),
    whole("OnFailRequireRepair=on_fail_require_repair"),
    truth("LogOperator=log_operator LogDescription=log_description AddChildUnits=add_child_units"),
    truth("CreateUnsubmittedReportOnFailedStep=create_unsubmitted_report_on_failed_step"),
    truth("IncludeUURMiscInfoInUUT=include_uur_misc_info_in_uut"),
    truth("LoadPreviousMiscInfo=load_previous_misc_info"),
    whole("InstancesCount=instances_count"),
    tree("Relations=relations"),
    text("XAML=xaml"),
    doc="one row per definition of a manual inspection",
    docs={"status": "0 = draft, 1 = pending, 2 = released, 3 = revoked"},
)
_ALARMS = table(
    "alarms",
    "log_id",
    whole("logId"),
    moment("logDate"),
    text("name"),
    whole("triggerId type state"),
    text("groupingSet"),
    tree("clientGroupIds productSelectionIds"),
    uuid("reportId"),
    text("partNumber stationName"),
    number("fpy"),
    whole("unitCount"),
    text("assetname=asset_name serialnumber=serial_number typeid=type_id"),
    whole("assetstate=asset_state bubbledstatus=bubbled_status"),
    doc="one row per alarm or notification",
    docs={
        "log_date": "the server sends no offset; taken as UTC",
        "type": "1 = report, 2 = yield, 3 = serial number, 4 = measurement, 5 = asset",
        "fpy": "first-pass yield, from 0 to 1",
    },
)

INTERNAL_PROCESSES = Resource(
    name="internal_processes",
    summary="processes with the ids that internal routes use",
    route="internal/Process/GetProcesses",
    reader=PagedReader(Snapshot("internal/Process/GetProcesses"), FlatShredder(_PROCESSES)),
    tables=(_PROCESSES,),
    key="code",
    options=frozenset({"internal"}),
    internal=True,
    unproven=_UNSUPPORTED,
)
MANUAL_INSPECTIONS = Resource(
    name="manual_inspections",
    summary="definitions of manual inspections; their results are ordinary reports",
    route="internal/ManualInspection/GetTestSequenceDefinitions",
    reader=PagedReader(
        Snapshot("internal/ManualInspection/GetTestSequenceDefinitions"), FlatShredder(_INSPECTIONS)
    ),
    tables=(_INSPECTIONS,),
    key="test_sequence_definition_id",
    options=frozenset({"internal"}),
    internal=True,
    unproven=_UNSUPPORTED,
)
ALARMS = Resource(
    name="alarms",
    summary="alarms and notifications, read by time windows",
    route="internal/Trigger/GetAlarmAndNotificationLogs",
    method="POST",
    reader=PagedReader(TimeWindows("internal/Trigger/GetAlarmAndNotificationLogs"), FlatShredder(_ALARMS)),
    tables=(_ALARMS,),
    key="log_id",
    cursor="logDate",
    options=frozenset({"internal", "since"}),
    internal=True,
    unproven=_UNSUPPORTED,
)
