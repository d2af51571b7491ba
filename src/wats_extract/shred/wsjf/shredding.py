"""Shreds full reports: turns WSJF documents, which are trees, into rows of several tables.

Every value of a document is kept, in a column or in ``_extra`` of its row. The steps of most documents are
shredded natively (``steps.py``), everything else in Python. Documents are shredded a few at a time, so that
they stay in the processor's cache: eight at a time take half as long as four hundred.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import Row
from wats_extract.shred import header_tables
from wats_extract.shred.budget import Budget, check_structure
from wats_extract.shred.columns import (
    Layout,
    TableBuilder,
    all_null,
    concatenated,
    field_of,
    filled,
    leftovers,
)
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.instants import has_zone, in_calendar, instant, microseconds
from wats_extract.shred.records import BYTE_ORDER_MARK, Kept, Record, loads, read
from wats_extract.shred.shape import described
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf import shredding, tables
from wats_extract.shred.wsjf.steps import StepBatch, Steps, read_natively
from wats_extract.tables import Table

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
        Layout(tables.CHART_SERIES, wsjf.ChartSeries),
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


_CHARTS = "the points of its charts, and the texts that their series repeat,"
_POINT = 32
"""Bytes that a point of a chart takes while its text is converted."""


@dataclass(frozen=True, slots=True)
class Document:
    """A report that was fetched and decoded, and not shredded yet.

    Attributes:
        uuid: The key.
        time_stamp: The version, or ``None`` if it is not known.
        report: The decoded document; without ``root`` if the steps were parsed natively.
        raw: The bytes of the document.
        steps: The steps, if they were parsed natively.
    """

    uuid: str
    time_stamp: int | None
    report: wsjf.Report
    raw: bytes
    steps: Steps | None = None


@dataclass(frozen=True, slots=True)
class WsjfOptions:
    """Which parts of documents are shredded.

    Attributes:
        attachments: ``none``, ``metadata`` (name, type, size and hash) or ``content``.
        charts: Whether to shred the series of charts.
        keep_raw: Whether to keep the documents themselves in ``raw_reports``.
    """

    attachments: str = "none"
    charts: bool = True
    keep_raw: bool = False


def decode(uuid: str, time_stamp: int | None, raw: bytes) -> Document:
    """Decode a document.

    Raises:
        Unreadable: The bytes are not JSON, or are another report.
        RecordError: The document does not fit, or would take too much memory.
    """
    check_structure(raw)
    report, steps = read_natively(raw) or (read(raw, wsjf.REPORT_DECODER), None)
    if report.id is not None and report.id.lower() != uuid.lower():
        raise Unreadable(f"$.id: requested report {uuid}, received {report.id[:60]!r}")
    return Document(uuid, time_stamp, report, raw, steps)


def shred(documents: Sequence[Document], options: WsjfOptions) -> dict[Table, pa.RecordBatch]:
    """Return the rows of a few documents by table, without tables that have no rows.

    Raises:
        RecordError: A document does not fit; shred them one by one to find out which.
    """
    parts = [
        _shred_group(list(group), options)
        for _, group in groupby(documents, key=lambda document: document.steps is not None)
    ]
    if len(parts) == 1:
        return parts[0]
    found = {table: [part[table] for part in parts if table in part] for table in tables.TABLES}
    return {table: concatenated(batches) for table, batches in found.items() if batches}


def _shred_group(documents: Sequence[Document], options: WsjfOptions) -> dict[Table, pa.RecordBatch]:
    """Return the rows of documents whose steps are either all native, or all in Python."""
    reports = ReportBuilder(options)
    for document in documents:
        reports.add(document)
    batches: dict[Table, pa.RecordBatch] = {}
    for name, builder in reports.by_name.items():
        if name == "steps":
            batches |= reports.native.batches()
        if builder.records:
            batches[builder.layout.table] = builder.batch()
    return batches


class ReportBuilder:
    """Collects the rows of a few documents, by table."""

    def __init__(self, options: WsjfOptions) -> None:
        self.options = options
        self.by_name: dict[str, TableBuilder] = {name: each.builder() for name, each in _LAYOUTS.items()}
        self._additional: list[tuple[int | None, wsjf.AdditionalData]] = []
        self._attached: list[tuple[int | None, wsjf.Attachment, Mapping[str, Any]]] = []
        self._charts = Budget(0, _CHARTS)
        self.native = StepBatch()

    def add(self, document: Document) -> None:
        """Add the rows of one document.

        Raises:
            RecordError: Its rows repeat too much text.
        """
        uuid, report = document.uuid, document.report
        self._charts = Budget(len(document.raw), _CHARTS)
        self._additional = [(None, data) for data in report.additionalData or ()]
        self._attached = [(None, attachment, {}) for attachment in report.binaryData or ()]
        self._add_report(document)
        if document.steps is not None:
            self._add_native(uuid, document.steps)
        elif report.root is not None:
            self._add_steps(uuid, report.root, Budget(len(document.raw), "the paths of its steps"))
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
        builder, report = self.by_name["reports"], document.report
        start, offset = started(report)
        builder.add(report, document.uuid, start, offset, document.time_stamp)
        if start is None and report.start is not None:
            builder.add_extra({"start": Kept(report.start)})
        utc = _moment(report.startUTC)
        if utc is not None and report.start is not None and utc != start:
            builder.add_extra({"startUTC": report.startUTC})
        elif utc is None and report.startUTC is not None:
            builder.add_extra({"startUTC": Kept(report.startUTC)})

    def _add_steps(self, uuid: str, root: wsjf.Step, paths: Budget) -> None:
        """Add all steps, depth first, then their measurements, charts, attachments and results."""
        builder = self.by_name["steps"]
        begin = len(builder.records)
        try:
            _StepWalker(builder, paths).add([root], None, 0, "")
        except RecursionError as error:
            raise RecordError("its steps are nested too deeply") from error
        steps = builder.records[begin:]
        builder.placed["report_uuid"] += [uuid] * len(steps)
        builder.placed["step_index"] += range(len(steps))
        self._add_measurements("numeric_measurements", uuid, _NUMERIC(steps))
        self._add_measurements("string_measurements", uuid, _STRING(steps))
        self._add_measurements("boolean_measurements", uuid, _BOOLEAN(steps))
        self._add_loops(begin, _LOOPS(steps))
        for index, chart in filled(_CHART(steps)) if self.options.charts else ():
            builder.add_extra(self._add_chart(uuid, index, chart), row=begin + index)
        self._attached += [(index, attachment, {}) for index, attachment in filled(_ATTACHMENTS(steps))]
        self._additional += [(i, data) for i, found in filled(_ADDITIONAL(steps)) for data in found]

    def _add_native(self, uuid: str, steps: Steps) -> None:
        """Add steps that were parsed natively; their charts, attachments and results are added in Python."""
        self.native.add(uuid, steps)
        for index, chart in steps.charts if self.options.charts else ():
            self.native.add_extra(index, self._add_chart(uuid, index, chart))
        for index, guid in steps.guids:
            self.native.add_extra(index, {"tsGuid": guid})
        self._attached += [(index, attachment, {}) for index, attachment in steps.attachments]
        self._additional += [(index, data) for index, found in steps.additional for data in found]

    def _add_measurements(self, name: str, uuid: str, found: Sequence[Sequence[Record] | None]) -> None:
        builder = self.by_name[name]
        by_step = [(index, measurements) for index, measurements in enumerate(found) if measurements]
        records = [measurement for _, measurements in by_step for measurement in measurements]
        builder.records += records
        builder.placed["report_uuid"] += [uuid] * len(records)
        builder.placed["step_index"] += [step for step, measurements in by_step for _ in measurements]
        builder.placed["measurement_index"] += [
            index for _, measurements in by_step for index in range(len(measurements))
        ]

    def _add_loops(self, begin: int, loops: Sequence[wsjf.Loop | None]) -> None:
        builder = self.by_name["steps"]
        if all_null(loops):
            builder.placed["loop_role"] += ["none"] * len(loops)
            return
        builder.placed["loop_role"] += [
            "none" if loop is None else "header" if loop.idx is None else "iteration" for loop in loops
        ]
        for index, loop in filled(loops):
            if loop.endingIndex not in (None, loop.num):
                builder.add_extra({"loop": {"endingIndex": loop.endingIndex}}, row=begin + index)

    def _add_chart(self, uuid: str, index: int, chart: wsjf.Chart) -> dict[str, Any]:
        """Add the series of a step's chart; return its other fields, for ``_extra`` of the step."""
        builder = self.by_name["chart_series"]
        shared = (chart.chartType, chart.label, chart.xLabel, chart.xUnit, chart.yLabel, chart.yUnit)
        repeated = sum(len(text) for text in shared if isinstance(text, str))
        for series_index, series in enumerate(chart.series or ()):
            points = sum(data.count(";") for data in (series.xdata, series.ydata) if isinstance(data, str))
            self._charts.spend(repeated + _POINT * points)
            builder.add(series, uuid, index, series_index, *shared)
        left = _CHART_LEFT(chart) if chart.series else _CHART_ALL(chart)
        return {"chart": left} if left else {}

    def _add_additional_data(self, uuid: str) -> None:
        builder = self.by_name["additional_data"]
        for index, (step_index, data) in enumerate(self._additional):
            builder.add(data, uuid, index, step_index)

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
            for index, (step_index, attachment, belongs) in enumerate(self._attached):
                self._add_attachment((uuid, index, step_index), attachment, belongs)

    def _add_attachment(
        self, key: tuple[str, int, int | None], attachment: wsjf.Attachment, belongs: Mapping[str, Any]
    ) -> None:
        builder = self.by_name["attachments"]
        content = attachment.data
        size, sha256 = (None, None)
        if content is not None:
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
        kept = content if self.options.attachments == "content" else None
        builder.add(attachment, *key, size, sha256, kept)
        builder.add_extra(dict(belongs) | ({} if attachment.id is None else {"id": attachment.id}))


