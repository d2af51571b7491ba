"""Shred flat records: one JSON object a row, with lists of objects that go to child tables."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import Row
from wats_extract.shred.columns import Layout, Sheet, field_of, filled
from wats_extract.shred.records import BYTE_ORDER_MARK, REFUSED, Record, is_unicode, loads, pieces, read
from wats_extract.tables import TIMESTAMP, Column, Table

KEY_SEPARATOR = "|"
"""Between the parts of a key of several columns, where it stands as one text."""

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
        table: Where they go. Its first columns are placed: the owner's key, then the place in this list,
            and for a list within a list the places of both.
        fields: The fields of the record that hold such lists, one after the other; ``block.field`` where
            the list stands in a block.
        children: Lists within the items of the list.
    """

    table: Table
    fields: tuple[str, ...]
    children: tuple[Child, ...] = ()


class FlatShredder:
    """Turns records of one declared shape into rows.

    The record types follow from the tables: each column with a ``source`` is a field, or a field of a
    block. Fields that a newer server sends beside them land in ``_extra``.

    Args:
        table: One row a record. An item's key is the text of its key columns.
        children: Lists within the records.
        within: The field that holds the list of records where a page is an object; a page that is one
            record alone is read as a list of one.

    Attributes:
        keyed: Whether records say their key; otherwise it is placed.
    """

    def __init__(self, table: Table, children: Sequence[Child] = (), *, within: str = "") -> None:
        self.table = table
        self.children = tuple(children)
        self.within = within
        columns = {column.name: column for column in table.columns}
        self._key_columns = [columns[name] for name in table.key]
        self.keyed = all(column.source for column in self._key_columns)
        self._keys = [_getter(column.source) for column in self._key_columns if self.keyed]
        self._version_field = columns[table.version].source if table.version else ""
        self._version = attrgetter(self._version_field) if self._version_field else None

    # Each is made when it is first needed: a run is of few resources, and imports all.

    @cached_property
    def _sheets(self) -> _Layouts:
        return _Layouts(self.table, self.children)

    @cached_property
    def record_type(self) -> type[Record]:
        """What a record is read into."""
        return self._sheets.record_type

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Reads one record."""
        return msgspec.json.Decoder(self.record_type)

    @cached_property
    def page_decoder(self) -> msgspec.json.Decoder[Any]:
        """Reads the records of a page."""
        return msgspec.json.Decoder(list[self.record_type])  # type: ignore[name-defined]

    def shred(
        self, records: Sequence[Any], placed: Sequence[tuple[Any, ...]] | None = None
    ) -> dict[Table, pa.RecordBatch]:
        """The rows of the records, by table; tables without rows are left out.

        Args:
            records: The records.
            placed: For each of them the values of the columns without a source, its owner's first; by
                default its owner is its own key.

        Raises:
            RecordError: one of the records does not fit; shred them one by one to learn which.
        """
        sheets = self._sheets.sheets()
        if placed is None and not self._sheets.layout.placed:
            self._sheets.gather_all(sheets, records, self._owner)
        else:
            for record, values in zip(records, placed or [(self._owner(r),) for r in records], strict=True):
                self._sheets.gather(sheets, record, values, values[:1])
        return {sheet.layout.table: sheet.batch() for sheet in sheets.values() if sheet.records}

    def _owner(self, record: Any) -> Any:
        """The value of the owner column for a record."""
        alone = self.table.key == (self.table.owner,) and self._key_columns[0].kind != "uuid"
        return self._keys[0](record) if alone else self.key(record)

    def key(self, record: Any) -> str:
        """What identifies a record; empty where a part of it is missing, or no text at all."""
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
        """The records of a page, those that do not fit with the reason.

        Raises:
            Unreadable: the page is cut off, or holds no records.
        """
        with contextlib.suppress(*REFUSED):
            records = [] if self.within else self.page_decoder.decode(body)
            rows = self._rows(records) or [self._row(record) for record in records]
            if rows and not any(row.problem for row in rows):
                return rows
        return [self._patient_row(raw) for raw in self._raw_records(body)]

    def _rows(self, records: Sequence[Any]) -> list[Row]:
        """The same as ``_row`` of each, where they have one text for a key and nothing is odd; or nothing."""
        if len(self._keys) != 1 or " " in self._key_columns[0].source:
            return []
        keys = field_of(self._key_columns[0].source)(records)
        versions = field_of(self._version_field)(records) if self._version_field else [None] * len(keys)
        if not set(map(type, keys)) <= {str} or "" in keys or not all(map(str.isascii, keys)):
            return []
        if self._version_field and not (
            set(map(type, versions)) <= {int}
            and min(versions, default=0) >= -(2**63)
            and max(versions, default=0) < 2**63
        ):
            return []
        if self._key_columns[0].kind == "uuid":
            keys = [key.lower() for key in keys]
        return list(map(Row, keys, versions, records))

    def records(self, body: bytes) -> list[Any]:
        """The records of an answer that need no key of their own.

        Raises:
            Unreadable: it is cut off, or holds no records.
            RecordError: one of them does not fit.
        """
        try:
            return list(self.page_decoder.decode(body))
        except REFUSED:
            return [read(raw, self.decoder) for raw in self._raw_records(body)]

    def value(self, row: Row) -> dict[str, Any]:
        """The record as decoded JSON, without its nulls."""
        value: dict[str, Any] = _unfolded(msgspec.to_builtins(row.record, enc_hook=_plain))
        return {name: item for name, item in value.items() if item is not None}

    def _row(self, record: Record, raw: bytes = b"") -> Row:
        key = self.key(record)
        version = self._version(record) if self._version else None
        problem = "" if key else "the record lacks its key"
        if self._version and not _has_room(version):
            problem = problem or ("the record lacks its version" if version is None else _NO_ROOM)
            version = None
        if problem:
            return Row(key or _stand_in(raw), version, problem=problem, raw=raw)
        return Row(key, version, record)

    def _patient_row(self, raw: bytes) -> Row:
        try:
            return self._row(read(raw, self.decoder), raw)
        except (RecordError, Unreadable) as error:
            key, version = _identity(raw, self._key_columns, self._version_field)
            return Row(key or _stand_in(raw), version, problem=error.message, raw=raw)

    def _raw_records(self, body: bytes) -> list[bytes]:
        """The records of a page one by one, as they stand in it."""
        if self.within:
            body = _field_of(body, self.within)
        with contextlib.suppress(*REFUSED):
            return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
        found = pieces(body)  # also where one of them is broken, or too deep
        return [body] if _begins(body, b"{") else found


class _Layouts:
    """The layouts of a table and of all that is below it, and the records that they read."""

    def __init__(self, table: Table, children: Sequence[Child]) -> None:
        self.children = [(child, _Layouts(child.table, child.children)) for child in children]
        lists = {
            field: list[below.record_type] | None  # type: ignore[name-defined]
            for child, below in self.children
            for field in child.fields
        }
        self.record_type = _record_type(table, lists)
        self.layout = Layout(table, self.record_type, apart=tuple(lists))

    def sheets(self) -> dict[str, Sheet]:
        """New sheets by table name."""
        sheets = {self.layout.table.name: self.layout.sheet()}
        for _, below in self.children:
            sheets |= below.sheets()
        return sheets

    def gather_all(
        self, sheets: dict[str, Sheet], records: Sequence[Any], owner: Callable[[Any], Any]
    ) -> None:
        """Put records without columns to be placed on the sheets; look below them where there is more."""
        sheets[self.layout.table.name].records += records
        fields = {field.partition(".")[0] for child, _ in self.children for field in child.fields}
        below = {row for field in fields for row, _ in filled(field_of(field)(records))}
        for row in sorted(below):
            self._gather_below(sheets, records[row], (owner(records[row]),))

    def gather(
        self, sheets: dict[str, Sheet], record: Any, placed: tuple[Any, ...], owner: tuple[Any, ...]
    ) -> None:
        """Put a record, and what is below it, on the sheets; ``owner`` is followed by the places above."""
        sheet = sheets[self.layout.table.name]
        sheet.add(record, *placed[: len(sheet.placed)])
        self._gather_below(sheets, record, owner)

    def _gather_below(self, sheets: dict[str, Sheet], record: Any, owner: tuple[Any, ...]) -> None:
        for child, below in self.children:
            found = (item for field in child.fields for item in _list(record, field))
            for place, item in enumerate(found):
                here = (*owner, place)
                below.gather(sheets, item, here, here)


def key_text(parts: Sequence[Any]) -> str:
    """A key of several parts as one text."""
    return KEY_SEPARATOR.join(str(part) for part in parts)


_NO_ROOM = "the record's version has no room in 64 bits"


def _has_room(version: Any) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and -(2**63) <= version < 2**63


def _field_of(body: bytes, name: str) -> bytes:
    """A field of an object, as it stands; the whole where that is a list already.

    Raises:
        Unreadable: there is no such field.
    """
    if _begins(body, b"["):
        return body
    fields = dict(_fields_of(body))
    if name.lower() not in fields:
        raise Unreadable(f"expected an object with {name}")
    return fields[name.lower()]


def _fields_of(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The fields of an object: name in lower case, and value as it stands.

    Raises:
        Unreadable: it is no object, or cut off.
    """
    for piece in pieces(body) if _begins(body, b"{") else ():
        if written := _NAME.match(piece):
            yield str(loads(written[1])).lower(), piece[written.end() :]


