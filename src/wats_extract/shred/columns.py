"""From Python values to Arrow columns of the declared types, and from typed records to rows.

``pa.array([1.5], pa.int64())`` silently gives 1, and a text in a column of doubles raises in the middle
of ten thousand rows; so each type has its own way in, which is exact or raises ``RecordError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError
from wats_extract.flow import EXTRA, TIMESTAMP, Column, Table
from wats_extract.shred.instants import instants
from wats_extract.shred.records import Record

RESULTS = {
    "P": "Passed",
    "F": "Failed",
    "E": "Error",
    "T": "Terminated",
    "D": "Done",
    "S": "Skipped",
    "U": "Unknown",
}
"""WATS's codes in ``result`` and ``status``; a code that is not known stays as it is."""

LARGEST_LIMIT = 1.79e308
"""The C# client marks a limit that is not set by ±Double.MaxValue; it becomes null."""

REPORT_TYPES = {"T": "UUT", "R": "UUR"}


def array(values: Sequence[Any], column: Column) -> pa.Array:
    """The values as the column's type.

    Raises:
        RecordError: one of them does not fit; the message names the column.
    """
    try:
        return _WAYS.get(column.type, _texts)(_KINDS[column.kind](values), column.type)
    except RecordError as error:
        raise RecordError(f"{column.name}: {error.message}") from error
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
        raise RecordError(f"{column.name}: {error}") from error


def number(value: float | str | None) -> float | None:
    """A number that may be quoted, or ``NaN`` and ``Infinity`` as words in any case.

    Raises:
        RecordError: it is none of these.
    """
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        raise RecordError(f"expected a number, found {value[:60]!r}") from None


class Layout:
    """How records of one type become rows of one table.

    Args:
        table: Where the rows go. A column with a ``source`` is filled from the record's field of that
            name; every other one is placed by whoever gathers the records.
        record: The type of the records.
        apart: Fields of the record that go to other tables, or are placed.
    """

    def __init__(self, table: Table, record: type[Record], *, apart: Sequence[str] = ()) -> None:
        self.table = table
        self.taken = [(c, attrgetter(c.source)) for c in table.columns if c.source]
        self.placed = [c for c in table.columns if not c.source]
        self.left_over = leftovers(record, {*apart, *(c.source for c in table.columns)})

    def sheet(self) -> Sheet:
        """A new sheet for rows of this layout."""
        return Sheet(self)


class Sheet:
    """The rows of one table while they are gathered.

    Attributes:
        records: The records, one a row.
        placed: One tuple a row: the values of the columns without a source, in their order.
        extras: By row number, what else goes to ``_extra``.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.records: list[Any] = []
        self.placed: list[tuple[Any, ...]] = []
        self.extras: dict[int, dict[str, Any]] = {}

    def add(self, record: Any, *placed: Any) -> None:
        """One more row; ``placed`` in the order of the table's columns."""
        self.records.append(record)
        self.placed.append(placed)

    def add_extra(self, extra: dict[str, Any]) -> None:
        """More for ``_extra`` of the row that was added last."""
        if extra:
            self.extras[len(self.records) - 1] = extra

    def batch(self) -> pa.RecordBatch:
        """All rows, in the order they were gathered (schema: ``table.shredded_schema``).

        Raises:
            RecordError: a value does not fit its column.
        """
        columns = {c.name: array(list(map(get, self.records)), c) for c, get in self.layout.taken}
        by_column = zip(*self.placed, strict=True)
        columns |= {c.name: array(v, c) for c, v in zip(self.layout.placed, by_column, strict=True)}
        columns[EXTRA.name] = array(self._extras(), EXTRA)
        schema = self.layout.table.shredded_schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _extras(self) -> list[str | None]:
        found = [self.layout.left_over(record) for record in self.records]
        for row, extra in self.extras.items():
            found[row] = (found[row] or {}) | extra
        return [json_text(extra) if extra else None for extra in found]


def leftovers(record: type[Record], used: set[str]) -> Callable[[Any], dict[str, Any] | None]:
    """A function that gives what a record holds in fields other than ``used``, or ``None``."""
    names = zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True)
    rest = {attribute: name for attribute, name in names if attribute not in used | {"extra"}}
    if not rest:
        return attrgetter("extra")
    get = attrgetter("extra", *rest)
    nothing = (None,) * (len(rest) + 1)

    def left(item: Any) -> dict[str, Any] | None:
        values = get(item)
        if values == nothing:
            return None
        held = zip(rest.values(), values[1:], strict=True)
        return {name: value for name, value in held if value is not None} | (values[0] or {})

    return left


def json_text(value: Any) -> str:
    """What a document held, as a compact JSON text.

    Raises:
        RecordError: it holds what no UTF-8 text can (half a surrogate pair).
    """
    try:
        return msgspec.json.encode(value).decode("utf-8")
    except UnicodeError as error:
        raise RecordError(f"a text is not Unicode: {error}") from error


def _texts(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    return pa.array(values, type_)


def _whole_numbers(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if not {int, type(None)}.issuperset(map(type, values)):
        odd = next(value for value in values if type(value) not in (int, type(None)))
        raise RecordError(f"expected a whole number, found {odd!r}")
    return pa.array(values, type_)


def _numbers(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if str in set(map(type, values)):
        values = [number(value) for value in values]
    return pa.array(values, type_)


def _moments(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if int in set(map(type, values)):
        return pa.array(values, pa.int64()).cast(type_)
    return instants(values)


_WAYS: dict[pa.DataType, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    pa.int32(): _whole_numbers,
    pa.int64(): _whole_numbers,
    pa.float64(): _numbers,
    TIMESTAMP: _moments,
}


def _words(words: dict[str, str]) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda values: [words.get(value, value) for value in values]


def _limits(values: Sequence[Any]) -> list[Any]:
    return [None if type(value) is float and abs(value) > LARGEST_LIMIT else value for value in values]


def _lower(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else value.lower() for value in values]


_KINDS: dict[str, Callable[[Sequence[Any]], Sequence[Any]]] = {
    "": lambda values: values,
    "uuid": _lower,
    "result": _words(RESULTS),
    "report_type": _words(REPORT_TYPES),
    "limit": _limits,
}
