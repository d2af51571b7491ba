"""Finds rows that are there twice, because an older copy of some files was laid over newer ones.

Such a copy brings back files whose rows a later commit had moved or replaced. A file may also have been
copied under another name, or deleted. What the folder's own bookkeeping says may be as old as the copy, so
only the rows themselves decide:

- A commit gives all rows of an item the same stamps. These rows are a *copy* of the item, in all tables of
  the resource. The copy with the latest version stays; of equal versions, the one that was extracted last.
- Rows of child tables stay if their copy is in the main table.
- Of the rows of a copy that several files have, those of one file stay.
- Of bookkeeping rows with the same key, one stays: of a cursor the oldest, because reading again is harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.bookkeeping import label_of
from wats_extract.destinations.parquet.journal import Staging
from wats_extract.destinations.parquet.keys import Entry, KeyIndex
from wats_extract.destinations.parquet.lookup import Lookup, has_one_row_per_item
from wats_extract.destinations.parquet.schemas import Schemas
from wats_extract.state.tables import COVERAGE, FAILURES, RUNS, STATE
from wats_extract.tables import STAMP_NAMES, Table

Order: TypeAlias = list[tuple[str, Literal["ascending", "descending"]]]


_WHICH_STAYS: dict[str, Order] = {
    RUNS.name: [("ended_at", "descending")],
    STATE.name: [("updated_at", "ascending")],
    COVERAGE.name: [],
    FAILURES.name: [("resolved_at", "descending"), ("last_failed_at", "descending")],
}
"""The order of bookkeeping rows with the same key; the first one stays. Nulls come last."""


def stage_each_row_once(
    root: Path,
    tables: Sequence[Table],
    *,
    append: bool,
    schemas: Schemas,
    staging: Staging,
    lookup: Lookup,
) -> Callable[[KeyIndex], None]:
    """Stage the removal of rows that are there twice, and return what adds the tables to the key index.

    Args:
        root: The folder of the destination.
        tables: The tables of one resource, the main table first, or one bookkeeping table.
        append: Whether an item may have several copies.
        schemas: The schemas of the files.
        staging: The commit.
        lookup: Reads the keys of files.
    """
    main = _Files(root, tables[0], schemas)
    if not main.table.owner:
        main.keep(_first(main.copies(), _WHICH_STAYS.get(main.table.name, []), main.identity))
        main.stage(staging)
        return lambda index: None
    version = [main.table.version] if main.table.version else []
    order: Order = [(name, "descending") for name in (*version, *STAMP_NAMES[::-1])]
    main.keep(_first(main.copies(), order, main.identity if append else main.identity[:1]))
    main.stage(staging)
    elsewhere: list[Entry] = []
    for table in tables[1:]:
        child = _Files(root, table, schemas)
        elsewhere += child.keep_those_of(main)
        child.stage(staging)

    def add(index: KeyIndex) -> None:
        if has_one_row_per_item(main.table):
            index.cover(main.table.name, lookup.entries(lookup.all_keys(main.table)))
            index.add(main.table.name, elsewhere)

    return add


class _Files:
    """The files of one table that have rows.

    Attributes:
        table: The table.
        identity: The columns that identify a copy: the owner and the stamps; the key of a bookkeeping row.
        kept: The copies that stay, each with the number of its file.
    """

    def __init__(self, root: Path, table: Table, schemas: Schemas) -> None:
        self.table, self._folder, self._schema = table, root / table.name, schemas.of(table)
        self.identity = [table.owner, *STAMP_NAMES] if table.owner else list(table.key)
        self._order = [name for name, _ in _WHICH_STAYS.get(table.name, [])]
        if table.version and table.version not in self.identity:
            self._order.append(table.version)
        self._paths = [path for path in files.data_files(self._folder) if files.row_count(path)]
        self._labels = [files.label_of(path) for path in self._paths]
        self._homes = [self._home(number) for number in range(len(self._paths))]
        self._found = [0] * len(self._paths)
        self.kept = pa.table({})

    def copies(self) -> pa.Table:
        """All copies, each with the number of its file."""
        empty = self._copies_in(self.table.schema.empty_table(), -1)
        return pa.concat_tables([empty, *map(self._read, range(len(self._paths)))])

    def keep(self, kept: pa.Table) -> None:
        """Decide which copies stay."""
        self.kept = kept.select([*self.identity, "file"])

    def keep_those_of(self, main: _Files) -> list[Entry]:
        """Let the copies stay that the main table has; return those whose files have another label."""
        wanted = main.kept.rename_columns([*self.identity, "main"])
        both = self.copies().join(wanted, self.identity, join_type="inner")
        ours, theirs = _taken(self._labels, both["file"]), _taken(main._labels, both["main"])
        both = both.append_column("label", ours).append_column("odd", pc.not_equal(ours, theirs))
        # the file with the label of the main table's file comes first
        stays = _first(both, [("odd", "ascending"), ("file", "ascending")], self.identity)
        self.keep(stays)
        odd = stays.filter(stays["odd"])
        pairs = zip(odd[self.table.owner].to_pylist(), odd["label"].to_pylist(), strict=True)
        return [(key, label, None) for key, label in pairs]

    def stage(self, staging: Staging) -> None:
        """Stage the files that lose rows, and labels of which both files have rows."""
        stays, slots = Counter(self.kept["file"].to_pylist()), Counter(self._labels)
        numbers: dict[str, list[int]] = {label: [] for label in self._labels}
        changed: set[str] = set()
        for number, (label, home) in enumerate(zip(self._labels, self._homes, strict=True)):
            numbers.setdefault(home, []).append(number)
            loses_rows = stays[number] < self._found[number]
            if loses_rows or slots[label] > 1 or label != home or not self._has_schema(number):
                changed |= {label, home}
        for label in sorted(changed):
            rows = pa.concat_tables([self._schema.empty_table(), *map(self._remaining, numbers[label])])
            staging.rewrite(self._folder, label, rows)

    def _has_schema(self, number: int) -> bool:
        """Whether a file has all columns; those of an older version may lack some."""
        return bool(pq.read_schema(self._paths[number]).equals(self._schema))

    def _home(self, number: int) -> str:
        """The label that the rows of a file belong to; only bookkeeping files are found by their names."""
        label = self._labels[number]
        if self.table.owner:
            return label
        names = [name for name in ("pipeline", "resource") if name in self.table.schema.names]
        home = label_of(self.table, files.read(self._paths[number], names).slice(0, 1).to_pylist()[0])
        return label if label.partition("+")[0] == home else home

    def _remaining(self, number: int) -> pa.Table:
        rows = files.conformed(files.read(self._paths[number]), self._schema)
        keys = _texts(rows.select(self.identity), self.identity)
        keys = keys.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
        kept = self.kept.filter(pc.equal(self.kept["file"], number)).select(self.identity)
        stays = keys.join(kept, self.identity, join_type="left semi")["row"]
        return rows.take(stays.take(pc.sort_indices(stays)))

    def _read(self, number: int) -> pa.Table:
        copies = self._copies_in(files.read(self._paths[number], [*self.identity, *self._order]), number)
        self._found[number] = copies.num_rows
        return copies

    def _copies_in(self, rows: pa.Table, number: int) -> pa.Table:
        texts = _texts(rows.select([*self.identity, *self._order]), self.identity)
        copies = texts.group_by(self.identity).aggregate([(name, "max") for name in self._order])
        copies = copies.rename_columns([*self.identity, *self._order])
        return copies.append_column("file", pa.array([number] * copies.num_rows, pa.int32()))


def _first(copies: pa.Table, order: Order, by: Iterable[str]) -> pa.Table:
    """The first row of each group, in an order; of equal rows the one of the first file."""
    ordered = copies.sort_by([*order, ("file", "ascending")])
    ordered = ordered.append_column("row", pa.array(range(ordered.num_rows), pa.int64()))
    rows = ordered.group_by(list(by)).aggregate([("row", "min")])["row_min"]
    return ordered.take(rows).drop_columns("row")


def _texts(rows: pa.Table, names: Iterable[str]) -> pa.Table:
    """The rows with some columns as texts, because a join finds no nulls."""
    for name in names:
        column = rows[name]
        text = column
        if pa.types.is_timestamp(column.type):  # in digits that sort like the times
            text = pc.utf8_lpad(column.cast(pa.int64()).cast(pa.string()), 20, "0")
        text = pc.fill_null(text.cast(pa.string()), "")
        rows = rows.set_column(rows.column_names.index(name), name, text)
    return rows


def _taken(labels: Sequence[str], numbers: pa.ChunkedArray) -> pa.Array:
    return pa.array(labels, pa.string()).take(numbers.combine_chunks())
