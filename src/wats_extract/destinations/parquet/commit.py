"""Stages the files of one commit: new rows, and the existing files that lose rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.bookkeeping import stage_bookkeeping
from wats_extract.destinations.parquet.journal import KeyChange, Staging
from wats_extract.destinations.parquet.lookup import Lookup, has_one_row_per_item
from wats_extract.destinations.parquet.schemas import Schemas
from wats_extract.destinations.unchanged import without_unchanged
from wats_extract.flow import Commit
from wats_extract.tables import TIMESTAMP, Table


class CommitStager:
    """Stages commits.

    New rows go to files named after the commit's label. Rows that a file of this label already has are kept,
    except for the rows of items that the commit contains: so the same commit twice leaves the same tables.

    Args:
        root: The folder of the destination.
        schemas: The schemas of its files.
        lookup: Looks up items in its files.
    """

    def __init__(self, root: Path, schemas: Schemas, lookup: Lookup) -> None:
        self._root, self._schemas, self._lookup = root, schemas, lookup

    def stage(self, commit: Commit, staging: Staging) -> None:
        """Stage all files of a commit."""
        commit = replace(commit, replaced=commit.replaced | self._existing(commit))
        if commit.keeps_unchanged:
            commit = without_unchanged(commit, partial(self._stored, commit))
        indexed = next((table for table in commit.rows if has_one_row_per_item(table)), None)
        affected = self._affected(commit, indexed)
        nothing = commit.keeps_unchanged and not commit.landed
        for table, batches in () if nothing else commit.rows.items():
            rows = pa.Table.from_batches(batches, table.schema)
            changed = self._stage_table(table, rows, commit, affected, staging)
            if table is indexed:
                staging.change = _key_change(table, rows, commit, changed)
        for table, booked in commit.book.items():
            stage_bookkeeping(self._root / table.name, table, booked, self._schemas.of(table), staging)

    def _existing(self, commit: Commit) -> frozenset[str]:
        """The items of an upsert that the main table has."""
        main = next((table for table in commit.rows if table.owner), None)
        if main is None or not commit.upsert or not commit.landed:
            return frozenset()
        return frozenset(self._lookup.versions(main, list(commit.landed)))

    def _stored(self, commit: Commit, table: Table, keys: Collection[str]) -> pa.Table:
        """The rows of some items in a table."""
        folder = self._root / table.name
        indexed = next((each for each in commit.rows if has_one_row_per_item(each)), None)
        labels = self._lookup.labels(indexed, sorted(keys)) if indexed else files.labels(folder)
        owners = table.owners(sorted(keys))
        found = [table.schema.empty_table()]
        for path in (files.slots(folder, label).live for label in sorted(labels)):
            if path is not None:
                rows = files.read(path)
                rows = rows.filter(pc.is_in(rows[table.owner], owners))
                found.append(files.conformed(rows, table.schema))
        return pa.concat_tables(found)

    def _affected(self, commit: Commit, indexed: Table | None) -> set[str] | None:
        """Labels of the files that may lose rows; ``None`` means all."""
        if commit.sweep_before is not None or (commit.replaced and indexed is None):
            return None
        if indexed is None or not commit.replaced:
            return set()
        return self._lookup.labels(indexed, sorted(commit.replaced))

    def _stage_table(
        self, table: Table, rows: pa.Table, commit: Commit, affected: set[str] | None, staging: Staging
    ) -> list[str]:
        """Stage the changes in one table's files; return their labels, the commit's own first."""
        folder, own = self._root / table.name, files.safe_label(commit.label)
        changed = [own]
        for label in sorted((files.labels(folder) if affected is None else affected) - {own}):
            slots = files.slots(folder, label)
            remaining = _remaining(slots.live, table, commit)
            if remaining is not None:
                staging.move(slots, remaining)
                changed.append(label)
        fresh = files.conformed(rows, self._schemas.of(table))
        slots = files.slots(folder, own)
        earlier = _earlier(slots.live, table, rows, commit)
        staging.move(slots, _swept(pa.concat_tables([*earlier, fresh]), table, commit))
        return changed


def _key_change(table: Table, rows: pa.Table, commit: Commit, changed: Sequence[str]) -> KeyChange:
    dropped = commit.replaced | (commit.landed.keys() - _texts(rows[table.owner]))
    swept = commit.sweep_before is not None
    labels = changed if swept else changed[:1]
    return KeyChange(table.name, table.owner, table.version, sorted(dropped), labels, swept)


def _remaining(path: Path | None, table: Table, commit: Commit) -> pa.Table | None:
    """The rows that a file of another label keeps; ``None`` if it keeps all."""
    if path is None or not (commit.replaced or _has_older(path, commit.sweep_before)):
        return None
    rows = files.read(path)
    remaining = _swept(_without(rows, table, commit.replaced), table, commit)
    return remaining if remaining.num_rows < rows.num_rows else None


def _earlier(path: Path | None, table: Table, rows: pa.Table, commit: Commit) -> list[pa.Table]:
    """The rows that the file of the commit's own label keeps: rows of items not in the commit."""
    if path is None or not table.owner:
        return []
    again = commit.replaced | commit.landed.keys() | _texts(rows[table.owner])
    return [_without(files.read(path), table, again)]


def _without(rows: pa.Table, table: Table, keys: frozenset[str]) -> pa.Table:
    if not keys or not table.owner:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows[table.owner], table.owners(sorted(keys)))))


def _texts(keys: pa.ChunkedArray) -> set[str]:
    """Values of an owner column as text, the form in which items carry their keys."""
    return set(keys.cast(pa.string()).to_pylist())


def _swept(rows: pa.Table, table: Table, commit: Commit) -> pa.Table:
    if commit.sweep_before is None:
        return rows
    stays = pc.greater_equal(rows["_wats_extracted_at"], pa.scalar(commit.sweep_before, TIMESTAMP))
    if commit.kept:
        stays = pc.or_(stays, pc.is_in(rows[table.owner], table.owners(sorted(commit.kept))))
    return rows.filter(stays)


def _has_older(path: Path, before: datetime | None) -> bool:
    """Whether a file may have rows from before an instant, by the statistics in its footer."""
    if before is None:
        return False
    footer = pq.read_metadata(path)
    column = footer.schema.names.index("_wats_extracted_at")
    statistics = [
        footer.row_group(number).column(column).statistics for number in range(footer.num_row_groups)
    ]
    return any(not known or not known.has_min_max or known.min < before for known in statistics)
