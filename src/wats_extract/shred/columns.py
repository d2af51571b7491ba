"""Builds Arrow columns of the declared types from Python values, and rows from typed records.

Conversion works on whole columns and in C where possible. ``pa.array([1.5], pa.int64())`` silently returns 1,
which cannot happen here: records accept only integers in fields that are declared as integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from math import isinf
from operator import attrgetter
from typing import Any, TypeAlias, get_args

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.errors import RecordError
from wats_extract.shred.instants import instants
from wats_extract.shred.records import LEAF, Kept, Record, json_text
from wats_extract.tables import EXTRA, TIMESTAMP, Column, Table

RESULTS = {
    "P": "Passed",
    "F": "Failed",
    "E": "Error",
    "T": "Terminated",
    "D": "Done",
    "S": "Skipped",
    "U": "Unknown",
}
"""The words for WATS's codes in ``result`` and ``status``; an unknown code is kept as it is."""

LARGEST_LIMIT = 1.79e308
"""The largest limit; the C# client writes ±Double.MaxValue for "no limit", which becomes null."""

REPORT_TYPES = {"T": "UUT", "R": "UUR"}

Path: TypeAlias = tuple[str, str]
"""A field of a record, and a field within it if it is a block, or an empty string."""


def array(values: Sequence[Any], column: Column) -> pa.Array:
    """Return the values as an Arrow array of the column's type.

    Raises:
        RecordError: A value does not fit; the message names the column.
    """
    if all_null(values):
        return pa.nulls(len(values), column.type)
    try:
        convert = _BY_KIND.get(column.kind) or _BY_TYPE.get(column.type, pa.array)
        found = convert(values, column.type)
    except RecordError as error:
        raise RecordError(f"{column.name}: {error.message}") from error
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
        raise RecordError(f"{column.name}: {error}") from error
    if isinstance(found, pa.ChunkedArray):
        raise RecordError(f"{column.name}: more than 2 GB of text")
    return found


def number(value: float | str | None) -> float | None:
    """Return a number that may be written as a string, including ``NaN`` and ``Infinity`` in any case.

    Raises:
        RecordError: The string is not a number.
    """
    if not isinstance(value, str):
        return value
    try:
        found = float(value)
    except ValueError:
        raise RecordError(f"expected a number, found {value[:60]!r}") from None
    # float() also accepts Python's 1_0, and turns 1e400 into infinity.
    if "_" in value or (isinf(found) and "inf" not in value.lower()):
        raise RecordError(f"expected a number, found {value[:60]!r}")
    return found


def coordinates(text: str | None) -> list[float | None] | None:
    """Return chart coordinates from numbers joined by semicolons; an empty item between two is null.

    Raises:
        RecordError: An item is not a number.
    """
    if text is None:
        return None
    return [number(item) if item.strip() else None for item in _items(text)]


def _items(text: str) -> Iterator[str]:
    """The items of a text, one by one: a list of them would take more memory than their numbers."""
    begin = 0
    while (end := text.find(";", begin)) >= 0:
        yield text[begin:end]
        begin = end + 1
    if (last := text[begin:]).strip():
        yield last


class Layout:
    """How records of one type become rows of one table.

    A column with a ``source`` is read from the record: from a field (``name``), from a field of a block
    (``seqCall.path``), or from the first of several fields that has a value (``uut.user uur.user``). The
    caller supplies the values of the other columns; they are called *placed*.

    Args:
        table: The table of the rows.
        record: The type of the records.
        apart: Fields, or fields of blocks, that the caller handles, for example lists for other tables.
    """

    def __init__(self, table: Table, record: type[Record], *, apart: Sequence[str] = ()) -> None:
        self.table = table
        sources = {column: column.source.split() for column in table.columns if column.source}
        used = {*apart, *(path for paths in sources.values() for path in paths)}
        self.placed = [column for column in table.columns if not column.source]
        self.sourced: list[tuple[Column, list[Path]]] = [
            (column, [_split(path) for path in paths]) for column, paths in sources.items()
        ]
        blocks = {path.partition(".")[0] for path in used if "." in path}
        self._names = dict(zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True))
        self.unused = [name for name in self._names if name not in used | blocks | {"extra"}]
        types = {field.name: field.type for field in msgspec.structs.fields(record)}
        self.blocks = [
            (block, leftovers(_record_in(types[block]), _within(block, used))) for block in sorted(blocks)
        ]

    def json_path(self, path: Path) -> list[str]:
        """Return the names by which a document holds what the record holds at a path."""
        return [self._names[path[0]], *filter(None, [path[1]])]

    def builder(self) -> TableBuilder:
        """Return an empty builder for rows of this layout."""
        return TableBuilder(self)


