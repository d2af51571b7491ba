"""Declares the WSJF document as typed records, with the field names of the document.

Fields that servers do not export are not declared in steps and measurements (the formats of numbers), since
each declared field costs time in every record. If a document has them, the lenient decoder puts them into
``_extra``.

Source: the schemas ``Virinco.WATS.Schemas.WSJF.*`` of WATS's API description. ``tables.py`` documents the
fields with the columns that they fill.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from wats_extract.shred.records import Record

Number: TypeAlias = float | str | None


class NumericMeasurement(Record):
    """A numeric value and its limits. Each of them may be a string such as ``"NaN"``."""

    compOp: str | None = None
    name: str | None = None
    status: str | None = None
    unit: str | None = None
    value: Number = None
    lowLimit: Number = None
    highLimit: Number = None


class StringMeasurement(Record):
    """A string value and its limit."""

    compOp: str | None = None
    name: str | None = None
    status: str | None = None
    value: str | None = None
    limit: str | None = None


class BooleanMeasurement(Record):
    """A pass/fail measurement; its status is its value."""

    name: str | None = None
    status: str | None = None


class AdditionalData(Record):
    """A named tree of properties, kept as JSON (``Raw | None`` would accept only null)."""

    name: str | None = None
    props: msgspec.Raw = None  # type: ignore[assignment]


class Loop(Record):
    """The loop of a step: ``idx`` is null in its header, the other fields are null in its iterations."""

    idx: int | None = None
    num: int | None = None
    endingIndex: int | None = None
    passed: int | None = None
    failed: int | None = None


class SequenceCall(Record):
    """The sequence that a step called."""

    path: str | None = None
    name: str | None = None
    version: str | None = None


class CallExe(Record):
    """The program that a step called."""

    exitCode: Number = None
    exitCodeFormat: str | None = None


class MessagePopup(Record):
    """The operator's response to a message popup."""

    response: str | None = None
    button: int | None = None
    buttonFormat: str | None = None


class ChartSeries(Record):
    """A series of a chart; the coordinates are joined by semicolons."""

    dataType: str | None = None
    name: str | None = None
    xdata: str | None = None
    ydata: str | None = None


class Chart(Record):
    """The chart of a step."""

    chartType: str | None = None
    label: str | None = None
    xLabel: str | None = None
    xUnit: str | None = None
    yLabel: str | None = None
    yUnit: str | None = None
    series: list[ChartSeries] | None = None


class Attachment(Record):
    """A file of a step (``Attachment``), or of a repair or one of its failures (``BinaryData``)."""

    name: str | None = None
    contentType: str | None = None
    data: bytes | None = None
    id: str | None = None


class Step(Record):
    """One step of a test and the steps that it contains."""

    id: int | None = None
    group: str | None = None
    stepType: str | None = None
    name: str | None = None
    start: str | None = None
    status: str | None = None
    errorCode: int | None = None
    errorMessage: str | None = None
    totTime: Number = None
    causedSeqFailure: bool | None = None
    causedUUTFailure: bool | None = None
    reportText: str | None = None
    loop: Loop | None = None
    steps: list[Step] | None = None
    numericMeas: list[NumericMeasurement] | None = None
    stringMeas: list[StringMeasurement] | None = None
    booleanMeas: list[BooleanMeasurement] | None = None
    additionalResults: list[AdditionalData] | None = None
    seqCall: SequenceCall | None = None
    callExe: CallExe | None = None
    messagePopup: MessagePopup | None = None
    chart: Chart | None = None
    attachment: Attachment | None = None
    tsGuid: str | None = None


class Test(Record):
    """The block ``uut`` of UUT reports."""

    execTime: Number = None
    execTimeFormat: str | None = None
    testSocketIndex: int | None = None
    testSocketIndexFormat: str | None = None
    batchSN: str | None = None
    comment: str | None = None
    errorCode: int | None = None
    errorCodeFormat: str | None = None
    errorMessage: str | None = None
    fixtureId: str | None = None
    user: str | None = None
    batchFailCount: int | None = None
    batchFailCountFormat: str | None = None
    batchLoopIndex: int | None = None
    batchLoopIndexFormat: str | None = None
    stepIdCausedUUTFailure: int | None = None
    refUURs: msgspec.Raw = None  # type: ignore[assignment]


class Repair(Record):
    """The block ``uur`` of UUR reports."""

    comment: str | None = None
    user: str | None = None
    processCode: int | None = None
    processCodeFormat: str | None = None
    processName: str | None = None
    refUUT: str | None = None
    confirmDate: str | None = None
    finalizeDate: str | None = None
    execTime: Number = None
    parent: str | None = None
    children: msgspec.Raw = None  # type: ignore[assignment]


class MiscInfo(Record):
    """A named string or integer."""

    description: str | None = None
    typedef: str | None = None
    text: str | None = None
    numeric: int | None = None
    numericFormat: str | None = None
    id: str | None = None


class RepairFailure(Record):
    """A failure that a repair found."""

    artNumber: str | None = None
    artRev: str | None = None
    artVendor: str | None = None
    artDescription: str | None = None
    category: str | None = None
    code: str | None = None
    comment: str | None = None
    comRef: str | None = None
    funcBlock: str | None = None
    refStepId: int | None = None
    refStepName: str | None = None
    attachments: list[Attachment] | None = None


class SubUnit(Record):
    """A unit within the unit; UUR reports also list the main unit."""

    partType: str | None = None
    pn: str | None = None
    rev: str | None = None
    sn: str | None = None
    idx: int | None = None
    parentIdx: int | None = None
    position: int | None = None
    replacedIdx: int | None = None
    failures: list[RepairFailure] | None = None


class AssetUsed(Record):
    """An asset that the test used."""

    assetSN: str | None = None
    usageCount: int | None = None
    usageCountFormat: str | None = None


class AssetStat(Record):
    """The state of an asset at the time of the test."""

    assetSN: str | None = None
    runningCount: int | None = None
    runningCountExceeded: int | None = None
    totalCount: int | None = None
    totalCountExceeded: int | None = None
    daysSinceCalibration: Number = None
    isDaysSinceCalibrationUnknown: bool | None = None
    calibrationDaysOverdue: Number = None
    daysSinceMaintenance: Number = None
    isDaysSinceMaintenanceUnknown: bool | None = None
    maintenanceDaysOverdue: Number = None
    message: str | None = None


class Report(Record):
    """A complete document."""

    required: ClassVar[frozenset[str]] = frozenset({"id"})

    type: str | None = None
    id: str | None = None
    pn: str | None = None
    sn: str | None = None
    rev: str | None = None
    productName: str | None = None
    processCode: int | None = None
    processCodeFormat: str | None = None
    processName: str | None = None
    result: str | None = None
    machineName: str | None = None
    location: str | None = None
    purpose: str | None = None
    origin: str | None = None
    start: str | None = None
    startUTC: str | None = None
    root: Step | None = None
    uut: Test | None = None
    uur: Repair | None = None
    miscInfos: list[MiscInfo] | None = None
    subUnits: list[SubUnit] | None = None
    assets: list[AssetUsed] | None = None
    assetStats: list[AssetStat] | None = None
    binaryData: list[Attachment] | None = None
    additionalData: list[AdditionalData] | None = None


REPORT_DECODER = msgspec.json.Decoder(Report)
"""Shared, since a decoder is thread-safe and expensive to create."""
