"""From Python values to Arrow columns of the declared types, and from typed records to rows.

Whole columns at a time, in C wherever there is a way. That ``pa.array([1.5], pa.int64())`` silently gives
1 is no danger here: records hold whole numbers where they declare them, or they are no records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from wats_extract.shred.records import Record, json_text
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
"""WATS's codes in ``result`` and ``status``; a code that is not known stays as it is."""

LARGEST_LIMIT = 1.79e308
"""The C# client marks a limit that is not set by ±Double.MaxValue; it becomes null."""

REPORT_TYPES = {"T": "UUT", "R": "UUR"}

Path: TypeAlias = tuple[str, str]
"""A field of a record; and where that holds a block, a field of the block, or empty."""


def array(values: Sequence[Any], column: Column) -> pa.Array:
    """The values as the column's type.

    Raises:
        RecordError: one of them does not fit; the message names the column.
    """
    if all_null(values):
        return pa.nulls(len(values), column.type)
    try:
        way = _KINDS.get(column.kind) or _WAYS.get(column.type, pa.array)
        return way(values, column.type)
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
        found = float(value)
    except ValueError:
        raise RecordError(f"expected a number, found {value[:60]!r}") from None
    if "_" in value or (isinf(found) and "inf" not in value.lower()):  # 1_0 is Python's; 1e400 has no room
        raise RecordError(f"expected a number, found {value[:60]!r}")
    return found


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


class Layout:
    """How records of one type become rows of one table.

    A column with a ``source`` is taken from the record: from a field (``name``), from a field of a block
    (``seqCall.path``), or from the first of several that has one (``uut.user uur.user``). Every other
    column is placed by whoever gathers the records.

    Args:
        table: Where the rows go.
        record: The type of the records.
        apart: Fields, or fields of blocks, that go to other tables, or are placed.
    """

    def __init__(self, table: Table, record: type[Record], *, apart: Sequence[str] = ()) -> None:
        self.table = table
        sources = {column: column.source.split() for column in table.columns if column.source}
        used = {*apart, *(path for paths in sources.values() for path in paths)}
        self.placed = [column for column in table.columns if not column.source]
        self.taken: list[tuple[Column, list[Path]]] = [
            (column, [_split(path) for path in paths]) for column, paths in sources.items()
        ]
        blocks = {path.partition(".")[0] for path in used if "." in path}
        self._names = dict(zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True))
        self.rest = [name for name in self._names if name not in used | blocks | {"extra"}]
        types = {field.name: field.type for field in msgspec.structs.fields(record)}
        self.blocks = [
            (block, leftovers(_record_in(types[block]), _within(block, used))) for block in sorted(blocks)
        ]

    def written(self, path: Path) -> list[str]:
        """Where a document has what the record has at a path."""
        return [self._names[path[0]], *filter(None, [path[1]])]

    def sheet(self) -> Sheet:
        """A new sheet for rows of this layout."""
        return Sheet(self)


class Sheet:
    """The rows of one table while they are gathered.

    Attributes:
        records: The records, one a row.
        placed: For each column without a source its values, one a row.
        extras: By row number, what else goes to ``_extra``.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.records: list[Any] = []
        self.placed: dict[str, list[Any]] = {column.name: [] for column in layout.placed}
        self.extras: dict[int, dict[str, Any]] = {}

    def add(self, record: Any, *placed: Any) -> None:
        """One more row; ``placed`` in the order of the table's columns."""
        self.records.append(record)
        for values, value in zip(self.placed.values(), placed, strict=True):
            values.append(value)

    def add_all(self, records: Sequence[Any], owner: str) -> None:
        """Rows for a list of an owner's records; owner and place in the list are the placed columns."""
        self.records += records
        owners, places = self.placed.values()
        owners += [owner] * len(records)
        places += range(len(records))

    def add_extra(self, extra: dict[str, Any], *, row: int = -1) -> None:
        """More for ``_extra`` of a row, by default of the one that was added last."""
        if extra:
            self.extras.setdefault(row % len(self.records), {}).update(extra)

    def batch(self) -> pa.RecordBatch:
        """All rows, in the order they were gathered (schema: ``table.shredded_schema``).

        Raises:
            RecordError: a value does not fit its column.
        """
        fields = _Fields(self.records)
        columns = {c.name: array(fields.first(paths), c) for c, paths in self.layout.taken}
        columns |= {c.name: array(self.placed[c.name], c) for c in self.layout.placed}
        columns[EXTRA.name] = array(self._extras(fields), EXTRA)
        schema = self.layout.table.shredded_schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _extras(self, fields: _Fields) -> list[str | None]:
        """The JSON of what has no column, row by row; looks at whole columns first, for most are empty."""
        found = {row: dict(extra) for row, extra in self.extras.items()}
        self._add_second_values(fields, found)
        for name in self.layout.rest:
            for row, value in filled(fields[name]):
                _put(found.setdefault(row, {}), self.layout.written((name, "")), value)
        for name, left_over in self.layout.blocks:
            for row, block in filled(fields[name]):
                if left := left_over(block):
                    extra = found.setdefault(row, {})
                    (written,) = self.layout.written((name, ""))
                    extra[written] = left | extra.get(written, {})
        for row, unknown in filled(fields["extra"]):
            found.setdefault(row, {}).update(unknown)
        texts: list[str | None] = [None] * len(self.records)
        for row, extra in found.items():
            texts[row] = json_text(extra)
        return texts

    def _add_second_values(self, fields: _Fields, found: dict[int, dict[str, Any]]) -> None:
        """Where a column has several fields to be taken from: what those after the first one hold."""
        for _, paths in self.layout.taken:
            for place, path in enumerate(paths[1:], start=1):
                taken = fields.first(paths[:place])
                for row, value in filled(fields.at(path)):
                    if taken[row] not in (None, value):
                        _put(found.setdefault(row, {}), self.layout.written(path), value)