class TableBuilder:
    """Collects the rows of one table and builds a record batch from them.

    Attributes:
        records: The records, one per row.
        placed: The values of each column without a source, one per row.
        extras: More fields for ``_extra``, by row number.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.records: list[Any] = []
        self.placed: dict[str, list[Any]] = {column.name: [] for column in layout.placed}
        self.extras: dict[int, dict[str, Any]] = {}

    def add(self, record: Any, *placed: Any) -> None:
        """Append a row; ``placed`` are the values of the columns without a source, in their order."""
        self.records.append(record)
        for values, value in zip(self.placed.values(), placed, strict=True):
            values.append(value)

    def add_all(self, records: Sequence[Any], owner: str) -> None:
        """Append a list of one owner's records; the placed columns are the owner and the list index."""
        self.records += records
        owners, indexes = self.placed.values()
        owners += [owner] * len(records)
        indexes += range(len(records))

    def add_extra(self, extra: dict[str, Any], *, row: int = -1) -> None:
        """Add fields to ``_extra`` of a row, by default of the last one."""
        if extra:
            self.extras.setdefault(row % len(self.records), {}).update(extra)

    def batch(self) -> pa.RecordBatch:
        """Return all rows in the order in which they were added (schema: ``table.shredded_schema``).

        Raises:
            RecordError: A value does not fit its column.
        """
        fields = _Fields(self.records)
        columns = {c.name: self._column(c, paths, fields) for c, paths in self.layout.sourced}
        columns |= {c.name: array(self.placed[c.name], c) for c in self.layout.placed}
        kept = Counted()
        columns[EXTRA.name] = array(self._extras(fields, kept), EXTRA)
        schema = self.layout.table.shredded_schema
        batch = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
        return with_kept(batch, kept.count)

    def _column(self, column: Column, paths: Sequence[Path], fields: _Fields) -> pa.Array:
        """Convert the values of a column; those that it cannot hold go to ``_extra``, unless it is a key."""
        values = fields.first(paths)
        if column.name in self.layout.table.identifying:
            return array(values, column)
        found, lost = array_of_fitting(values, column)
        for row in lost:
            path = next(path for path in paths if fields.at(path)[row] is not None)
            _put(self.extras.setdefault(row, {}), self.layout.json_path(path), Kept(values[row]))
        return found

    def _extras(self, fields: _Fields, kept: Counted) -> list[str | None]:
        """Return ``_extra`` per row; most fields are null in all rows, so it scans field by field."""
        found = {row: dict(extra) for row, extra in self.extras.items()}
        self._add_alternative_values(fields, found)
        for name in self.layout.unused:
            for row, value in filled(fields[name]):
                _put(found.setdefault(row, {}), self.layout.json_path((name, "")), value)
        for name, left_over in self.layout.blocks:
            for row, block in filled(fields[name]):
                if left := left_over(block):
                    extra = found.setdefault(row, {})
                    (written,) = self.layout.json_path((name, ""))
                    extra[written] = left | extra.get(written, {})
        for row, unknown in filled(fields["extra"]):
            found.setdefault(row, {}).update(unknown)
        texts: list[str | None] = [None] * len(self.records)
        for row, extra in found.items():
            texts[row] = json_text(extra, on_kept=kept.add)
        return texts

    def _add_alternative_values(self, fields: _Fields, found: dict[int, dict[str, Any]]) -> None:
        """Add values of a column's second and later fields that differ from the value in the column."""
        for _, paths in self.layout.sourced:
            for index, path in enumerate(paths[1:], start=1):
                taken = fields.first(paths[:index])
                for row, value in filled(fields.at(path)):
                    if taken[row] not in (None, value):
                        _put(found.setdefault(row, {}), self.layout.json_path(path), value)


class _Fields:
    """The values of records by field; each field is collected once."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self._found: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._found:
            self._found[name] = field_of(name)(self._records)
        return self._found[name]

    def at(self, path: Path) -> Sequence[Any]:
        """Return the values of a field, or of a field of a block."""
        values, within = self[path[0]], path[1]
        if not within or all_null(values):
            return values
        get = attrgetter(within)
        return [None if block is None else get(block) for block in values]

    def first(self, paths: Sequence[Path]) -> Sequence[Any]:
        """Return per record the first value at one of the paths that is not null."""
        values = self.at(paths[0])
        for path in paths[1:]:
            second = self.at(path)
            values = [two if one is None else one for one, two in zip(values, second, strict=True)]
        return values


def array_of_fitting(values: Sequence[Any], column: Column) -> tuple[pa.Array, list[int]]:
    """Return the values as :func:`array` does, with nulls for those that the column cannot hold.

    Only strings, numbers and booleans may become null.

    Returns:
        The array, and the numbers of the rows whose value was lost.

    Raises:
        RecordError: Another value does not fit; the message names the column.
    """
    try:
        found = array(values, column)
    except RecordError:
        lost = _misfits(values, column)
        if not lost:  # each value fits, and all together do not: there is too much text for one array
            raise
        without = set(lost)
        fitting = [None if row in without else value for row, value in enumerate(values)]
        found, more = array_of_fitting(fitting, column)
        return found, sorted(lost + more)
    if column.type != TIMESTAMP or found.null_count == 0:
        return found, []
    valid = found.is_valid().to_pylist()
    return found, [row for row, _ in filled(values) if not valid[row]]


_FEW = 8
"""As many values are tried one by one."""


def _misfits(values: Sequence[Any], column: Column) -> list[int]:
    """Return the places of the values that a column cannot hold.

    Raises:
        RecordError: One of them is not a string, a number or a boolean.
    """
    try:
        array(values, column)
    except RecordError:
        if len(values) == 1 and not isinstance(values[0], LEAF):
            raise
    else:
        return []
    if len(values) == 1:
        return [0]
    size = 1 if len(values) <= _FEW else len(values) // 2 + 1  # most values fit: halve the column
    return [
        begin + place
        for begin in range(0, len(values), size)
        for place in _misfits(values[begin : begin + size], column)
    ]


class Counted:
    """A number that grows."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        self.count += 1


