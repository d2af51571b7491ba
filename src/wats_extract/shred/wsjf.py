"""Shred full reports: from a WSJF document (a tree) to rows of several tables.

Every leaf of a document lands: in a column, or in ``_extra`` of the row it belongs to. Documents are
shredded a few at a time, so that they are still in the processor's cache when columns are built
(feasibility: eight at a time are twice as fast as four hundred).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
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
                *("id", "start", "startUTC", "root", "miscInfos", "subUnits"),
                *("assets", "assetStats", "binaryData", "additionalData"),
            ),
        ),
        Layout(
            tables.STEPS,
            wsjf.Step,
            apart=(
                *("steps", "loop.endingIndex", "chart", "attachment"),
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
        Layout(tables.ADDITIONAL_DATA, wsjf.AdditionalData),
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
    if report.id is not None and report.id.lower() != uuid.lower():
        raise RecordError(f"$.id: asked for report {uuid}, got {report.id[:60]!r}")
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
        self.by_name["misc_infos"].add_all(report.miscInfos or (), uuid)
        self.by_name["assets_used"].add_all(report.assets or (), uuid)
        self.by_name["asset_stats"].add_all(report.assetStats or (), uuid)
        self._add_units(uuid, report)
        self._add_additional_data(uuid)
        self._add_attachments(uuid)
        if self.options.keep_raw:
            packed = pa.compress(document.raw, codec="zstd", asbytes=True)
            self.by_name["raw_reports"].add(report, uuid, "zstd", len(document.raw), packed)

    def _add_report(self, document: Document) -> None:
        sheet, report = self.by_name["reports"], document.report
        start, offset = started(report)
        sheet.add(report, document.uuid, start, offset, document.time_stamp)
        if (
            report.start is not None
            and report.startUTC is not None
            and microseconds(instant(report.startUTC)) != start
        ):
            sheet.add_extra({"startUTC": report.startUTC})

    def _add_steps(self, uuid: str, root: wsjf.Step) -> None:
        """All steps, depth first; then what hangs on them, kind by kind."""
        sheet = self.by_name["steps"]
        begin = len(sheet.records)
        try:
            _Walk(sheet).down([root], None, 0, "")
        except RecursionError as error:
            raise RecordError("its steps are nested too deeply") from error
        steps = sheet.records[begin:]
        count = len(steps)
        sheet.placed["report_uuid"] += [uuid] * count
        sheet.placed["step_index"] += range(count)
        loops = [step.loop for step in steps]
        sheet.placed["loop_role"] += map(_loop_role, loops) if any(loops) else ["none"] * count
        self._add_measurements("numeric_measurements", uuid, [step.numericMeas for step in steps])
        self._add_measurements("string_measurements", uuid, [step.stringMeas for step in steps])
        self._add_measurements("boolean_measurements", uuid, [step.booleanMeas for step in steps])
        for index, step in enumerate(steps):
            if step.loop or step.chart or step.attachment or step.additionalResults:
                self._add_step_parts(uuid, begin, index, step)

    def _add_measurements(self, name: str, uuid: str, found: Sequence[Sequence[Record] | None]) -> None:
        sheet = self.by_name[name]
        before = len(sheet.records)
        indexes, places = sheet.placed["step_index"], sheet.placed["measurement_index"]
        for index, measurements in enumerate(found):
            if measurements:
                sheet.records += measurements
                indexes += [index] * len(measurements)
                places += range(len(measurements))
        sheet.placed["report_uuid"] += [uuid] * (len(sheet.records) - before)

    def _add_step_parts(self, uuid: str, begin: int, index: int, step: wsjf.Step) -> None:
        """What only a few steps have."""
        extra: dict[str, Any] = {}
        if step.loop and step.loop.endingIndex not in (None, step.loop.num):
            extra["loop"] = {"endingIndex": step.loop.endingIndex}
        if step.chart and self.options.charts:
            self._add_chart(uuid, index, step.chart)
            left = _CHART_LEFT(step.chart) if step.chart.series else _CHART_ALL(step.chart)
            extra |= {"chart": left} if left else {}
        if step.attachment is not None:
            self._attached.append((index, step.attachment, {}))
        if step.additionalResults:
            self._additional += [(index, data) for data in step.additionalResults]
        if extra:
            self.by_name["steps"].extras[begin + index] = extra

    def _add_chart(self, uuid: str, index: int, chart: wsjf.Chart) -> None:
        sheet = self.by_name["chart_series"]
        about = (chart.chartType, chart.label, chart.xLabel, chart.xUnit, chart.yLabel, chart.yUnit)
        for place, series in enumerate(chart.series or ()):
            sheet.add(
                series, uuid, index, place, *about, coordinates(series.xdata), coordinates(series.ydata)
            )

    def _add_additional_data(self, uuid: str) -> None:
        sheet = self.by_name["additional_data"]
        for place, (index, data) in enumerate(self._additional):
            sheet.add(data, uuid, place, index)

    def _add_units(self, uuid: str, report: wsjf.Report) -> None:
        failures = self.by_name["repair_failures"]
        self.by_name["sub_units"].add_all(report.subUnits or (), uuid)
        for unit_index, unit in enumerate(report.subUnits or ()):
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
        content = attachment.data
        size, sha256 = (None, None)
        if content is not None:
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
        kept = content if self.options.attachments == "content" else None
        sheet.add(attachment, *place, size, sha256, kept)
        sheet.add_extra(dict(belongs) | ({} if attachment.id is None else {"id": attachment.id}))


class _Walk:
    """Puts the steps of one tree on the sheet, depth first, each with parent, depth and path."""

    def __init__(self, sheet: Sheet) -> None:
        self._begin = len(sheet.records)
        self._steps = sheet.records
        self._parents = sheet.placed["parent_step_index"]
        self._depths = sheet.placed["depth"]
        self._paths = sheet.placed["path"]

    def down(self, siblings: Sequence[wsjf.Step], parent: int | None, depth: int, above: str) -> None:
        """Siblings, and what is below each of them (trees that are too deep for this cannot be decoded)."""
        for step in siblings:
            name = step.name or ""
            path = above + (name.replace("/", "//") if "/" in name else name)
            self._steps.append(step)
            self._parents.append(parent)
            self._depths.append(depth)
            self._paths.append(path)
            if step.steps:
                self.down(step.steps, len(self._steps) - 1 - self._begin, depth + 1, path + "/")


def started(report: wsjf.Report) -> tuple[int | None, int | None]:
    """A report's start in microseconds since 1970 (UTC), and its offset from UTC in minutes.

    ``start`` is authoritative; where it names no zone, ``startUTC`` says which instant it was.
    """
    utc = None if report.startUTC is None else microseconds(instant(report.startUTC))
    if report.start is None:
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


_CHART_LEFT = leftovers(wsjf.Chart, {"chartType", "label", "xLabel", "xUnit", "yLabel", "yUnit", "series"})
_CHART_ALL = leftovers(wsjf.Chart, {"series"})
