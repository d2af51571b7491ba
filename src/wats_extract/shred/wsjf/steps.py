"""Shreds the steps of full reports natively, where the native module is built and can read the document.

The module (``_steps.c``) turns the bytes of a document into the columns of four tables and releases the GIL
meanwhile. It reads what servers export; ``shredding.py`` shreds every other document in Python. The tables
are the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.shred.budget import budget_of
from wats_extract.shred.columns import Counted, array_of_fitting, with_kept
from wats_extract.shred.records import REFUSED, Kept, json_text, read
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf import tables
from wats_extract.tables import EXTRA, TIMESTAMP, Column, Table

if TYPE_CHECKING:
    from wats_extract.shred.wsjf import _steps

PURE = "WATS_EXTRACT_PURE"
"""The environment variable that disables the native module, at installation or at run time."""

TABLES = (
    tables.STEPS,
    tables.NUMERIC_MEASUREMENTS,
    tables.STRING_MEASUREMENTS,
    tables.BOOLEAN_MEASUREMENTS,
)
"""The tables that the native module fills."""


def native_shredder(declared: Sequence[Table] = TABLES) -> _steps.Shredder | None:
    """Return a native shredder for some tables, or ``None`` if the module is not built or is disabled.

    The module matches each declared column to a field of the document by its source, or to a computed value
    by its name, so that the order of columns does not matter.

    Raises:
        ImportError: The module cannot fill the declared columns, for example because it is out of date.
    """
    if os.environ.get(PURE):
        return None
    try:
        from wats_extract.shred.wsjf import _steps
    except ImportError:
        return None
    try:
        return _steps.Shredder({table.name: [_declaration(c) for c in table.columns] for table in declared})
    except (AttributeError, KeyError, ValueError) as error:
        raise ImportError(
            f"{_steps.__file__} does not match the tables of full reports: {error}. "
            f"Install wats-extract again, or set {PURE}=1 to do without this module."
        ) from error


def _declaration(column: Column) -> tuple[str, str, str, str]:
    return column.name, column.source, column.kind, str(column.type)


_native = native_shredder()


def how() -> str:
    """Return how steps are shredded, in words: ``natively`` or ``in Python``."""
    return "in Python" if _native is None else "natively"


@dataclass(slots=True)
class Steps:
    """The steps of one document, parsed natively.

    The lists hold what few steps have, each item with the index of its step, in the order of the steps.

    Attributes:
        native: The parsed steps, for ``Shredder.merge``.
        count: The number of steps.
        charts: Charts.
        attachments: Attached files.
        additional: Additional results.
        guids: The values of ``tsGuid``, which go to ``_extra``.
    """

    native: _steps.Document
    count: int
    charts: list[tuple[int, wsjf.Chart]] = field(default_factory=list)
    attachments: list[tuple[int, wsjf.Attachment]] = field(default_factory=list)
    additional: list[tuple[int, list[wsjf.AdditionalData]]] = field(default_factory=list)
    guids: list[tuple[int, str]] = field(default_factory=list)


_RAW_VALUES: dict[str, tuple[str, msgspec.json.Decoder[Any]]] = {
    "chart": ("charts", msgspec.json.Decoder(wsjf.Chart)),
    "attachment": ("attachments", msgspec.json.Decoder(wsjf.Attachment)),
    "additionalResults": ("additional", msgspec.json.Decoder(list[wsjf.AdditionalData])),
    "tsGuid": ("guids", msgspec.json.Decoder(str)),
}
"""By field of a step: the list of ``Steps`` that holds its values, and their decoder."""


def read_natively(raw: bytes) -> tuple[wsjf.Report, Steps] | None:
    """Return a document without its steps, and the steps; or ``None`` if Python has to read all of it."""
    found = None if _native is None else _native.parse(raw, budget_of(len(raw)))
    if found is None:
        return None
    native, count, begin, end, raw_values = found
    steps = Steps(native, count)
    try:
        report = read(raw if begin < 0 else raw[:begin] + b"null" + raw[end:], wsjf.REPORT_DECODER)
        for index, name, text in raw_values:
            kind, decoder = _RAW_VALUES[name]
            getattr(steps, kind).append((index, decoder.decode(text)))
    except (RecordError, Unreadable, *REFUSED):
        return None
    if report.root is not None:  # its name is spelled in another case, which only Python reads
        return None
    for each in (steps.charts, steps.attachments, steps.additional, steps.guids):
        each.sort(key=_index)
    return report, steps


class StepBatch:
    """Collects the steps of a few documents and builds their tables."""

    def __init__(self) -> None:
        self._owners: list[str] = []
        self._documents: list[_steps.Document] = []
        self._begin, self._end = 0, 0
        self._extras: dict[int, dict[str, Any]] = {}

    def add(self, owner: str, steps: Steps) -> None:
        """Append the steps of one document; ``owner`` is the uuid of its report."""
        self._owners.append(owner)
        self._documents.append(steps.native)
        self._begin, self._end = self._end, self._end + steps.count

    def add_extra(self, index: int, extra: dict[str, Any]) -> None:
        """Add fields to ``_extra`` of a step of the last document."""
        if extra:
            self._extras.setdefault(self._begin + index, {}).update(extra)

    def batches(self) -> dict[Table, pa.RecordBatch]:
        """Return the rows by table, without tables that have no rows.

        Raises:
            RecordError: A value does not fit its column.
        """
        if not self._end or _native is None:
            return {}
        try:
            merged = _native.merge(self._owners, self._documents)
        except (OverflowError, UnicodeError) as error:
            raise RecordError(str(error)) from error
        return {
            table: _batch(table, rows, columns, self._extras if table is tables.STEPS else {})
            for table, (rows, columns) in [(table, merged[table.name]) for table in TABLES]
            if rows
        }


def _batch(
    table: Table, rows: int, columns: Sequence[_steps.Buffers], extras: dict[int, dict[str, Any]]
) -> pa.RecordBatch:
    arrays = [
        _array(column, rows, found, extras) for column, found in zip(table.columns, columns, strict=True)
    ]
    kept = Counted()
    encoded = {row: json_text(extra, on_kept=kept.add) for row, extra in extras.items()}
    texts = pa.array([encoded.get(row) for row in range(rows)], EXTRA.type) if extras else None
    arrays.append(pa.nulls(rows, EXTRA.type) if texts is None else texts)
    return with_kept(pa.RecordBatch.from_arrays(arrays, schema=table.shredded_schema), kept.count)


def _array(column: Column, rows: int, found: _steps.Buffers, extras: dict[int, dict[str, Any]]) -> pa.Array:
    """Build a column; the values of timestamps that it cannot hold are added to ``extras``."""
    nulls, *buffers = found
    if nulls == rows:
        return pa.nulls(rows, column.type)
    validity, offsets, data = [None if each is None else pa.py_buffer(each) for each in buffers]
    if offsets is None:
        return pa.Array.from_buffers(column.type, rows, [validity, data], nulls)
    texts = pa.Array.from_buffers(pa.string(), rows, [validity, offsets, data], nulls)
    if column.type != TIMESTAMP:
        return texts
    values = texts.to_pylist()
    moments, lost = array_of_fitting(values, column)
    for row in lost:
        # first, as TableBuilder puts it: both ways of shredding give the same text
        extras[row] = {column.source: Kept(values[row])} | extras.get(row, {})
    return moments


def _index(item: tuple[int, Any]) -> int:
    return item[0]