class _StepWalker:
    """Adds the steps of one tree, depth first, each with its parent, depth and path.

    Args:
        builder: Collects the steps.
        budget: Bounds the paths.
    """

    def __init__(self, builder: TableBuilder, budget: Budget) -> None:
        self._budget = budget
        self._begin = len(builder.records)
        self._steps = builder.records
        self._parents = builder.placed["parent_step_index"]
        self._depths = builder.placed["depth"]
        self._paths = builder.placed["path"]

    def add(self, siblings: Sequence[wsjf.Step], parent: int | None, depth: int, above: str) -> None:
        """Add siblings and the steps below them; ``above`` is the path of the parent, with a slash."""
        begin = 0
        for index, below in filled(_BELOW(siblings)):
            if below:
                self._append(siblings[begin : index + 1], parent, depth, above)
                self.add(below, len(self._steps) - 1 - self._begin, depth + 1, self._paths[-1] + "/")
                begin = index + 1
        self._append(siblings[begin:], parent, depth, above)

    def _append(self, steps: Sequence[wsjf.Step], parent: int | None, depth: int, above: str) -> None:
        """Append siblings; only the last of them may have steps below it."""
        names = [step.name or "" for step in steps]
        # At most what the native module counts: it gives up before this does.
        self._budget.spend(len(above) * len(steps) + sum(map(len, names)))
        self._steps += steps
        self._parents += [parent] * len(steps)
        self._depths += [depth] * len(steps)
        self._paths += [above + (name.replace("/", "//") if "/" in name else name) for name in names]


