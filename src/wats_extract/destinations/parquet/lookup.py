"""Finds out which items a Parquet folder has, in which versions and in which files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.journal import KeyChange
from wats_extract.destinations.parquet.keys import Entry, KeyIndex, with_index
from wats_extract.tables import Table

T = TypeVar("T")


class Lookup:
    """Looks up items by key. The caller keeps other processes from committing in the meantime.

    Args:
        root: The folder of the destination.
        index: The path of the key index.
    """

    def __init__(self, root: Path, index: Path) -> None:
        self._root, self._index = root, index

    def versions(self, table: Table, keys: Sequence[str]) -> dict[str, int | None]:
        """Return which of ``keys`` own rows in a table: key → latest version.

        Only tables with one row per item are indexed; the files of other tables are read.
        """
        if not has_one_row_per_item(table):
            return self.versions_without_index(table, keys)
        return self._query(table, lambda index: index.versions(table.name, keys))

    def versions_without_index(self, table: Table, keys: Sequence[str]) -> dict[str, int | None]:
        """The same from the files alone, which is slow, and changes nothing."""
        wanted = set(keys)
        found: dict[str, int | None] = {}
        for key, _, version in self.entries(self.all_keys(table)):
            if key in wanted:
                found[key] = max((v for v in (version, found.get(key)) if v is not None), default=None)
        return found

    def labels(self, table: Table, keys: Sequence[str]) -> set[str]:
        """The labels of the files that hold these items. The table must have one row per item."""
        return self._query(table, lambda index: index.labels(table.name, keys))

    def read_again(self, table: Table) -> None:
        """Forget the keys of a table, because somebody may have changed its files."""
        with_index(self._index, lambda index: index.uncover(table.name))

    def stray_labels(self, main: Table, children: Sequence[Table]) -> frozenset[str]:
        """The labels whose files have rows of items that the main table's file of this label does not have.

        No commit writes such rows. They remain if somebody deletes or restores single files.
        """
        return frozenset(
            label
            for label in set().union(*(files.labels(self._root / table.name) for table in children))
            if not self._owners(main, label).issuperset(
                owner for table in children for owner in self._owners(table, label)
            )
        )

    def _owners(self, table: Table, label: str) -> set[object]:
        rows = files.read_live(files.slots(self._root / table.name, label), [table.owner])
        return set() if rows is None else set(rows[table.owner].unique().to_pylist())

    def entries(self, change: KeyChange) -> Iterator[Entry]:
        """Read the keys in the files of some labels."""
        for label in change.labels:
            slots = files.slots(self._root / change.table, label)
            for path in (slots.live, slots.free if slots.twin else None):
                if path is not None:
                    yield from ((key, label, version) for key, version in _keys_in(path, change))

    def _query(self, table: Table, query: Callable[[KeyIndex], T]) -> T:
        """Query the key index, after it has read all keys of a table that it does not cover yet."""

        def covered(index: KeyIndex) -> T:
            if not index.covers(table.name):
                index.cover(table.name, self.entries(self.all_keys(table)))
            return query(index)

        return with_index(self._index, covered)

    def all_keys(self, table: Table) -> KeyChange:
        """The change that adds all keys of a table."""
        labels = sorted(files.labels(self._root / table.name))
        return KeyChange(table.name, table.owner, table.version, dropped=(), labels=labels)


def has_one_row_per_item(table: Table) -> bool:
    """Whether a table is indexed. The files of its child tables have the same labels."""
    return table.key == (table.owner,)


def _keys_in(path: Path, change: KeyChange) -> Iterator[tuple[str, int | None]]:
    columns = [change.owner, change.version] if change.version else [change.owner]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            keys = batch[change.owner].cast(pa.string()).to_pylist()
            versions = batch[change.version].to_pylist() if change.version else [None] * len(keys)
            yield from zip(keys, versions, strict=True)