class _Fields:
    """What records hold, field by field; each is looked up once."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self._found: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        if name not in self._found:
            self._found[name] = field_of(name)(self._records)
        return self._found[name]

    def at(self, path: Path) -> Sequence[Any]:
        """The values of a field, or of a field of a block."""
        values, within = self[path[0]], path[1]
        if not within or all_null(values):
            return values
        get = attrgetter(within)
        return [None if block is None else get(block) for block in values]

    def first(self, paths: Sequence[Path]) -> Sequence[Any]:
        """The values at a path, or at the first of several that is not null."""
        values = self.at(paths[0])
        for path in paths[1:]:
            second = self.at(path)
            values = [two if one is None else one for one, two in zip(values, second, strict=True)]
        return values


@cache
def field_of(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """A function that gives one field of many records; compiled, for that halves the time."""
    found: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda records: [r.{name} for r in records]")  # noqa: S307
    return found


def all_null(values: Sequence[Any]) -> bool:
    """Whether there is nothing but null; most columns say with their first value that there is."""
    return not values or (values[0] is None and values.count(None) == len(values))


def filled(values: Sequence[Any]) -> Iterable[tuple[int, Any]]:
    """The rows that are not null."""
    if all_null(values):
        return ()
    return [(row, value) for row, value in enumerate(values) if value is not None]


def _split(path: str) -> Path:
    field, _, within = path.partition(".")
    return field, within


def _put(extra: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        extra = extra.setdefault(name, {})
    extra[path[-1]] = value


def _within(block: str, used: set[str]) -> set[str]:
    """The fields of a block that are used."""
    return {path.partition(".")[2] for path in used if path.startswith(f"{block}.")}


def _record_in(hint: Any) -> type[Record]:
    found: type[Record] = next(option for option in get_args(hint) if option is not type(None))
    return found


_NOTHING = (None, msgspec.Raw(b"null"))


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
        return {name: value for name, value in held if value not in _NOTHING} | (values[0] or {})

    return left


def _numbers(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, TypeError):  # a number as text
        return pa.array([number(value) for value in values], type_)


def _limits(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    limits = _numbers(values, type_)
    least, most = pc.min_max(limits).as_py().values()
    if least is None or -LARGEST_LIMIT <= least <= most <= LARGEST_LIMIT:
        return limits
    unset = pc.and_(pc.is_finite(limits), pc.greater(pc.abs(limits), LARGEST_LIMIT))
    return pc.if_else(unset, None, limits)


def _moments(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if int in set(map(type, values)):
        return pa.array(values, pa.int64()).cast(type_)
    return instants(values)


def _coordinates(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """All at once where they are plain numbers; Arrow knows neither blanks nor places without a number."""
    with suppress(pa.ArrowInvalid):
        found = pc.split_pattern(pa.array(values, pa.string()), ";").cast(type_)
        if not pc.any(pc.is_inf(found.flatten())).as_py():  # 1e400 has no room, which Arrow does not mind
            return found
    return pa.array([coordinates(text) for text in values], type_)


_WAYS: dict[pa.DataType, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    pa.list_(pa.float64()): _coordinates,
    pa.float64(): _numbers,
    TIMESTAMP: _moments,
}


def _words(words: dict[str, str]) -> Callable[[Sequence[Any], pa.DataType], pa.Array]:
    def in_words(codes: Sequence[Any], type_: pa.DataType) -> pa.Array:
        encoded = pa.array(codes, type_).dictionary_encode()
        meant = [words.get(code, code) for code in encoded.dictionary.to_pylist()]
        return pa.array(meant, type_).take(encoded.indices)

    return in_words


def _json_texts(values: Sequence[Any]) -> list[Any]:
    texts = ("null" if value is None else bytes(value).decode("utf-8") for value in values)
    return [None if text == "null" else text for text in texts]


def _lower(values: Sequence[Any]) -> list[Any]:
    return [None if value is None else value.lower() for value in values]


_KINDS: dict[str, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    "uuid": lambda values, type_: pa.array(_lower(values), type_),
    "result": _words(RESULTS),
    "report_type": _words(REPORT_TYPES),
    "limit": _limits,
    "json": lambda values, type_: pa.array(_json_texts(values), type_),
}