def started(report: wsjf.Report) -> tuple[int | None, int | None]:
    """Return a report's start in microseconds since 1970 in UTC, and its offset from UTC in minutes.

    ``start`` takes precedence over ``startUTC``, which is used if ``start`` names no offset. The start is
    null if the text that it has to be taken from is not a timestamp within the years 1 to 9999.
    """
    utc = _moment(report.startUTC)
    if report.start is None:
        return utc, None
    try:
        local = instant(report.start)
    except RecordError:
        return None, None
    if has_zone(report.start):
        offset = local.utcoffset()
        minutes = int(offset.total_seconds() // 60) if offset is not None else None
        return _moment(report.start), minutes
    if report.startUTC is None:
        return microseconds(local), None
    return utc, None if utc is None else round((microseconds(local) - utc) / 60_000_000)


def _moment(text: str | None) -> int | None:
    """Return a time in microseconds since 1970 in UTC, or ``None`` if the text is no such time."""
    try:
        moment = None if text is None else microseconds(instant(text))
    except RecordError:
        return None
    return moment if moment is not None and in_calendar(moment) else None


_BELOW, _LOOPS, _CHART = field_of("steps"), field_of("loop"), field_of("chart")
_NUMERIC, _STRING, _BOOLEAN = field_of("numericMeas"), field_of("stringMeas"), field_of("booleanMeas")
_ATTACHMENTS, _ADDITIONAL = field_of("attachment"), field_of("additionalResults")
_CHART_LEFT = leftovers(wsjf.Chart, {"chartType", "label", "xLabel", "xUnit", "yLabel", "yUnit", "series"})
_CHART_ALL = leftovers(wsjf.Chart, {"series"})


class Listed(msgspec.Struct, gc=False):
    """The fields of a listed report that readers need; complete rows would take 10 MB per page.

    Attributes:
        start: The report's start, as the list writes it.
        reportSize: The report's size in kB.
    """

    start: str | None
    reportSize: int | None  # noqa: N815 - as in the list

    @classmethod
    def of(cls, record: Any) -> Listed:
        """Take the fields from a complete row."""
        return cls(record.start, record.reportSize)


class WsjfShredder:
    """Shreds WSJF documents, whose keys come from the list of report headers."""

    def __init__(self) -> None:
        self._listing = FlatShredder(header_tables.HEADERS)

    def rows(self, body: bytes) -> list[Row]:
        """Return the keys and versions on a page of headers."""
        return [
            msgspec.structs.replace(row, record=row.record and Listed.of(row.record))
            for row in self._listing.rows(body)
        ]

    def document(self, key: str, version: int | None, body: bytes) -> shredding.Document:
        """Decode a document.

        Raises:
            Unreadable: The bytes are not the JSON object of this report.
            RecordError: The document does not fit.
        """
        if not body.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{"):
            raise Unreadable(f"expected a report, found {described(body)}")
        found = shredding.decode(key, version, body)
        if found.report.id is None:
            raise Unreadable(f"expected report {key}, found {described(body)}")
        return found

    def value(self, document: shredding.Document) -> dict[str, Any]:
        """Return the document as decoded JSON."""
        value: dict[str, Any] = loads(document.raw)
        return value

    def shred(
        self, documents: Sequence[shredding.Document], options: Mapping[str, Any]
    ) -> dict[Table, pa.RecordBatch]:
        """Return the rows of a few documents by table."""
        return shredding.shred(
            documents,
            shredding.WsjfOptions(
                attachments=options.get("attachments", "none"),
                charts=options.get("charts", True),
                keep_raw=options.get("keep_raw", False),
            ),
        )