def _begins(body: bytes, sign: bytes) -> bool:
    return body.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(sign)


_NAME = re.compile(rb'("(?:[^"\\]|\\.)*+")\s*:\s*', re.DOTALL)
_LONGEST_KEY = 1000


def _plain(value: Any) -> Any:
    """What decoded JSON holds in place of what only records hold."""
    return loads(bytes(value)) if isinstance(value, msgspec.Raw) else float(value)


def _unfolded(value: Any) -> Any:
    """Decoded JSON with what was not declared beside what was."""
    if isinstance(value, list):
        return [_unfolded(item) for item in value]
    if not isinstance(value, dict):
        return value
    extra = value.get(" extra") or {}
    return {name: _unfolded(item) for name, item in value.items() if name != " extra"} | extra


def _getter(source: str) -> Callable[[Any], Any]:
    """Gives a column's value in a record: of a field, or of the first of several that has one."""
    first, *others = map(attrgetter, source.split())
    if not others:
        return first
    return lambda record: next((v for get in (first, *others) if (v := get(record)) is not None), None)


def _list(record: Any, field: str) -> Sequence[Any]:
    block, _, name = field.rpartition(".")
    holder = getattr(record, block) if block else record
    return () if holder is None else getattr(holder, name) or ()


def _stand_in(raw: bytes) -> str:
    """A key for a record without one: the same record has the same, however often it is read."""
    return f"without-key-{hashlib.blake2b(raw, digest_size=8).hexdigest()}"


