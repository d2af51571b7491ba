"""Atomic changes to a Parquet folder, one at a time across threads and processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import filelock

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.explaining import explaining
from wats_extract.destinations.parquet.journal import HOME, Journal, Staging, last_journal, own_file
from wats_extract.destinations.parquet.keys import KeyIndex, with_index
from wats_extract.destinations.parquet.lookup import Lookup
from wats_extract.destinations.places import is_link, own_folder
from wats_extract.errors import DestinationError

T = TypeVar("T")

_LOCK_SECONDS = 600.0
"""Maximum wait for a commit of another pipeline into the same folder."""

_POLL_SECONDS = 0.2

_ATTEMPTS = 50
"""Maximum number of attempts to read between two commits."""

_PUBLISHING_SECONDS = 0.01
"""Seconds between two looks at a commit that is being published, which takes some milliseconds."""


class Transactions:
    """Runs transactions on a folder, and recovers one that a crash has interrupted.

    Args:
        root: The folder of the destination.
        on_step: Called with the name of each step.
        clock: Seconds since 1970; decides when retired files are deleted.

    Attributes:
        lookup: Looks up items; use it within a transaction or :meth:`locked`.
        writable: Whether transactions are allowed.
    """

    def __init__(self, root: Path, *, on_step: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._root, self._home = root, root / HOME
        self._index = self._home / "keys.sqlite"
        self._on_step, self._clock = on_step, clock
        self._encodings = files.Encodings()
        self._lock = threading.Lock()
        self._applied: Journal | None = None  # the last one since the folder was opened
        self.lookup = Lookup(root, self._index)
        self.writable = False
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None

    @contextmanager
    def transaction(self) -> Iterator[Staging]:
        """Publish the files that the block stages, all together; none of them after an error.

        Raises:
            DestinationError: If the message says that the commit *is decided*, only publishing its files has
                failed, and the next transaction or :meth:`open` repeats that.
        """
        self._require_writable()
        with self._recovered() as last, self._published(last) as staging:
            yield staging

    @contextmanager
    def _published(self, last: Journal | None) -> Iterator[Staging]:
        staging = Staging(self._root, self._encodings, previous=last)
        try:
            yield staging
            journal = staging.sealed()
            self._on_step("staged")
        except BaseException:
            staging.discard()
            raise
        if journal is not None:
            journal.publish(self._root)
            self._on_step("journaled")
            with explaining(self._root, "the commit is decided, but not all files are published yet"):
                self._finish(journal)

    def look_through(
        self, names: Sequence[str], stage: Callable[[Staging], Callable[[KeyIndex], None]]
    ) -> None:
        """Look through the files of some tables, unless they are those of the last commit.

        Args:
            names: The tables. The index forgets them first, so that a crash in between changes nothing.
            stage: Stages what has to change, and returns a function that adds the tables to the index.
        """
        self._require_writable()
        with self._recovered() as last:
            recorded = with_index(self._index, lambda index: [index.listing(name) for name in names])
            if recorded == [files.listing(self._root, name) for name in names]:
                return
            with_index(self._index, lambda index: index.forget_tables(names))
            with self._published(last) as staging:
                add = stage(staging)

            def record(index: KeyIndex) -> None:
                add(index)
                for name in names:
                    index.has_looked_through(name, files.listing(self._root, name))

            with_index(self._index, record)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from committing, with the last commit published and indexed."""
        self._require_writable()
        with self._recovered():
            yield

    def between_commits(self, read: Callable[[], T]) -> T:
        """Read files without a lock, and again if a commit has changed them in the meantime.

        A file that was listed may be deleted, and rows that move to another file may be seen twice or not at
        all. If every attempt is disturbed, the last one counts.

        Args:
            read: Lists and reads files.
        """
        for _ in range(_ATTEMPTS):
            before = last_journal(self._root)
            if before is not None and before.is_unfinished(self._root):
                time.sleep(_PUBLISHING_SECONDS)
                continue
            with suppress(FileNotFoundError):
                found = read()
                if last_journal(self._root) == before:
                    return found
        return read()

    def open(self, *, read_only: bool) -> None:
        """Finish an interrupted commit.

        Args:
            read_only: Allow no transactions, and leave the interrupted commit to the next run if the folder
                is not writable. Otherwise, also delete stale staging files and old retired files.
        """
        self._applied = None
        self.refuse_links()
        if read_only:
            self._recover_if_possible()
        else:
            self._recover()
        self.writable = not read_only

    def close(self) -> None:
        """Sync the names of the last files to disk, and allow no transactions any more."""
        if self._applied is not None:
            files.sync_all((), self._applied.folders(self._root))
        self._applied, self.writable = None, False

    def refuse_links(self) -> None:
        """Refuse a folder whose journal, index or locks are elsewhere: they would be changed there."""
        home = own_folder(self._root, HOME)
        for path in home.iterdir() if home.is_dir() else ():
            if is_link(path):
                raise DestinationError(
                    f"{path} is a link, and what it leads to is not changed", hint="delete the link"
                )

    def _recover(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        with self._recovered():
            for folder in self._root.iterdir():
                if folder.is_dir() and not is_link(folder):
                    for leftover in filter(files.is_staged, folder.iterdir()):
                        leftover.unlink()
            self._delete(with_index(self._index, self._expired))

    def _recover_if_possible(self) -> None:
        journal = last_journal(self._root)
        if journal is not None and journal.is_unfinished(self._root):
            with suppress(OSError, sqlite3.Error), self._recovered():
                return

    def _require_writable(self) -> None:
        if not self.writable:
            raise DestinationError(f"{self._root}: is not open for writing")

    @contextmanager
    def _recovered(self) -> Iterator[Journal | None]:
        with self._exclusive():
            journal = last_journal(self._root)
            self._repeat(journal)
            yield journal

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        lock = filelock.FileLock(self._home / ".commit.lock")
        deadline = time.monotonic() + _LOCK_SECONDS
        with self._lock:  # threads of this process need not poll the file lock
            while not lock.is_locked:
                try:
                    lock.acquire(timeout=_POLL_SECONDS)
                except filelock.Timeout:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise
                    self.while_waiting(f"another process commits into {self._root}", left)
            try:
                yield
            finally:
                lock.release()

    def _repeat(self, journal: Journal | None) -> None:
        """Repeat the steps of the last journal that a crash has interrupted or undone."""
        indexed = with_index(self._index, lambda index: index.journal)
        if journal is None:
            if indexed:
                with_index(self._index, lambda index: index.forget(journal=""))
            return
        if indexed != journal.id:
            self._finish(journal)
        elif self._applied != journal and journal.is_unfinished(self._root):
            journal.apply(self._root, self._on_step)

    def _finish(self, journal: Journal) -> None:
        """Publish the files of a journal, update the index, and delete old retired files."""
        journal.apply(self._root, self._on_step)
        self._applied = journal

        def update(index: KeyIndex) -> list[str]:
            states = files.states(self._root, journal.files)
            index.follow(journal, entries=self.lookup.entries, states=states, now=self._clock())
            return self._expired(index)

        expired = with_index(self._index, update)
        self._on_step("indexed")
        self._delete(expired)

    def _expired(self, index: KeyIndex) -> list[str]:
        """The retired files whose grace period is over."""
        return index.retired_before(self._clock() - files.GRACE)

    def _delete(self, retired: Sequence[str]) -> None:
        for path in (own_file(self._root, name) for name in retired):
            if path.exists() and not files.row_count(path):
                path.unlink()
        if retired:
            with_index(self._index, lambda index: index.deleted(retired))
