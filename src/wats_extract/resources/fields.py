"""Declares columns by the names of WATS's fields, with one function per column type."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table


def snake(name: str) -> str:
    """Convert ``serialNumber`` to ``serial_number``, and ``block.field`` to ``block_field``."""
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.replace(".", "_"))
    return words.lower()


def _columns(names: str, kind: pa.DataType, how: str = "") -> tuple[Column, ...]:
    """Return columns for fields, which are separated by spaces.

    ``source=name`` names the column of a field, ``=name`` is a column without a source, and
    ``one|other=name`` reads the first of several fields that has a value.
    """
    pairs = (word.partition("=") for word in names.split())
    return tuple(
        Column(ours or snake(source), kind, source.replace("|", " "), kind=how) for source, _, ours in pairs
    )


def text(names: str) -> tuple[Column, ...]:
    """Return columns of strings."""
    return _columns(names, pa.string())


def uuid(names: str) -> tuple[Column, ...]:
    """Return columns of uuids, which are lower-case strings."""
    return _columns(names, pa.string(), "uuid")


def whole(names: str) -> tuple[Column, ...]:
    """Return columns of int32."""
    return _columns(names, pa.int32())


def long(names: str) -> tuple[Column, ...]:
    """Return columns of int64."""
    return _columns(names, pa.int64())


def number(names: str) -> tuple[Column, ...]:
    """Return columns of double."""
    return _columns(names, pa.float64())


def truth(names: str) -> tuple[Column, ...]:
    """Return columns of bool."""
    return _columns(names, pa.bool_())


def moment(names: str) -> tuple[Column, ...]:
    """Return columns of timestamps; one without an offset is taken as UTC."""
    return _columns(names, TIMESTAMP)


def tree(names: str) -> tuple[Column, ...]:
    """Return columns that hold a list or an object as JSON."""
    return _columns(names, pa.string(), "json")


def place(name: str, of: str) -> tuple[Column, ...]:
    """Return a column for the index in a list, from 0."""
    return (Column(name, pa.int32(), doc=f"index among {of}, from 0"),)


def table(
    name: str,
    key: str,
    *columns: tuple[Column, ...],
    doc: str,
    docs: Mapping[str, str] | None = None,
    owner: str = "",
    version: str = "",
    counted: bool = False,
) -> Table:
    """Return a table with its columns in the given order.

    Args:
        name: The name of the table.
        key: The key columns, separated by spaces.
        columns: The results of the functions above.
        doc: What one row is, such as "one row per asset".
        docs: The meaning of columns by name, for names that do not explain themselves.
        owner: The column with the key of the item; by default the first key column.
        version: The column that changes when the item changes.
        counted: Whether the resource has further tables, whose rows are counted in this one.
    """
    texts = docs or {}
    flat = [
        Column(c.name, c.type, c.source, texts.get(c.name, c.doc), c.kind) for group in columns for c in group
    ]
    keys = tuple(key.split())
    return Table(name, keys, tuple(flat), owner=owner or keys[0], version=version, doc=doc, counted=counted)
