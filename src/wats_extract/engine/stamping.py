"""Stamps: the run and the time of each row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Rows, Table


class Stamper:
    """Adds ``_wats_run_id`` and ``_wats_extracted_at`` to shredded rows.

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
        """The rows of all tables with their stamps (schema: ``Table.schema``)."""
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
            stamps = (self._run_ids.slice(0, each.num_rows), pa.repeat(moment, each.num_rows))
            stamped[table] = pa.Table.from_arrays([*each.columns, *stamps], schema=table.schema).to_batches()
        return stamped
