"""Tables and columns: the schema of what is extracted, the same in every destination."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", "UTC")

_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""As ``str`` writes the whole numbers of up to 64 bits; ``007`` is another key than ``7``."""

_SURROGATE = re.compile("[\ud800-\udfff]")


Rows: TypeAlias = Mapping["Table", Sequence[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: The name in every destination, snake_case.
        type: The Arrow type: string, bool, int32, int64, double, ``timestamp[us, UTC]``, binary or a list.
        source: The field in WATS's JSON that it is taken from, where it is one: ``name``, or ``block.name``.
        doc: What it means, with unit.
        kind: How the source writes it, where that differs from the column: ``uuid`` (any case),
            ``result`` and ``report_type`` (codes that become words), ``limit`` (a mark for no limit),
            ``json`` (a tree that is kept as a JSON text).
    """

    name: str
    type: pa.DataType
    source: str = ""
    doc: str = ""
    kind: str = ""


EXTRA = Column("_extra", pa.string(), doc="fields that this table has no column for, as a JSON object")


ROW_COUNTS = Column(
    "_wats_rows",
    pa.string(),
    doc="the number of rows in each other table of the resource that belong to this row, as a JSON object "
    "without zeros",
)

STAMPS = (
    Column("_wats_run_id", pa.string(), doc="the run that landed the row; joins _wats_runs"),
    Column("_wats_extracted_at", TIMESTAMP, doc="when the chunk of this row was committed"),
)

STAMP_NAMES = tuple(stamp.name for stamp in STAMPS)
"""The names of the stamps."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table, the same in every destination.

    Attributes:
        name: The table's name.
        key: The columns that identify a row; they are never null.
        columns: All columns of the source, key included, without ``_extra`` and the stamps.
        owner: The column that says to which extracted item (report, asset, …) a row belongs: text, or
            whole numbers. When an item lands again, all rows of its owner are replaced. Empty for
            bookkeeping tables, whose rows are replaced by ``key``.
        version: The column that changes when the item changes on the server (``time_stamp``), or empty.
        doc: What a row is.
        stamped: Whether rows carry ``_extra`` and the stamps (bookkeeping tables do not).
        counted: Whether rows carry ``_wats_rows``: for the first of several tables of a resource.
        scope: Columns of a bookkeeping table. The rows of a commit replace all earlier rows that equal one of
            them in these columns. If it is empty, they replace the rows with the same key.
        active: Values of the column ``status`` of a bookkeeping table. Runs look up rows that have one of
            them; other rows are history, which no run needs. If it is empty, no row is history.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    owner: str = ""
    version: str = ""
    doc: str = ""
    stamped: bool = True
    counted: bool = False
    scope: tuple[str, ...] = ()
    active: frozenset[str] = frozenset()

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema in every destination, ``_extra`` and the stamps included."""
        counts = (ROW_COUNTS,) if self.counted else ()
        columns = (*self.columns, EXTRA, *counts, *STAMPS) if self.stamped else self.columns
        return pa.schema([pa.field(c.name, c.type, nullable=c.name not in self.key) for c in columns])

    @cached_property
    def identifying(self) -> frozenset[str]:
        """The names of the key columns, and of those that say to which item and version a row belongs."""
        return frozenset((*self.key, self.owner, self.version)) - {""}

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns in which a row of a bookkeeping table equals the rows that it replaces."""
        return self.scope or self.key

    def booked(
        self, earlier: Iterable[Mapping[str, Any]], later: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """The rows of a bookkeeping table after a commit: ``later`` replaces rows of ``earlier``."""
        gone = {_values(row, self.scope) for row in later} if self.scope else ()
        rows = {_values(row, self.key): row for row in earlier if _values(row, self.scope) not in gone}
        return list((rows | {_values(row, self.key): row for row in later}).values())

    def owners(self, keys: Iterable[str]) -> pa.Array:
        """Convert items' keys, which are texts, to values of the owner column.

        A failed record may have a key that the column cannot hold: ``3000000000`` or ``without-key-…`` in an
        int32, or a text that is not valid Unicode. Such keys are left out: no row belongs to them.
        """
        type_ = self.schema.field(self.owner).type
        if not pa.types.is_integer(type_):
            return pa.array([key for key in keys if key.isascii() or not _SURROGATE.search(key)], type_)
        limit = 1 << (type_.bit_width - 1)
        numbers = [int(key) for key in keys if _WHOLE_NUMBER.fullmatch(key)]
        return pa.array([number for number in numbers if -limit <= number < limit], type_)

    @cached_property
    def shredded_schema(self) -> pa.Schema:
        """The schema of rows fresh from the shredder: with ``_extra``, without what the engine adds."""
        names = {column.name for column in (ROW_COUNTS, *STAMPS)}
        return pa.schema([item for item in self.schema if item.name not in names])


def _values(row: Mapping[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
