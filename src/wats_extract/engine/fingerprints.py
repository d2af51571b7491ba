"""Fingerprints of an item's rows: one number per column, whatever the order and the batches of the rows.

The number of a column is the sum of the hashes of its values, each hashed together with the key of its row,
modulo 2⁶⁴. Adding the fingerprint of equal rows that was negated gives zeros. Hashes of texts differ between
processes, so both sides are computed in one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from wats_extract.tables import Table

Fingerprint: TypeAlias = tuple[str, bytes]
"""The key of an item, and a number of eight bytes per column."""

_MASK = (1 << 64) - 1
_ROWS = 2_000


def fingerprints(table: Table, batch: pa.RecordBatch, *, negative: bool = False) -> Iterator[Fingerprint]:
    """The fingerprints of the items in a batch (schema: ``Table.shredded_schema``).

    An item may have several, which are to be added. A few rows at a time are converted to Python objects.
    """
    for begin in range(0, batch.num_rows, _ROWS):
        yield from _fingerprints(table, batch.slice(begin, _ROWS), negative=negative)


def _fingerprints(table: Table, batch: pa.RecordBatch, *, negative: bool) -> Iterator[Fingerprint]:
    columns = {name: _values(batch[name]) for name in batch.schema.names}
    keys = list(map(repr, zip(*(columns[name] for name in table.key), strict=True)))
    sums: dict[Any, list[int]] = {}
    for owner in set(columns[table.owner]):
        sums[owner] = [0] * len(columns)
    for place, values in enumerate(columns.values()):
        for owner, key, value in zip(columns[table.owner], keys, values, strict=True):
            # Hashes of tuples are nearly linear in their last item: values that change places could cancel.
            sums[owner][place] += hash(f"{key}{hash(value)}")
    sign = -1 if negative else 1
    for owner, each in sums.items():
        yield str(owner), struct.pack(f"<{len(each)}Q", *(sign * number & _MASK for number in each))


def plus(one: bytes, other: bytes) -> bytes:
    """The sum of two fingerprints."""
    form = f"<{len(one) // 8}Q"
    pairs = zip(struct.unpack(form, one), struct.unpack(form, other), strict=True)
    return struct.pack(form, *((a + b) & _MASK for a, b in pairs))


def differing(sums: bytes, columns: Sequence[str]) -> list[str]:
    """The columns whose number is not zero."""
    numbers = struct.unpack(f"<{len(sums) // 8}Q", sums)
    return [column for column, number in zip(columns, numbers, strict=True) if number]


def _values(column: pa.Array) -> list[Any]:
    """The values of a column as texts: Python's hashes of numbers are not unique, -1 and -2 have the same."""
    kind = column.type
    if pa.types.is_binary(kind):
        return list(column.to_pylist())
    if pa.types.is_list(kind):
        texts = column.cast(pa.list_(pa.string())).to_pylist()
        return [None if value is None else tuple(value) for value in texts]
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    return list(column.cast(pa.string()).to_pylist())
