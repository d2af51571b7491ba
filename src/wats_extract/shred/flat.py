"""Shreds flat records: one row per JSON object, and rows of child tables for the lists within it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import Row
from wats_extract.shred.budget import MOST_ITEMS, TIMES, check_structure
from wats_extract.shred.columns import Layout, TableBuilder, field_of, rows_with_any
from wats_extract.shred.records import REFUSED, Kept, Record, is_unicode, loads, read
from wats_extract.shred.shape import LIST, Shape, described, fields_of
from wats_extract.tables import TIMESTAMP, Column, Table

KEY_SEPARATOR = "|"
"""Separates the parts of a key of several columns when it is written as one string."""

_JSON_TYPES: dict[pa.DataType, Any] = {
    pa.string(): str | None,
    pa.bool_(): bool | None,
    pa.int32(): int | None,
    pa.int64(): int | None,
    pa.float64(): float | str | None,
    TIMESTAMP: str | None,
}


@dataclass(frozen=True)
class Child:
    """A list within a record that becomes rows of another table.

    Attributes:
        table: The table of the rows. Its first columns have no source: the owner's key, then the index in
            the list; in a list within a list, the indexes in both.
        fields: The fields of the record that hold such lists, which are concatenated; ``block.field`` for a
            list within a block.
        children: Lists within the items of the list.
    """

    table: Table
    fields: tuple[str, ...]
    children: tuple[Child, ...] = ()


class FlatShredder:
    """Turns records of one declared type into rows.

    The record types are derived from the tables: each column with a ``source`` is a field, or a field of a
    block. Fields that are not declared, for example those of newer servers, go to ``_extra``.

    Args:
        table: The table, with one row per record. The key of an item is the text of its key columns.
        children: Lists within the records.
        shape: The shape of the responses that the records come in.

    Attributes:
        keyed: Whether records contain their key; otherwise the caller supplies it.
    """

    def __init__(self, table: Table, children: Sequence[Child] = (), *, shape: Shape = LIST) -> None:
        self.table = table
        self.children = tuple(children)
        self.shape = shape
        columns = {column.name: column for column in table.columns}
        self._key_columns = [columns[name] for name in table.key]
        self.keyed = all(column.source for column in self._key_columns)
        self._keys = [_getter(column.source) for column in self._key_columns if self.keyed]
        self._version_field = columns[table.version].source if table.version else ""
        self._version = attrgetter(self._version_field) if self._version_field else None
        # A larger one would move the cursor over all records, and no row can hold it.
        self._version_bits = columns[table.version].type.bit_width if table.version else 64

    # Derived on first use: a run imports the declarations of all resources and reads few of them.

    @cached_property
    def _layouts(self) -> _LayoutTree:
        return _LayoutTree(self.table, self.children)

    @cached_property
    def record_type(self) -> type[Record]:
        """The type of the decoded records."""
        return self._layouts.record_type

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes one record."""
        return msgspec.json.Decoder(self.record_type)

    @cached_property
    def page_decoder(self) -> msgspec.json.Decoder[Any]:
        """Decodes the records of a page."""
        return msgspec.json.Decoder(list[self.record_type])  # type: ignore[name-defined]

    def shred(
        self, records: Sequence[Any], placed: Sequence[tuple[Any, ...]] | None = None
    ) -> dict[Table, pa.RecordBatch]:
        """Return the rows of the records by table, without tables that have no rows.

        Args:
            records: The records.
            placed: The values of the columns without a source, per record; the first one is the owner. By
                default the owner of a record is its own key.

        Raises:
            RecordError: A record does not fit; shred them one by one to find out which.
        """
        builders = self._layouts.builders()
        if placed is None and not self._layouts.layout.placed:
            self._layouts.add_all(builders, records, self._owner)
        else:
            for record, values in zip(records, placed or [(self._owner(r),) for r in records], strict=True):
                self._layouts.add(builders, record, values, values[:1])
        _check_copies(builders.values(), records)
        return {each.layout.table: each.batch() for each in builders.values() if each.records}

    def _owner(self, record: Any) -> Any:
        """Return the value of the owner column for a record."""
        alone = self.table.key == (self.table.owner,) and self._key_columns[0].kind != "uuid"
        return self._keys[0](record) if alone else self.key(record)

    def key(self, record: Any) -> str:
        """Return the key of a record as text; empty if a part is missing or is not valid Unicode."""
        parts = [get(record) for get in self._keys]
        if not self.keyed or any(part is None or part == "" for part in parts):
            return ""
        text = key_text(
            [
                part.lower() if column.kind == "uuid" else part
                for part, column in zip(parts, self._key_columns, strict=True)
            ]
        )
        return text if is_unicode(text) else ""

    def rows(self, body: bytes) -> list[Row]:
        """Return the records of a page; one that does not fit becomes a row with the reason.

        Raises:
            Unreadable: The page is cut off, has another shape, or far too many records.
        """
        with contextlib.suppress(RecordError, *REFUSED):
            check_structure(body)
            records = self.page_decoder.decode(body) if self.shape.lists else []
            rows = self._rows(records) or [self._row(record) for record in records]
            if rows and not any(row.problem for row in rows):
                return rows
        found = self._raw_records(body)
        rows = [self._lenient_row(raw) for raw in found]
        if rows and all(row.problem for row in rows) and all(map(self._is_foreign, found)):
            raise self.foreign(found[0])
        return rows

    def _rows(self, records: Sequence[Any]) -> list[Row]:
        """Do the same as ``_row``, faster; return nothing if keys or versions need a closer look."""
        if len(self._keys) != 1 or " " in self._key_columns[0].source:
            return []
        keys = field_of(self._key_columns[0].source)(records)
        versions = field_of(self._version_field)(records) if self._version_field else [None] * len(keys)
        if not set(map(type, keys)) <= {str} or "" in keys or not all(map(str.isascii, keys)):
            return []
        if self._version_field and not (
            set(map(type, versions)) <= {int}
            and min(versions, default=0) >= -(1 << (self._version_bits - 1))
            and max(versions, default=0) < 1 << (self._version_bits - 1)
        ):
            return []
        if self._key_columns[0].kind == "uuid":
            keys = [key.lower() for key in keys]
        return list(map(Row, keys, versions, records))

    def records(self, body: bytes) -> list[Any]:
        """Return the records of a response, whether or not they contain a key.

        Raises:
            Unreadable: The response is cut off, or has another shape.
            RecordError: A record does not fit, or all together would take too much memory.
        """
        check_structure(body)
        with contextlib.suppress(*REFUSED):
            records = list(self.page_decoder.decode(body)) if self.shape.lists else []
            if any(record != self._blank for record in records):
                return records
        found = self._raw_records(body)
        if found and all(map(self._is_foreign, found)):
            raise self.foreign(found[0])
        return [read(raw, self.decoder) for raw in found]

    def foreign(self, raw: bytes) -> Unreadable:
        """Return the error for a response whose objects are no records of this table."""
        return Unreadable(f"expected records of {self.table.name}, found {described(raw)}")

    def _is_foreign(self, raw: bytes) -> bool:
        """Whether an object has none of the declared fields, such as an error object in a list."""
        if not raw.startswith(b"{"):
            return False
        try:
            return self._names.isdisjoint(name.lower() for name, _ in fields_of(raw))
        except Unreadable:
            return False

    @cached_property
    def _blank(self) -> Record:
        """A record without any field."""
        return self.record_type()

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names of the declared fields, in lower case."""
        return frozenset(name.lower() for name in self.record_type.__struct_encode_fields__)

    def value(self, row: Row) -> dict[str, Any]:
        """Return the record as decoded JSON, without its nulls."""
        value: dict[str, Any] = _with_extras(msgspec.to_builtins(row.record, enc_hook=_plain))
        return {name: item for name, item in value.items() if item is not None}

    def _row(self, record: Record, raw: bytes = b"") -> Row:
        key = self.key(record)
        version = self._version(record) if self._version else None
        problem = "" if key else "the record lacks its key"
        if self._version and not _fits(version, self._version_bits):
            too_large = f"the record's version does not fit into {self._version_bits} bits"
            problem = problem or ("the record lacks its version" if version is None else too_large)
            version = None
        if problem:
            return Row(key or substitute_key(raw), version, problem=problem, raw=raw)
        return Row(key, version, record)

    def _lenient_row(self, raw: bytes) -> Row:
        try:
            check_structure(raw)
            return self._row(read(raw, self.decoder), raw)
        except (RecordError, Unreadable) as error:
            key, version = _identity(raw, self._key_columns, self._version_field, self._version_bits)
            return Row(key or substitute_key(raw), version, problem=error.message, raw=raw)

    def _raw_records(self, body: bytes) -> list[bytes]:
        """Split a page into its records without decoding them."""
        if body.count(b",") > MOST_ITEMS:
            raise Unreadable(f"expected a page of {self.table.name}, found more than {MOST_ITEMS:,} values")
        return self.shape.items(body)


class _LayoutTree:
    """The layouts and record types of a table and its child tables."""

    def __init__(self, table: Table, children: Sequence[Child]) -> None:
        self.children = [(child, _LayoutTree(child.table, child.children)) for child in children]
        lists = {
            field: list[below.record_type] | None  # type: ignore[name-defined]
            for child, below in self.children
            for field in child.fields
        }
        self.record_type = _record_type(table, lists)
        self.layout = Layout(table, self.record_type, apart=tuple(lists))

    def builders(self) -> dict[str, TableBuilder]:
        """Return empty builders by table name."""
        builders = {self.layout.table.name: self.layout.builder()}
        for _, below in self.children:
            builders |= below.builders()
        return builders

    def add_all(
        self, builders: dict[str, TableBuilder], records: Sequence[Any], owner: Callable[[Any], Any]
    ) -> None:
        """Add records without placed columns, and the child rows of the few that have some."""
        builders[self.layout.table.name].records += records
        fields = {field.partition(".")[0] for child, _ in self.children for field in child.fields}
        for row in rows_with_any(fields, records):
            self._add_children(builders, records[row], (owner(records[row]),))

    def add(
        self, builders: dict[str, TableBuilder], record: Any, placed: tuple[Any, ...], above: tuple[Any, ...]
    ) -> None:
        """Add a record and its child rows; ``above`` are the owner and the indexes of the lists above."""
        builder = builders[self.layout.table.name]
        builder.add(record, *placed[: len(builder.placed)])
        self._add_children(builders, record, above)

    def _add_children(self, builders: dict[str, TableBuilder], record: Any, above: tuple[Any, ...]) -> None:
        for child, below in self.children:
            found = (item for field in child.fields for item in _list(record, field))
            for index, item in enumerate(found):
                placed = (*above, index)
                below.add(builders, item, placed, placed)


def key_text(parts: Sequence[Any]) -> str:
    """Return a key of several parts as one string."""
    return KEY_SEPARATOR.join(str(part) for part in parts)


def _check_copies(builders: Iterable[TableBuilder], records: Sequence[Any]) -> None:
    """Refuse records whose rows repeat a long key too often, before the columns are allocated.

    The bound is the sum of the bounds of the records: records that fit alone fit together, too.
    """
    columns = [column for builder in builders for column in builder.placed.values()]
    long = [text for column in columns for text in column if isinstance(text, str) and len(text) > _SHORT_KEY]
    if not long:
        return
    once, copied = sum(map(len, set(long))), sum(map(len, long))
    encoded = sum(len(msgspec.json.encode(record, enc_hook=_plain)) for record in records)
    if copied > TIMES * (once + encoded):
        raise RecordError(
            f"it is too large when shredded: {len(long):,} rows repeat its key of up to "
            f"{max(map(len, long)):,} characters"
        )


def _fits(version: Any, bits: int) -> bool:
    limit = 1 << (bits - 1)
    return isinstance(version, int) and not isinstance(version, bool) and -limit <= version < limit


_LONGEST_KEY = 1000

_SHORT_KEY = 20 * len("{},")
"""A key of this length may be repeated for each child row: it takes at most 20 times what the child took."""


def _plain(value: Any) -> Any:
    """Convert a value that only records hold into decoded JSON."""
    if isinstance(value, Kept):
        return value.value
    return loads(bytes(value)) if isinstance(value, msgspec.Raw) else float(value)


def _with_extras(value: Any) -> Any:
    """Return decoded JSON with undeclared fields beside the declared ones, as in the document."""
    if isinstance(value, list):
        return [_with_extras(item) for item in value]
    if not isinstance(value, dict):
        return value
    extra = value.get(" extra") or {}
    return {name: _with_extras(item) for name, item in value.items() if name != " extra"} | extra


def _getter(source: str) -> Callable[[Any], Any]:
    """Return a function that gets a field of a record, or the first of several that has a value."""
    first, *others = map(attrgetter, source.split())
    if not others:
        return first
    return lambda record: next((v for get in (first, *others) if (v := get(record)) is not None), None)


def _list(record: Any, field: str) -> Sequence[Any]:
    block, _, name = field.rpartition(".")
    holder = getattr(record, block) if block else record
    return () if holder is None else getattr(holder, name) or ()


def substitute_key(raw: bytes) -> str:
    """Return a key for a record without one: a hash, so that the same record always has the same key."""
    return f"without-key-{hashlib.blake2b(raw, digest_size=8).hexdigest()}"


def _identity(
    raw: bytes, key_columns: Sequence[Column], version_field: str, version_bits: int
) -> tuple[str, int | None]:
    """Return key and version of a record that does not fit, as far as they can be decoded."""
    fields = _short_fields(raw)
    parts = [
        next((fields[name] for name in column.source.lower().split() if name in fields), None)
        for column in key_columns
    ]
    version = fields.get(version_field.lower())
    known = all(isinstance(part, str | int) and part != "" for part in parts)
    lower = all(column.kind == "uuid" for column in key_columns)
    key = key_text(parts) if known else ""
    key = key if is_unicode(key) else ""
    return key.lower() if lower else key, version if _fits(version, version_bits) else None


def _short_fields(raw: bytes) -> dict[str, Any]:
    """Return the fields of an object by name in lower case, without long and invalid values."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Unreadable):
        for name, value in fields_of(raw):
            with contextlib.suppress(Unreadable):
                found |= {name.lower(): loads(value)} if len(value) < _LONGEST_KEY else {}
    return found


