"""Shred flat records: one JSON object a row, with lists of objects that go to child tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import TIMESTAMP, Row, Table
from wats_extract.shred.columns import Layout
from wats_extract.shred.records import Record, loads, read

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
        table: Where they go; its first two columns are the owner's key and the place in the list.
        fields: The fields of the record that hold such lists, one after the other.
    """

    table: Table
    fields: tuple[str, ...]


class FlatShredder:
    """Turns records of one declared shape into rows.

    The record types follow from the tables: each column with a ``source`` is a field. Fields that a
    newer server sends beside them land in ``_extra``.
    """

    def __init__(self, table: Table, children: Sequence[Child] = ()) -> None:
        self.table = table
        self.children = tuple(children)
        self._child_types = {child.table.name: _record_type(child.table, {}) for child in children}
        lists = {
            field: list[self._child_types[child.table.name]] | None  # type: ignore[name-defined]
            for child in children
            for field in child.fields
        }
        self.record_type = _record_type(table, lists)
        self.decoder = msgspec.json.Decoder(self.record_type)
        self.page_decoder = msgspec.json.Decoder(list[self.record_type])  # type: ignore[name-defined]
        self._layout = Layout(table, self.record_type, apart=tuple(lists))
        self._child_layouts = {
            c.table.name: Layout(c.table, self._child_types[c.table.name]) for c in children
        }
        sources = {column.name: column.source for column in table.columns}
        self._key_field, self._version_field = sources[table.owner], sources[table.version]
        self._key, self._version = attrgetter(self._key_field), attrgetter(self._version_field)

    def shred(self, records: Sequence[Any]) -> dict[Table, pa.RecordBatch]:
        """The rows of the records, by table; tables without rows are left out.

        Raises:
            RecordError: one of the records does not fit; shred them one by one to learn which.
        """
        sheets = [self._layout.sheet()]
        for record in records:
            sheets[0].add(record)
        sheets += [self._children(child, records) for child in self.children]
        return {sheet.layout.table: sheet.batch() for sheet in sheets if sheet.records}

    def rows(self, body: bytes) -> list[Row]:
        """The records of a page (a JSON array), those that do not fit with the reason.

        Raises:
            Unreadable: the page is cut off, or no JSON array.
        """
        try:
            return [self._row(record) for record in self.page_decoder.decode(body)]
        except (msgspec.DecodeError, RecursionError):
            return [self._patient_row(raw) for raw in _raw_records(body)]

    def value(self, row: Row) -> dict[str, Any]:
        """The record as decoded JSON, without its nulls."""
        value = msgspec.to_builtins(row.record)
        extra = value.pop(" extra", None) or {}
        return {name: item for name, item in value.items() if item is not None} | extra

    def _row(self, record: Record) -> Row:
        key, version = self._key(record), self._version(record)
        if key and version is not None:
            return Row(key.lower(), version, record)
        missing = "its key" if not key else "its version"
        raw = msgspec.json.encode(record)
        return Row(key or _stand_in(raw), version, problem=f"the record lacks {missing}", raw=raw)

    def _patient_row(self, raw: bytes) -> Row:
        try:
            return self._row(read(raw, self.decoder))
        except (RecordError, Unreadable) as error:
            key, version = _identity(raw, self._key_field, self._version_field)
            return Row(key or _stand_in(raw), version, problem=error.message, raw=raw)

    def _children(self, child: Child, records: Sequence[Record]) -> Any:
        sheet = self._child_layouts[child.table.name].sheet()
        get = attrgetter(*child.fields)
        nothing = (None,) * len(child.fields) if len(child.fields) > 1 else None
        for record in records:
            lists = get(record)
            if lists == nothing:
                continue
            found = (item for each in (lists if len(child.fields) > 1 else (lists,)) for item in each or ())
            for place, item in enumerate(found):
                sheet.add(item, self._key(record), place)
        return sheet


def _raw_records(body: bytes) -> list[bytes]:
    """The records of a page one by one, as they stand in it where it is JSON to the letter."""
    try:
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, RecursionError):
        page = loads(body)
        if not isinstance(page, list):
            raise Unreadable(f"expected a list, found {str(page)[:60]!r}") from None
        return [json.dumps(record).encode("utf-8") for record in page]


def _stand_in(raw: bytes) -> str:
    """A key for a record without one: the same record has the same, however often it is read."""
    return f"without-key-{hashlib.blake2b(raw, digest_size=8).hexdigest()}"


def _identity(raw: bytes, key_field: str, version_field: str) -> tuple[str, int | None]:
    """Key and version of a record that does not fit, as far as they can be made out."""
    try:
        record = loads(raw)
    except (RecordError, Unreadable):
        return "", None
    fields = {name.lower(): value for name, value in record.items()} if isinstance(record, dict) else {}
    key, version = fields.get(key_field.lower()), fields.get(version_field.lower())
    return (key.lower() if isinstance(key, str) else ""), (version if isinstance(version, int) else None)


def _record_type(table: Table, lists: dict[str, Any]) -> type[Record]:
    fields = {c.source: _JSON_TYPES[c.type] for c in table.columns if c.source} | lists
    record: Any = msgspec.defstruct(
        f"{table.name}_record",
        [(name, kind, None) for name, kind in fields.items()],
        bases=(Record,),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
    kind: type[Record] = record
    return kind