_KEPT = b"wats_extract.values_kept_in_extra"


def with_kept(batch: pa.RecordBatch, count: int) -> pa.RecordBatch:
    """Note in a batch's metadata how many values its columns could not hold and ``_extra`` has instead."""
    return batch.replace_schema_metadata({_KEPT: str(count)}) if count else batch


def kept_in(batches: Iterable[pa.RecordBatch]) -> int:
    """Return how many values of batches are in ``_extra`` because their columns could not hold them."""
    return sum(int((batch.schema.metadata or {}).get(_KEPT, 0)) for batch in batches)


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Concatenate batches of the same table."""
    return with_kept(pa.concat_batches(batches), kept_in(batches))


@cache
def field_of(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that collects one field of many records; compiling it halves its run time."""
    found: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda records: [r.{name} for r in records]")  # noqa: S307
    return found


def all_null(values: Sequence[Any]) -> bool:
    """Return whether all values are null."""
    return not values or (values[0] is None and values.count(None) == len(values))


def filled(values: Sequence[Any]) -> Iterable[tuple[int, Any]]:
    """Return the values that are not null, each with its row number."""
    if all_null(values):
        return ()
    return [(row, value) for row, value in enumerate(values) if value is not None]


def rows_with_any(fields: Iterable[str], records: Sequence[Any]) -> list[int]:
    """Return the numbers of the records in which at least one of some fields is not null."""
    return sorted({row for field in fields for row, _ in filled(field_of(field)(records))})


def _split(path: str) -> Path:
    field, _, within = path.partition(".")
    return field, within


def _put(extra: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        extra = extra.setdefault(name, {})
    extra[path[-1]] = value


def _within(block: str, used: set[str]) -> set[str]:
    """Return the fields of a block that are used."""
    return {path.partition(".")[2] for path in used if path.startswith(f"{block}.")}


def _record_in(hint: Any) -> type[Record]:
    found: type[Record] = next(option for option in get_args(hint) if option is not type(None))
    return found


_NOTHING = (None, msgspec.Raw(b"null"))


def leftovers(record: type[Record], used: set[str]) -> Callable[[Any], dict[str, Any] | None]:
    """Return a function that collects a record's values in other fields than ``used``, or ``None``."""
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
        return {name: value for name, value in held if value not in _NOTHING} | (values[0] or {})

    return left


# ── conversions by kind and type of the column ──────────────────────────────────────────────────


def _numbers(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, TypeError):  # some are strings
        return pa.array([number(value) for value in values], type_)


def _limits(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    limits = _numbers(values, type_)
    least, most = pc.min_max(limits).as_py().values()
    if least is None or -LARGEST_LIMIT <= least <= most <= LARGEST_LIMIT:
        return limits
    unset = pc.and_(pc.is_finite(limits), pc.greater(pc.abs(limits), LARGEST_LIMIT))
    return pc.if_else(unset, None, limits)


def _timestamps(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if int in set(map(type, values)):
        return pa.array(values, pa.int64()).cast(type_)
    return instants(values)


def _coordinates(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    with suppress(pa.ArrowInvalid):  # Arrow reads neither whitespace nor empty items
        texts = [each[:-1] if isinstance(each, str) and each.endswith(";") else each for each in values]
        found = pc.split_pattern(pa.array(texts, pa.string()), ";").cast(type_)
        if not pc.any(pc.is_inf(found.flatten())).as_py():  # Arrow reads 1e400 as infinity
            return found
    return pa.array([coordinates(text) for text in values], type_)


def _words(codes: Sequence[Any], type_: pa.DataType, words: dict[str, str]) -> pa.Array:
    encoded = pa.array(codes, type_).dictionary_encode()
    decoded = [words.get(code, code) for code in encoded.dictionary.to_pylist()]
    return pa.array(decoded, type_).take(encoded.indices)


def _results(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    return _words(values, type_, RESULTS)


def _report_types(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    return _words(values, type_, REPORT_TYPES)


def _json_texts(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    texts = ["null" if value is None else bytes(value).decode("utf-8") for value in values]
    return pa.array([None if text == "null" else text for text in texts], type_)


def _uuids(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else value.lower() for value in values], type_)


_BY_KIND: dict[str, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    "uuid": _uuids,
    "result": _results,
    "report_type": _report_types,
    "limit": _limits,
    "json": _json_texts,
}
_BY_TYPE: dict[pa.DataType, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    pa.list_(pa.float64()): _coordinates,
    pa.float64(): _numbers,
    TIMESTAMP: _timestamps,
}
