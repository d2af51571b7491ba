"""The files of bookkeeping tables: as many after a thousand runs as after the first one.

Each pipeline and resource has a file with the rows that runs look up, ``PIPELINE-RESOURCE.parquet``, and the
pipeline has one with its runs. A commit rewrites it. Rows that have become history (ended runs, resolved
failures) move to the file of the next level, ``…+1``, a hundred at a time; a file that is full moves to the
level after that, which holds ten times as many. So a commit reads and writes a few hundred rows, and the
number of files grows with the logarithm of the number of runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.journal import Staging
from wats_extract.tables import Table

MOST = 100
"""The most rows of history beside the rows that runs look up; each level holds ten times as many."""

_HISTORY = re.compile(r"\+[0-9]+~?\.parquet")
"""How names of history files end. No label contains a plus sign."""


def is_history(path: Path) -> bool:
    """Whether a file holds history only."""
    return _HISTORY.search(path.name) is not None


def stage_bookkeeping(
    folder: Path, table: Table, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, staging: Staging
) -> None:
    """Stage rows of a bookkeeping table.

    Args:
        folder: The folder of the table.
        table: The table.
        rows: The rows. They replace earlier rows as :meth:`wats_extract.tables.Table.booked` does.
        schema: The schema of the table's files.
        staging: The commit.
    """
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(label_of(table, row), []).append(row)
    for label, own in by_label.items():
        fresh = pa.Table.from_pylist(table.booked([], own), schema=schema)
        _Levels(folder, label, table, schema).add(fresh, staging)


def label_of(table: Table, row: Mapping[str, Any]) -> str:
    """The label of the files that a row belongs to, without a level."""
    names = [name for name in ("pipeline", "resource") if name in table.schema.names]
    return files.safe_label("-".join(str(row.get(name) or "") for name in names)) or "-"


class _Levels:
    """The files of one label: level 0 has the rows that runs look up, the others have history."""

    def __init__(self, folder: Path, label: str, table: Table, schema: pa.Schema) -> None:
        self._folder, self._label, self._table, self._schema = folder, label, table, schema
        self._changed: dict[int, pa.Table] = {}

    def add(self, fresh: pa.Table, staging: Staging) -> None:
        """Stage rows and the moves that they cause."""
        keys = fresh.select(list(dict.fromkeys(self._table.identity)))
        earlier = self._rows(0)
        self._changed[0] = pa.concat_tables([_without(earlier, keys), fresh])
        if self._table.active:
            self._remove_from_history(_without(keys, earlier.select(keys.column_names)))
            self._move_history()
        for level, rows in self._changed.items():
            staging.move(self._slots(level), files.conformed(rows, self._schema))

    def _remove_from_history(self, keys: pa.Table) -> None:
        """Remove rows that are replaced, such as the resolved failure of an item that fails again."""
        last = keys.column_names[-1]
        values = keys[last]
        if not len(values):
            return
        # the range lets Arrow skip row groups by their statistics
        wanted = (
            (pc.field(last) >= pc.min(values))
            & (pc.field(last) <= pc.max(values))
            & pc.field(last).isin(values.combine_chunks())
        )
        labels = files.labels(self._folder, pattern=f"{self._label}+*.parquet")
        for level in (int(label.rpartition("+")[2]) for label in labels):
            if (path := self._slots(level).live) is not None:
                history = ds.dataset([str(path)], schema=self._schema, format="parquet")
                if history.head(1, columns=[last], filter=wanted).num_rows:
                    self._changed[level] = _without(self._rows(level), keys)

    def _move_history(self) -> None:
        level, most = 0, MOST
        while True:
            rows = self._changed[level]
            past = rows if level else rows.filter(pc.invert(self._is_active(rows)))
            if past.num_rows <= most:
                return
            self._changed[level] = rows.slice(0, 0) if level else rows.filter(self._is_active(rows))
            level, most = level + 1, most * 10
            self._changed[level] = pa.concat_tables([self._rows(level), past])

    def _is_active(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.is_in(rows["status"], pa.array(sorted(self._table.active)))

    def _rows(self, level: int) -> pa.Table:
        if level in self._changed:
            return self._changed[level]
        path = self._slots(level).live
        return self._schema.empty_table() if path is None else files.conformed(files.read(path), self._schema)

    def _slots(self, level: int) -> files.Slots:
        return files.slots(self._folder, f"{self._label}+{level}" if level else self._label)


def _without(rows: pa.Table, keys: pa.Table) -> pa.Table:
    """The rows that equal no row of ``keys`` in its columns."""
    unique = keys.group_by(keys.column_names).aggregate([])
    remaining = rows.join(unique, keys.column_names, join_type="left anti")
    return files.conformed(remaining, rows.schema)  # a join makes all columns nullable