def _identity(raw: bytes, key_columns: Sequence[Column], version_field: str) -> tuple[str, int | None]:
    """Key and version of a record that does not fit, as far as they can be made out."""
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
    return key.lower() if lower else key, version if _has_room(version) else None


def _short_fields(raw: bytes) -> dict[str, Any]:
    """The fields of an object by name in lower case, except for those that are long or cannot be read."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Unreadable):
        for name, value in _fields_of(raw):
            with contextlib.suppress(Unreadable):
                found |= {name: loads(value)} if len(value) < _LONGEST_KEY else {}
    return found


def _record_type(table: Table, lists: dict[str, Any]) -> type[Record]:
    """The record that a table's columns, and the lists within it, are taken from."""
    sources = {path: _json_type(c) for c in table.columns for path in c.source.split()} | lists
    fields = {path: kind for path, kind in sources.items() if "." not in path}
    for block in {path.partition(".")[0] for path in sources if "." in path}:
        within = {
            path.partition(".")[2]: kind for path, kind in sources.items() if path.startswith(f"{block}.")
        }
        fields[block] = _struct(f"{table.name}_{block}", within) | None
    return _struct(table.name, fields)


def _json_type(column: Column) -> Any:
    # Not Raw | None: that takes nothing but null.
    return msgspec.Raw if column.kind == "json" else _JSON_TYPES[column.type]


def _struct(name: str, fields: dict[str, Any]) -> type[Record]:
    record: Any = msgspec.defstruct(
        f"{name}_record",
        [(field, kind, None) for field, kind in fields.items()],
        bases=(Record,),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
    kind: type[Record] = record
    return kind


class VersionShredder(FlatShredder):
    """The version comes as a text alone."""

    def rows(self, body: bytes) -> list[Row]:
        """The one record.

        Raises:
            Unreadable: it is no text.
        """
        return super().rows(b'[{"version": ' + body + b"}]")
