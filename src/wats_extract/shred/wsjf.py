"""Shred full reports: from a WSJF document (a tree) to rows of several tables.

Every leaf of a document lands: in a column, or in ``_extra`` of the row it belongs to. Documents are
shredded a few at a time, so that they are still in the processor's cache when columns are built
(feasibility: eight at a time are twice as fast as four hundred).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wats_extract.errors import RecordError
from wats_extract.flow import Table
from wats_extract.shred import wsjf_document as wsjf
from wats_extract.shred import wsjf_tables as tables
from wats_extract.shred.columns import Layout, Sheet, leftovers, number
from wats_extract.shred.instants import has_zone, instant, microseconds
from wats_extract.shred.records import Record, read

_LAYOUTS = {
    layout.table.name: layout
    for layout in (
        Layout(
            tables.REPORTS,
            wsjf.Report,
            apart=(
                *("id", "start", "startUTC", "root", "uut", "uur"),
                *("miscInfos", "subUnits", "assets", "assetStats", "binaryData", "additionalData"),
            ),
        ),
        Layout(
            tables.STEPS,
            wsjf.Step,
            apart=(
                *("steps", "loop", "seqCall", "callExe", "messagePopup", "chart", "attachment"),
                *("numericMeas", "stringMeas", "booleanMeas", "additionalResults"),
            ),
        ),
        Layout(tables.NUMERIC_MEASUREMENTS, wsjf.NumericMeasurement),
        Layout(tables.STRING_MEASUREMENTS, wsjf.StringMeasurement),
        Layout(tables.BOOLEAN_MEASUREMENTS, wsjf.BooleanMeasurement),
        Layout(tables.CHART_SERIES, wsjf.ChartSeries, apart=("xdata", "ydata")),
        Layout(tables.MISC_INFOS, wsjf.MiscInfo),
        Layout(tables.SUB_UNITS, wsjf.SubUnit, apart=("failures",)),
        Layout(tables.REPAIR_FAILURES, wsjf.RepairFailure, apart=("attachments",)),
        Layout(tables.ASSETS_USED, wsjf.AssetUsed),
        Layout(tables.ASSET_STATS, wsjf.AssetStat),
        Layout(tables.ADDITIONAL_DATA, wsjf.AdditionalData, apart=("props",)),
        Layout(tables.ATTACHMENTS, wsjf.Attachment, apart=("data", "id")),
        Layout(tables.RAW_REPORTS, wsjf.Report, apart=wsjf.Report.__struct_fields__),
    )
}


@dataclass(frozen=True, slots=True)
class Document:
    """A report that was fetched and decoded, not yet shredded."""

    uuid: str
    time_stamp: int | None
    report: wsjf.Report
    raw: bytes


@dataclass(frozen=True, slots=True)
class WsjfOptions:
    """In which detail documents are shredded.

    Attributes:
        attachments: ``none``, ``metadata`` (name, type, size, hash) or ``content``.
        charts: Whether the series of charts are shredded.
        keep_raw: Whether the documents themselves are kept in ``raw_reports``.
    """

    attachments: str = "none"
    charts: bool = True
    keep_raw: bool = False


def decode(uuid: str, time_stamp: int | None, raw: bytes) -> Document:
    """A document from its bytes.

    Raises:
        Unreadable: the bytes are not JSON.
        RecordError: they do not fit, or they are another report.
    """
    report = read(raw, wsjf.REPORT_DECODER)
    if report is None:
        raise RecordError("the document is null")
    if report.id is not None and report.id.lower() != uuid.lower():
        raise RecordError(f"$.id: asked for report {uuid}, got {report.id[:60]}")
    return Document(uuid, time_stamp, report, raw)


def shred(documents: Sequence[Document], options: WsjfOptions) -> dict[Table, pa.RecordBatch]:
    """The rows of a few documents, by table; tables without rows are left out.

    Raises:
        RecordError: one of the documents does not fit; shred them one by one to learn which.
    """
    sheets = Sheets(options)
    for document in documents:
        sheets.add(document)
    return {sheet.layout.table: sheet.batch() for sheet in sheets.by_name.values() if sheet.records}


class Sheets:
    """The sheets of a few documents."""

    def __init__(self, options: WsjfOptions) -> None:
        self.options = options
        self.by_name: dict[str, Sheet] = {name: layout.sheet() for name, layout in _LAYOUTS.items()}
        self._additional: list[tuple[int | None, wsjf.AdditionalData]] = []
        self._attached: list[tuple[int | None, wsjf.Attachment, Mapping[str, Any]]] = []

    def add(self, document: Document) -> None:
        """Spread one document over the sheets."""
        uuid, report = document.uuid, document.report
        self._additional = [(None, data) for data in report.additionalData or ()]
        self._attached = [(None, attachment, {}) for attachment in report.binaryData or ()]
        self._add_report(document)
        if report.root is not None:
            self._add_steps(uuid, report.root)
        self._add_list("misc_infos", uuid, report.miscInfos)
        self._add_list("assets_used", uuid, report.assets)
        self._add_list("asset_stats", uuid, report.assetStats)
        self._add_units(uuid, report)
        self._add_additional_data(uuid)
        self._add_attachments(uuid)
        if self.options.keep_raw:
            packed = pa.compress(document.raw, codec="zstd", asbytes=True)
            self.by_name["raw_reports"].add(_NO_REPORT, uuid, "zstd", len(document.raw), packed)

    def _add_report(self, document: Document) -> None:
        sheet, report = self.by_name["reports"], document.report
        test, repair = report.uut or _NO_TEST, report.uur or _NO_REPAIR
        start, offset = started(report)
        sheet.add(
            report,
            *(document.uuid, start, offset, document.time_stamp),
            *(_either(test.user, repair.user), _either(test.comment, repair.comment)),
            _either(test.execTime, repair.execTime),
            *(test.batchSN, test.fixtureId, test.testSocketIndex, test.errorCode, test.errorMessage),
            *(test.batchFailCount, test.batchLoopIndex, test.stepIdCausedUUTFailure),
            *(repair.processCode, repair.processName, repair.refUUT),
            *(_moment(repair.confirmDate), _moment(repair.finalizeDate), repair.parent),
        )
        extra = _blocks({"uut": report.uut, "uur": report.uur})
        if report.start and report.startUTC and microseconds(instant(report.startUTC)) != start:
            extra["startUTC"] = report.startUTC
        sheet.add_extra(extra)

    def _add_steps(self, uuid: str, root: wsjf.Step) -> None:
        """All steps depth first, without recursion: reports may nest deeper than Python's stack."""
        sheet = self.by_name["steps"]
        index = 0
        stack: list[tuple[wsjf.Step, int | None, int, str]] = [(root, None, 0, "")]
        while stack:
            step, parent, depth, above = stack.pop()
            path = above + (step.name or "").replace("/", "//")
            loop, call = step.loop or _NO_LOOP, step.seqCall or _NO_CALL
            exe, popup = step.callExe or _NO_EXE, step.messagePopup or _NO_POPUP
            sheet.add(
                step,
                *(uuid, index, parent, depth, path),
                *(_loop_role(step.loop), loop.idx, loop.num, loop.passed, loop.failed),
                *(call.path, call.name, call.version, exe.exitCode, popup.button, popup.response),
            )
            self._add_step_parts(uuid, index, step)
            if step.steps:
                below = path + "/"
                stack.extend((child, index, depth + 1, below) for child in reversed(step.steps))
            index += 1

    def _add_step_parts(self, uuid: str, index: int, step: wsjf.Step) -> None:
        by_name = self.by_name
        for name, measurements in (
            ("numeric_measurements", step.numericMeas),
            ("string_measurements", step.stringMeas),
            ("boolean_measurements", step.booleanMeas),
        ):
            if measurements:
                add = by_name[name].add
                for place, measurement in enumerate(measurements):
                    add(measurement, uuid, index, place)
        if step.chart is not None and self.options.charts:
            self._add_chart(uuid, index, step.chart)
        if step.attachment is not None:
            self._attached.append((index, step.attachment, {}))
        if step.additionalResults:
            self._additional += [(index, data) for data in step.additionalResults]
        by_name["steps"].add_extra(self._step_extra(step))

    def _step_extra(self, step: wsjf.Step) -> dict[str, Any]:
        """What the blocks of a step hold beyond its columns."""
        if not (step.loop or step.seqCall or step.callExe or step.messagePopup or step.chart):
            return {}
        extra = _blocks(
            {
                "loop": step.loop,
                "seqCall": step.seqCall,
                "callExe": step.callExe,
                "messagePopup": step.messagePopup,
            }
        )
        if step.loop and step.loop.endingIndex not in (None, step.loop.num):
            extra["loop"] = extra.get("loop", {}) | {"endingIndex": step.loop.endingIndex}
        if step.chart and self.options.charts:
            left = _CHART_LEFT(step.chart) if step.chart.series else _CHART_ALL(step.chart)
            extra |= {"chart": left} if left else {}
        return extra

    def _add_chart(self, uuid: str, index: int, chart: wsjf.Chart) -> None:
        sheet = self.by_name["chart_series"]
        about = (chart.chartType, chart.label, chart.xLabel, chart.xUnit, chart.yLabel, chart.yUnit)
        for place, series in enumerate(chart.series or ()):
            sheet.add(
                series, uuid, index, place, *about, coordinates(series.xdata), coordinates(series.ydata)
            )

    def _add_list(self, name: str, uuid: str, records: Sequence[Record] | None) -> None:
        for place, record in enumerate(records or ()):
            self.by_name[name].add(record, uuid, place)

    def _add_additional_data(self, uuid: str) -> None:
        sheet = self.by_name["additional_data"]
        for place, (index, data) in enumerate(self._additional):
            properties = None if data.props is None else bytes(data.props).decode("utf-8")
            sheet.add(data, uuid, place, index, properties)

    def _add_units(self, uuid: str, report: wsjf.Report) -> None:
        failures = self.by_name["repair_failures"]
        for unit_index, unit in enumerate(report.subUnits or ()):
            self.by_name["sub_units"].add(unit, uuid, unit_index)
            for failure_index, failure in enumerate(unit.failures or ()):
                failures.add(failure, uuid, unit_index, failure_index)
                belongs = {"unit_index": unit_index, "failure_index": failure_index}
                self._attached += [(None, attachment, belongs) for attachment in failure.attachments or ()]

    def _add_attachments(self, uuid: str) -> None:
        if self.options.attachments != "none":
            for place, (index, attachment, belongs) in enumerate(self._attached):
                self._add_attachment((uuid, place, index), attachment, belongs)

    def _add_attachment(
        self, place: tuple[str, int, int | None], attachment: wsjf.Attachment, belongs: Mapping[str, Any]
    ) -> None:
        sheet = self.by_name["attachments"]
        content = _from_base64(attachment.data)
        size, sha256 = (None, None)
        if content is not None:
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
        kept = content if self.options.attachments == "content" else None
        sheet.add(attachment, *place, size, sha256, kept)
        sheet.add_extra(dict(belongs) | ({"id": attachment.id} if attachment.id else {}))


