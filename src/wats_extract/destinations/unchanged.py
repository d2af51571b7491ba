"""Finds the items of a commit that a destination has already, with the same rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.flow import Commit
from wats_extract.tables import STAMP_NAMES, Table


def without_unchanged(commit: Commit, stored: Callable[[Table, Collection[str]], pa.Table]) -> Commit:
    """Return a commit without the items whose rows are equal to the stored ones in every table.

    Args:
        commit: The commit, with all existing items in ``replaced``. It is small, as master data is.
        stored: Returns the stored rows of some items in a table.
    """
    unchanged = set(commit.replaced & commit.landed.keys())
    for table, batches in commit.rows.items():
        if unchanged:
            rows = pa.Table.from_batches(batches, table.schema)
            incoming, there = _by_item(table, rows), _by_item(table, stored(table, unchanged))
            unchanged = {key for key in unchanged if incoming.get(key) == there.get(key)}
    if not unchanged:
        return commit
    return replace(
        commit,
        rows={
            table: [_without(batch, table, unchanged) for batch in batches]
            for table, batches in commit.rows.items()
        },
        landed={key: version for key, version in commit.landed.items() if key not in unchanged},
        replaced=commit.replaced - unchanged,
    )


def _by_item(table: Table, rows: pa.Table) -> dict[str, list[str]]:
    """The rows of each item as texts, without stamps and in no order; as texts, NaN equals NaN."""
    found: dict[str, list[str]] = {}
    for row in rows.select([name for name in table.schema.names if name not in STAMP_NAMES]).to_pylist():
        found.setdefault(str(row[table.owner]), []).append(repr(row))
    return {key: sorted(texts) for key, texts in found.items()}


def _without(batch: pa.RecordBatch, table: Table, keys: Collection[str]) -> pa.RecordBatch:
    return batch.filter(pc.invert(pc.is_in(batch[table.owner], table.owners(sorted(keys)))))
