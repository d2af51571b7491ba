"""A write buffer in front of a destination: several small commits become one large one.

A commit has a fixed cost: files to sync, row groups that are not full. A chunk of 200 reports is too small to
pay for it. The buffer holds chunks in memory, for a few seconds at most, and commits them together: rows,
failures and cursors of all of them, or none. A killed process fetches the buffered chunks again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.errors import OutOfMemory
from wats_extract.flow import Book, Commit, Destination
from wats_extract.tables import Table

R = TypeVar("R")

MAX_ROWS = 50_000
"""The buffer is flushed when it has this many rows of the main table."""

MAX_BYTES = 32 * 2**20
"""The buffer is flushed when it has this many bytes of Arrow data; see docs/decisions/0013."""


class WriteBuffer(Generic[R]):
    """Buffers commits until they are flushed to the destination in one commit.

    The buffer is flushed when it reaches one of its bounds. Items are never buffered twice: a commit with a
    key that is buffered already causes a flush first. A commit with ``sweep_except`` is flushed on its own.
    Flushing at any points leaves the same tables as one commit at a time, provided that each commit names in
    ``replaced`` the items that exist, or is an ``upsert``.

    One thread adds and flushes; other threads may call :meth:`landed`.

    A commit that does not fit into memory is divided by items, down to a single one. Its bookkeeping rows
    follow in a commit of their own, so that no cursor is durable before its rows.

    Args:
        destination: Where commits are made.
        on_durable: Called with the receipts of commits that have become durable, in the order in which they
            were added.
        on_refused: Called with the receipt, the key and the rows by table of an item that does not fit into
            memory alone. It returns the receipt without the item, and bookkeeping rows that record a failure.
            Without it, no commit is divided.
        max_rows: Rows of the main table (the first table of a commit) at which the buffer is flushed.
        max_bytes: Bytes of Arrow data in all tables at which the buffer is flushed.
        max_seconds: Age of the oldest buffered commit at which the buffer is flushed. Checked when a commit
            is added.
        idle_seconds: Seconds without a new commit after which :meth:`flush_if_idle` flushes.
        clock: Seconds from any starting point.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        on_durable: Callable[[Sequence[R]], None],
        on_refused: Callable[[R, str, Mapping[str, int]], tuple[R, Book]] | None = None,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = 5.0,
        idle_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destination = destination
        self._on_durable, self._on_refused = on_durable, on_refused
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._max_seconds, self._idle_seconds = max_seconds, idle_seconds
        self._clock = clock
        self._buffered: _Merged[R] = _Merged()
        self._lock = threading.Lock()  # held while the buffer changes, not while it is flushed

    def add(self, commit: Commit, receipt: R) -> None:
        """Buffer a commit, and flush if that fills the buffer. After an error nothing is buffered.

        Args:
            commit: The commit.
            receipt: Passed to ``on_durable`` once the commit is durable.
        """
        try:
            size = _size_of(commit)
            is_large = size >= self._max_bytes  # its failure should take no others down
            if is_large or not self._buffered.can_take(commit):
                self.flush()
            now = self._clock()
            with self._lock:
                self._buffered.add(commit, receipt, now, size=size)
            if commit.sweep_except is not None or self._is_full(now):
                self.flush()
        except BaseException:
            self.discard()
            raise

    def flush(self) -> None:
        """Make everything that is buffered durable, in one commit. After an error nothing is buffered."""
        buffered = self._buffered
        if not buffered.receipts:
            return
        try:
            receipts = self._committed(buffered)
        finally:
            self.discard()
        self._on_durable(receipts)

    def _committed(self, buffered: _Merged[R]) -> Sequence[R]:
        """Commit what is buffered, in parts if it does not fit into memory; return the receipts."""
        whole = buffered.commit()
        if self._on_refused is None or not whole.landed or not all(table.owner for table in whole.rows):
            self._destination.commit(whole)
            return buffered.receipts
        if self._fits(lambda: whole):
            return buffered.receipts
        book = dict(whole.book)
        receipts = list(buffered.receipts)
        for key in self._divided(whole, list(whole.landed), whole.label):
            place = buffered.places[key]
            lost = {table.name: _rows_of(whole, table, [key]).num_rows for table in whole.rows}
            receipts[place], more = self._on_refused(receipts[place], key, lost)
            for table, rows in more.items():
                book[table] = table.booked(book.get(table, ()), rows)
        self._destination.commit(Commit(f"{whole.label}-book", {}, {}, frozenset(), book))
        return receipts

    def _divided(self, whole: Commit, keys: list[str], label: str) -> list[str]:
        """Commit the rows of items that do not fit into memory together; return those that do not fit alone.

        Args:
            whole: The commit that has them.
            keys: The items.
            label: The label of their commit.
        """
        if len(keys) == 1:
            return keys
        refused: list[str] = []
        half = len(keys) // 2
        for name, some in (("a", keys[:half]), ("b", keys[half:])):
            part = f"{label}-{name}"
            if not self._fits(partial(_part, whole, some, part)):
                refused += self._divided(whole, some, part)
        return refused

    def _fits(self, commit: Callable[[], Commit]) -> bool:
        """Build and make a commit; whether it fits into memory."""
        try:
            self._destination.commit(commit())
        except (OutOfMemory, MemoryError):
            return False
        return True

    def flush_if_idle(self) -> None:
        """Flush if no commit was added for a while."""
        if self._buffered.receipts and self._clock() - self._buffered.last_added >= self._idle_seconds:
            self.flush()

    def landed(
        self, table: Table, keys: Sequence[str], *, versions: tuple[int, int] | None = None
    ) -> dict[str, int | None]:
        """Return which of ``keys`` have a durable or a buffered row in ``table``: key → latest version.

        Args:
            table: The table.
            keys: Keys of items.
            versions: As for :meth:`wats_extract.flow.Destination.landed`.
        """
        # The buffer first: what leaves it in the meantime is durable, and found by the destination.
        with self._lock:
            batches = self._buffered.batches(table)
            deleted = self._buffered.deleted(table, keys)
        found = self._destination.landed(table, keys, versions=versions)
        found = {key: version for key, version in found.items() if key not in deleted}
        for key, version in _versions_in(batches, table, keys).items():
            found[key] = _later(version, found.get(key))
        return found

    def discard(self) -> None:
        """Forget everything that is buffered."""
        with self._lock:
            self._buffered = _Merged()

    def _is_full(self, now: float) -> bool:
        buffered = self._buffered
        return (
            buffered.row_count >= self._max_rows
            or buffered.byte_count >= self._max_bytes
            or now - buffered.first_added >= self._max_seconds
        )