def started(report: wsjf.Report) -> tuple[int | None, int | None]:
    """A report's start in microseconds since 1970 (UTC), and its offset from UTC in minutes.

    ``start`` is authoritative; where it names no zone, ``startUTC`` says which instant it was.
    """
    utc = microseconds(instant(report.startUTC)) if report.startUTC else None
    if not report.start:
        return utc, None
    local = instant(report.start)
    if has_zone(report.start):
        offset = local.utcoffset()
        return microseconds(local), int(offset.total_seconds() // 60) if offset is not None else None
    if utc is None:
        return microseconds(local), None
    return utc, round((microseconds(local) - utc) / 60_000_000)


def coordinates(text: str | None) -> list[float | None] | None:
    """Chart coordinates: numbers joined by semicolons; an empty place between two is null.

    Raises:
        RecordError: one of them is no number.
    """
    if text is None:
        return None
    places = text.split(";")
    if places[-1].strip() == "":
        places.pop()
    return [number(place) if place.strip() else None for place in places]


def _loop_role(loop: wsjf.Loop | None) -> str:
    if loop is None:
        return "none"
    return "header" if loop.idx is None else "iteration"


def _moment(text: str | None) -> int | None:
    return microseconds(instant(text)) if text else None


def _either(test: Any, repair: Any) -> Any:
    return repair if test is None else test


def _from_base64(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"an attachment's data is not base64: {error}") from error


def _blocks(blocks: Mapping[str, Record | None]) -> dict[str, Any]:
    """What blocks hold in fields that have no column, by block."""
    found = {name: _BLOCKS_LEFT[type(block)](block) for name, block in blocks.items() if block is not None}
    return {name: left for name, left in found.items() if left}


_NO_TEST, _NO_REPAIR, _NO_REPORT = wsjf.Test(), wsjf.Repair(), wsjf.Report()
_NO_LOOP, _NO_CALL, _NO_EXE, _NO_POPUP = wsjf.Loop(), wsjf.SequenceCall(), wsjf.CallExe(), wsjf.MessagePopup()

_CHART_LEFT = leftovers(wsjf.Chart, {"chartType", "label", "xLabel", "xUnit", "yLabel", "yUnit", "series"})
_CHART_ALL = leftovers(wsjf.Chart, {"series"})
_BLOCKS_LEFT: dict[type[Record], Callable[[Any], dict[str, Any] | None]] = {
    wsjf.Test: leftovers(
        wsjf.Test,
        {
            *("execTime", "testSocketIndex", "batchSN", "comment", "errorCode", "errorMessage", "fixtureId"),
            *("user", "batchFailCount", "batchLoopIndex", "stepIdCausedUUTFailure"),
        },
    ),
    wsjf.Repair: leftovers(
        wsjf.Repair,
        {
            *("comment", "user", "processCode", "processName", "refUUT", "confirmDate", "finalizeDate"),
            *("execTime", "parent"),
        },
    ),
    wsjf.Loop: leftovers(wsjf.Loop, {"idx", "num", "endingIndex", "passed", "failed"}),
    wsjf.SequenceCall: leftovers(wsjf.SequenceCall, {"path", "name", "version"}),
    wsjf.CallExe: leftovers(wsjf.CallExe, {"exitCode"}),
    wsjf.MessagePopup: leftovers(wsjf.MessagePopup, {"response", "button"}),
}
