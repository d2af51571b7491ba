"""The steps of documents by way of native code, where it was built and where it can read them.

``_steps.c`` goes from the bytes of a document to the columns of four tables, and lets other threads work
meanwhile. It reads what servers export; every other document is read by ``wsjf``, which is also where both
ways meet. The tables are the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.shred.columns import array
from wats_extract.shred.records import REFUSED, json_text, read
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf import tables
from wats_extract.tables import EXTRA, TIMESTAMP, Column, Table

if TYPE_CHECKING:
    from wats_extract.shred.wsjf import _steps

PURE = "WATS_EXTRACT_PURE"
"""The environment variable that keeps to Python: set to anything, at installation or at run time."""

TABLES = (
    tables.STEPS,
    tables.NUMERIC_MEASUREMENTS,
    tables.STRING_MEASUREMENTS,
    tables.BOOLEAN_MEASUREMENTS,
)
"""The tables that native code fills, in its order."""


def _built() -> ModuleType | None:
    if os.environ.get(PURE):
        return None
    try:
        from wats_extract.shred.wsjf import _steps
    except ImportError:
        return None
    return _steps


_native = _built()


def how() -> str:
    """Which way steps are read, for people: ``natively`` or ``in Python``."""
    return "in Python" if _native is None else "natively"


@dataclass(slots=True)
class Steps:
    """The steps of one document, read natively.

    Attributes:
        native: What native code keeps of them.
        count: How many they are.
        charts: By the index of the step; so are the others.
        attachments: Files.
        additional: Lists of additional results.
        guids: What ``_extra`` has of them.
    """

    native: _steps.Document
    count: int
    charts: list[tuple[int, wsjf.Chart]] = field(default_factory=list)
    attachments: list[tuple[int, wsjf.Attachment]] = field(default_factory=list)
    additional: list[tuple[int, list[wsjf.AdditionalData]]] = field(default_factory=list)
    guids: list[tuple[int, str]] = field(default_factory=list)


_PARTS: dict[str, tuple[str, msgspec.json.Decoder[Any]]] = {
    "chart": ("charts", msgspec.json.Decoder(wsjf.Chart)),
    "attachment": ("attachments", msgspec.json.Decoder(wsjf.Attachment)),
    "additionalResults": ("additional", msgspec.json.Decoder(list[wsjf.AdditionalData])),
    "tsGuid": ("guids", msgspec.json.Decoder(str)),
}


def read_natively(raw: bytes) -> tuple[wsjf.Report, Steps] | None:
    """A document without its steps, and these; or ``None`` where all of it has to be read in Python."""
    found = None if _native is None else _native.parse(raw)
    if found is None:
        return None
    native, count, begin, end, parts = found
    steps = Steps(native, count)
    try:
        report = read(raw if begin < 0 else raw[:begin] + b"null" + raw[end:], wsjf.REPORT_DECODER)
        for index, name, text in parts:
            kind, decoder = _PARTS[name]
            getattr(steps, kind).append((index, decoder.decode(text)))
    except (RecordError, Unreadable, *REFUSED):
        return None
    if report.root is not None:  # under a name that native code does not take for it
        return None
    for each in (steps.charts, steps.attachments, steps.additional, steps.guids):
        each.sort(key=_index)
    return report, steps


class Gathered:
    """The steps of a few documents, on their way to tables."""

    def __init__(self) -> None:
        self._owners: list[str] = []
        self._documents: list[_steps.Document] = []
        self._begin, self._end = 0, 0
        self._extras: dict[int, dict[str, Any]] = {}

    def add(self, owner: str, steps: Steps) -> None:
        """One more document, and the uuid of its report."""
        self._owners.append(owner)
        self._documents.append(steps.native)
        self._begin, self._end = self._end, self._end + steps.count

    def add_extra(self, index: int, extra: dict[str, Any]) -> None:
        """More for ``_extra`` of a step of the last document."""
        if extra:
            self._extras.setdefault(self._begin + index, {}).update(extra)

    def batches(self) -> dict[Table, pa.RecordBatch]:
        """The rows by table; tables without rows are left out.

        Raises:
            RecordError: a value does not fit its column.
        """
        if not self._end or _native is None:
            return {}
        try:
            merged = _native.merge(self._owners, self._documents)
        except (OverflowError, UnicodeError) as error:
            raise RecordError(str(error)) from error
        extras = {row: json_text(extra) for row, extra in self._extras.items()}
        return {
            table: _batch(table, rows, columns, extras if table is tables.STEPS else {})
            for table, (rows, columns) in zip(TABLES, merged, strict=True)
            if rows
        }


def _batch(
    table: Table, rows: int, columns: Sequence[_steps.Buffers], extras: Mapping[int, str]
) -> pa.RecordBatch:
    arrays = [_array(column, rows, found) for column, found in zip(table.columns, columns, strict=True)]
    texts = pa.array([extras.get(row) for row in range(rows)], EXTRA.type) if extras else None
    arrays.append(pa.nulls(rows, EXTRA.type) if texts is None else texts)
    return pa.RecordBatch.from_arrays(arrays, schema=table.shredded_schema)


def _array(column: Column, rows: int, found: _steps.Buffers) -> pa.Array:
    nulls, *buffers = found
    if nulls == rows:
        return pa.nulls(rows, column.type)
    validity, offsets, data = [None if each is None else pa.py_buffer(each) for each in buffers]
    if offsets is None:
        return pa.Array.from_buffers(column.type, rows, [validity, data], nulls)
    texts = pa.Array.from_buffers(pa.string(), rows, [validity, offsets, data], nulls)
    return array(texts.to_pylist(), column) if column.type == TIMESTAMP else texts


def _index(item: tuple[int, Any]) -> int:
    return item[0]