class _Merged(Generic[R]):
    """Several commits, merged into one.

    Attributes:
        receipts: One per commit.
        places: The receipt of each item, by its place in ``receipts``.
        row_count: Rows of the main table.
        byte_count: Bytes of Arrow data in all tables.
        first_added: When the first commit was added.
        last_added: When the last commit was added.
    """

    def __init__(self) -> None:
        self.receipts: list[R] = []
        self.places: dict[str, int] = {}
        self.row_count = self.byte_count = 0
        self.first_added = self.last_added = 0.0
        self._last: Commit | None = None  # with rows, if there is one
        self._label = ""
        self._rows: dict[Table, list[pa.RecordBatch]] = {}
        self._landed: dict[str, int | None] = {}
        self._replaced: set[str] = set()
        self._book: dict[Table, list[Mapping[str, Any]]] = {}

    def can_take(self, commit: Commit) -> bool:
        """Whether merging a commit leaves the same tables as making it afterwards."""
        if self._last is None:
            return True
        if commit.sweep_except is not None:
            return False
        if not commit.rows or not self._rows:
            return True
        # replaced items are deleted from every table of the merged commit, so these must be the same
        return (
            commit.rows.keys() == self._rows.keys()
            and commit.upsert == self._last.upsert
            and commit.thorough == self._last.thorough
            and commit.keeps_unchanged == self._last.keeps_unchanged
            and self._landed.keys().isdisjoint(commit.landed)
        )

    def add(self, commit: Commit, receipt: R, now: float, *, size: int) -> None:
        """Merge a commit, and remember its receipt."""
        if not self.receipts:
            self.first_added = now
        self.last_added = now
        self.receipts.append(receipt)
        if not self._rows:
            self._label, self._last = commit.label, commit
        if commit.rows:
            self._landed.update(commit.landed)
            self.places.update(dict.fromkeys(commit.landed, len(self.receipts) - 1))
            self._replaced |= commit.replaced
        self.byte_count += size
        main = next(iter(commit.rows.values()), ())
        self.row_count += sum(batch.num_rows for batch in main)
        for table, batches in commit.rows.items():
            self._rows.setdefault(table, []).extend(batches)
        for table, booked in commit.book.items():
            self._book[table] = table.booked(self._book.get(table, ()), booked)

    def commit(self) -> Commit:
        """The merged commit. It is called after the first commit that has rows."""
        assert self._last is not None
        return Commit(
            label=self._label,
            rows=self._rows,
            landed=self._landed,
            replaced=frozenset(self._replaced),
            book=self._book,
            sweep_except=self._last.sweep_except,
            kept=self._last.kept,
            upsert=self._last.upsert,
            thorough=self._last.thorough,
            keeps_unchanged=self._last.keeps_unchanged,
        )

    def batches(self, table: Table) -> list[pa.RecordBatch]:
        """The rows of a table."""
        return list(self._rows.get(table, ()))

    def deleted(self, table: Table, keys: Sequence[str]) -> set[str]:
        """Those of ``keys`` whose durable rows in a table the merged commit deletes."""
        if table not in self._rows:
            return set()
        upsert = self._last is not None and self._last.upsert
        return {key for key in keys if key in self._replaced or (upsert and key in self._landed)}


def _size_of(commit: Commit) -> int:
    return sum(batch.nbytes for batches in commit.rows.values() for batch in batches)


def _rows_of(commit: Commit, table: Table, keys: Sequence[str]) -> pa.Table:
    """The rows of some items in a table."""
    rows = pa.Table.from_batches(commit.rows[table], table.schema)
    return rows.filter(pc.is_in(rows[table.owner], table.owners(keys)))


def _part(whole: Commit, keys: Sequence[str], label: str) -> Commit:
    """The commit of some items, without bookkeeping rows."""
    return replace(
        whole,
        label=label,
        rows={table: _rows_of(whole, table, keys).to_batches() for table in whole.rows},
        landed={key: whole.landed[key] for key in keys},
        replaced=whole.replaced.intersection(keys),
        book={},
    )


def _versions_in(
    batches: Sequence[pa.RecordBatch], table: Table, keys: Sequence[str]
) -> dict[str, int | None]:
    if not batches:
        return {}
    rows = pa.Table.from_batches(batches)
    rows = rows.filter(pc.is_in(rows[table.owner], table.owners(keys)))
    owners = rows[table.owner].cast(pa.string()).to_pylist()
    versions = rows[table.version].to_pylist() if table.version else [None] * len(owners)
    found: dict[str, int | None] = {}
    for key, version in zip(owners, versions, strict=True):
        found[key] = _later(version, found.get(key))
    return found


def _later(version: int | None, other: int | None) -> int | None:
    return max((each for each in (version, other) if each is not None), default=None)
