"""What the engine adds to shredded rows: the run, the time, and how many rows an item has in other tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.tables import ROW_COUNTS, TIMESTAMP, Rows, Table


class Stamper:
    """Adds ``_wats_run_id`` and ``_wats_extracted_at`` to shredded rows, ``_wats_rows`` to counted tables.

    No two chunks of a run have the same stamps, even if the clock stands still or goes back: a destination
    recognizes a repeated commit by them.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._run_ids = pa.array([], pa.string())
        self._latest: datetime | None = None

    def __call__(self, tables: Sequence[Table], rows: Rows, *, now: datetime) -> Rows:
        """The rows of all tables as they are committed (schema: ``Table.schema``)."""
        shredded = {
            table: pa.Table.from_batches(rows.get(table, ()), table.shredded_schema) for table in tables
        }
        most = max(each.num_rows for each in shredded.values())
        if len(self._run_ids) < most:  # one array serves all tables and chunks
            self._run_ids = pa.repeat(self._run_id, max(most, 2 * len(self._run_ids)))
        if self._latest is not None:
            now = max(now, self._latest + timedelta(microseconds=1))
        self._latest = now
        moment = pa.scalar(now, TIMESTAMP)
        stamped: dict[Table, list[pa.RecordBatch]] = {}
        for table, each in shredded.items():
            counts = [_row_counts(table, shredded)] if table.counted else []
            stamps = (self._run_ids.slice(0, each.num_rows), pa.repeat(moment, each.num_rows))
            columns = [*each.columns, *counts, *stamps]
            stamped[table] = pa.Table.from_arrays(columns, schema=table.schema).to_batches()
        return stamped


def _row_counts(main: Table, shredded: Mapping[Table, pa.Table]) -> pa.Array:
    """For each row of the main table: how many rows of each other table belong to its item, as JSON."""
    owners = shredded[main][main.owner].to_pylist()
    counts: dict[object, dict[str, int]] = {owner: {} for owner in owners}
    for table, rows in shredded.items():
        if table is not main and rows.num_rows:
            found = pc.value_counts(rows[table.owner])
            for owner, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
                counts.setdefault(owner, {})[table.name] = count
    texts = {owner: msgspec.json.encode(each).decode() for owner, each in counts.items()}
    return pa.array([texts[owner] for owner in owners], ROW_COUNTS.type)
