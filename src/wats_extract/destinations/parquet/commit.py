"""Stages the files of one commit: new rows, and the existing files that lose rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.bookkeeping import stage_bookkeeping
from wats_extract.destinations.parquet.journal import KeyChange, Staging
from wats_extract.destinations.parquet.lookup import Lookup, has_one_row_per_item
from wats_extract.destinations.parquet.schemas import Schemas
from wats_extract.destinations.unchanged import without_unchanged
from wats_extract.flow import Commit
from wats_extract.tables import Table

_RUN_ID = "_wats_run_id"


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
        self._strays: dict[str, frozenset[str]] = {}

    def opened(self) -> None:
        """Forget what was found out about the files: they may have changed while the folder was closed."""
        self._strays.clear()

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
        for label in sorted(labels):
            rows = files.read_live(files.slots(folder, label))
            if rows is not None:
                rows = rows.filter(pc.is_in(rows[table.owner], owners))
                found.append(files.conformed(rows, table.schema))
        return pa.concat_tables(found)

    def _affected(self, commit: Commit, indexed: Table | None) -> Set[str] | None:
        """Labels of the files that may lose rows; ``None`` means all."""
        if commit.sweep_except is not None or (commit.replaced and indexed is None):
            return None
        if indexed is None or not commit.replaced:
            return set()
        strays = self._stray_labels(indexed, commit) if commit.thorough else frozenset()
        return strays | self._lookup.labels(indexed, sorted(commit.replaced))

    def _stray_labels(self, indexed: Table, commit: Commit) -> frozenset[str]:
        """Labels with rows in child tables whose items the main table has in no file of the label.

        They are searched for once, and then the keys of the main table are read again, too: a commit adds no
        rows that are not in the index, or elsewhere than their items.
        """
        if indexed.name not in self._strays:
            self._lookup.read_again(indexed)
            children = [table for table in commit.rows if table is not indexed]
            self._strays[indexed.name] = self._lookup.stray_labels(indexed, children)
        return self._strays[indexed.name]

    def _stage_table(
        self, table: Table, rows: pa.Table, commit: Commit, affected: Set[str] | None, staging: Staging
    ) -> list[str]:
        """Stage the changes in one table's files; return their labels, the commit's own first."""
        folder, own = self._root / table.name, files.safe_label(commit.label)
        changed = [own]
        for label in sorted((files.labels(folder) if affected is None else affected) - {own}):
            slots = files.slots(folder, label)
            remaining = _remaining(slots, table, commit)
            if remaining is not None:
                staging.move(slots, remaining)
                changed.append(label)
        fresh = files.conformed(rows, self._schemas.of(table))
        slots = files.slots(folder, own)
        earlier = _earlier(slots, table, rows, commit)
        staging.move(slots, _swept(pa.concat_tables([*earlier, fresh]), table, commit))
        return changed


def _key_change(table: Table, rows: pa.Table, commit: Commit, changed: Sequence[str]) -> KeyChange:
    dropped = commit.replaced | (commit.landed.keys() - _texts(rows[table.owner]))
    swept = commit.sweep_except is not None
    labels = changed if swept else changed[:1]
    return KeyChange(table.name, table.owner, table.version, sorted(dropped), labels, swept)


def _remaining(slots: files.Slots, table: Table, commit: Commit) -> pa.Table | None:
    """The rows that another label keeps; ``None`` if it keeps all."""
    if not (commit.replaced or _has_rows_to_sweep(slots, commit)):
        return None
    rows = files.read_live(slots)
    if rows is None:
        return None
    remaining = _swept(_without(rows, table, commit.replaced), table, commit)
    return remaining if remaining.num_rows < rows.num_rows else None


def _earlier(slots: files.Slots, table: Table, rows: pa.Table, commit: Commit) -> list[pa.Table]:
    """The rows that the file of the commit's own label keeps: rows of items not in the commit."""
    present = files.read_live(slots) if table.owner else None
    if present is None:
        return []
    again = commit.replaced | commit.landed.keys() | _texts(rows[table.owner])
    return [_without(present, table, again)]


def _without(rows: pa.Table, table: Table, keys: frozenset[str]) -> pa.Table:
    if not keys or not table.owner:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows[table.owner], table.owners(sorted(keys)))))


def _texts(keys: pa.ChunkedArray) -> set[str]:
    """Values of an owner column as text, the form in which items carry their keys."""
    return set(keys.cast(pa.string()).to_pylist())


def _swept(rows: pa.Table, table: Table, commit: Commit) -> pa.Table:
    if commit.sweep_except is None:
        return rows
    stays = _loaded_by(rows[_RUN_ID], commit.sweep_except)
    if commit.kept:
        stays = pc.or_(stays, pc.is_in(rows[table.owner], table.owners(sorted(commit.kept))))
    return rows.filter(stays)


def _has_rows_to_sweep(slots: files.Slots, commit: Commit) -> bool:
    """Whether a label may have rows of other runs; a run's id takes few bytes, so reading it is cheap."""
    rows = None if commit.sweep_except is None else files.read_live(slots, [_RUN_ID])
    if rows is None or commit.sweep_except is None:
        return False
    return not pc.all(_loaded_by(rows[_RUN_ID], commit.sweep_except)).as_py()


def _loaded_by(ids: pa.ChunkedArray, runs: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(ids, pa.array(sorted(runs), pa.string()))