def _record_type(table: Table, lists: dict[str, Any]) -> type[Record]:
    """Return the type of the records that fill a table's columns and hold its child lists."""
    sources = {path: _json_type(c) for c in table.columns for path in c.source.split()} | lists
    identifying = table.identifying
    required = {path for c in table.columns if c.name in identifying for path in c.source.split()}
    fields = {path: kind for path, kind in sources.items() if "." not in path}
    for block in {path.partition(".")[0] for path in sources if "." in path}:
        within = {
            path.partition(".")[2]: kind for path, kind in sources.items() if path.startswith(f"{block}.")
        }
        keys = {path.partition(".")[2] for path in required if path.startswith(f"{block}.")}
        fields[block] = _struct(f"{table.name}_{block}", within, keys) | None
    return _struct(table.name, fields, required)


def _json_type(column: Column) -> Any:
    # Not Raw | None, which accepts only null.
    return msgspec.Raw if column.kind == "json" else _JSON_TYPES[column.type]


def _struct(name: str, fields: dict[str, Any], required: set[str]) -> type[Record]:
    record: Any = msgspec.defstruct(
        f"{name}_record",
        [(field, kind, None) for field, kind in fields.items()],
        bases=(Record,),
        namespace={"required": frozenset(required)},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
    kind: type[Record] = record
    return kind


_VERSION = re.compile(r"\d+(\.[\w+-]+)+")


class VersionShredder(FlatShredder):
    """Shreds the response of a route that returns the version as a single string."""

    def rows(self, body: bytes) -> list[Row]:
        """Return the only record.

        Raises:
            Unreadable: The response is not a JSON string with a version, such as ``"2026.1.5.324"``.
        """
        version = loads(body)
        if not isinstance(version, str) or not _VERSION.fullmatch(version.strip()):
            raise Unreadable(f"expected a version, found {described(body)}")
        return super().rows(msgspec.json.encode([{"version": version}]))
