"""Declare columns by the names of WATS's fields: one word a field, its type by the function around it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table


def snake(name: str) -> str:
    """``serialNumber`` → ``serial_number``; of ``block.field`` both words."""
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.replace(".", "_"))
    return words.lower()


def _columns(names: str, kind: pa.DataType, how: str = "") -> tuple[Column, ...]:
    """Columns for fields; ``source=name`` gives a field a column of another name.

    ``one|other=name`` takes the first of several fields that has a value.
    """
    pairs = (word.partition("=") for word in names.split())
    return tuple(
        Column(ours or snake(source), kind, source.replace("|", " "), kind=how) for source, _, ours in pairs
    )


def text(names: str) -> tuple[Column, ...]:
    """Columns of text."""
    return _columns(names, pa.string())


def uuid(names: str) -> tuple[Column, ...]:
    """Columns of uuids, as lower-case text."""
    return _columns(names, pa.string(), "uuid")


def whole(names: str) -> tuple[Column, ...]:
    """Columns of int32."""
    return _columns(names, pa.int32())


def long(names: str) -> tuple[Column, ...]:
    """Columns of int64."""
    return _columns(names, pa.int64())


def number(names: str) -> tuple[Column, ...]:
    """Columns of double."""
    return _columns(names, pa.float64())


def truth(names: str) -> tuple[Column, ...]:
    """Columns of bool."""
    return _columns(names, pa.bool_())


def moment(names: str) -> tuple[Column, ...]:
    """Columns of instants; what has no offset is taken as UTC."""
    return _columns(names, TIMESTAMP)


def tree(names: str) -> tuple[Column, ...]:
    """Columns that keep a list or an object as a JSON text."""
    return _columns(names, pa.string(), "json")


def place(name: str, of: str) -> tuple[Column, ...]:
    """A column for the place in a list, from 0."""
    return (Column(name, pa.int32(), doc=f"the place among {of}, from 0"),)


def table(
    name: str,
    key: str,
    *columns: tuple[Column, ...],
    doc: str,
    docs: Mapping[str, str] | None = None,
    owner: str = "",
    version: str = "",
) -> Table:
    """A table, its columns in the order given.

    Args:
        name: The table's name.
        key: The key columns, separated by blanks.
        columns: What the functions above give.
        doc: What a row is.
        docs: What columns mean, by name, where the name does not say it.
        owner: The column with the item's key; by default the key, where that is one column.
        version: The column that changes when the item does.
    """
    said = docs or {}
    flat = [
        Column(c.name, c.type, c.source, said.get(c.name, c.doc), c.kind) for group in columns for c in group
    ]
    keys = tuple(key.split())
    return Table(name, keys, tuple(flat), owner=owner or keys[0], version=version, doc=doc)
