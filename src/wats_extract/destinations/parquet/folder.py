"""A folder of Parquet files, one folder a table: ``pl.scan_parquet("PATH/steps/*.parquet")`` reads it.

A commit is decided by one rename, see :mod:`wats_extract.destinations.parquet.journal`; how files change
under the eyes of their readers says :mod:`wats_extract.destinations.parquet.files`.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.journal import HOME, Journal, KeyChange, Staging, last_journal
from wats_extract.destinations.parquet.keys import Entry, KeyIndex, with_index
from wats_extract.destinations.parquet.waiting import Waiting, WaitingRows
from wats_extract.errors import DestinationError
from wats_extract.flow import Commit
from wats_extract.tables import TIMESTAMP, Table

T = TypeVar("T")

_LOCK_PATIENCE = 600.0
"""Seconds to wait for the commit of another pipeline in the same folder."""

_NAP_SECONDS = 0.2
"""How often it is looked whether that is over, and whether to stop."""

_HINTS = (
    (
        r"\.commit\.lock. could not be acquired",
        "another process has been committing into this folder for minutes; is it alive?",
    ),
    (r"Permission denied|Access is denied|Read-only file system", "make the folder and its files writable"),
    (
        r"No space left|not enough space|disk full|disk is full|disk I/O error|File too large",
        "make room on the disk and run again",
    ),
    (r"\+schema\.parquet", "prepare the destination before"),
)


ENOUGH_BYTES, ENOUGH_ITEMS = 16 * 2**20, 50_000
"""Rows (encoded), or items, that need not wait for more."""

_SCANNED_ROWS = 10_000
"""Rows of a batch that a scan gives, at most."""


def _nothing(_: str) -> None:
    """The ``on_step`` of everyday life."""


class Parquet:
    """A folder of Parquet files as a destination.

    A crash, also ``kill -9`` or a power cut, leaves whole files only, and either all of a commit or nothing
    of it: what the journal has decided is finished by the next :meth:`open` or :meth:`commit`.

    Readers need no lock and never see part of a file. While a commit gives its files their names (some
    milliseconds) they may see new rows of one table beside old ones of another, or an item in both versions.

    Several processes may commit into one folder; their commits wait for one another.

    Raises:
        DestinationError: from every method; the message names the folder and what was being done.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_step: Callable[[str], None] = _nothing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Remember where it is; nothing is touched before :meth:`open`.

        Args:
            path: The folder; it is created when it is missing.
            on_step: Is told the name of each step of a commit, so that tests can stop right there.
            clock: Seconds since 1970; says when retired files are old enough to go.

        Raises:
            DestinationError: ``path`` is a URL.
        """
        if "://" in str(path):
            raise DestinationError(
                f"{path}: the destination parquet writes to a folder, not to an object store",
                hint="write to a folder and synchronize it, or choose the destination delta",
            )
        self.path = Path(path).expanduser()
        self._home = self.path / HOME
        self._index = self._home / "keys.sqlite"
        self._on_step = on_step
        self._clock = clock
        self._read_only = True
        self._lock = threading.Lock()
        self._encodings = files.Encodings()
        self._schemas: dict[str, tuple[tuple[int, int, int], pa.Schema]] = {}
        self._waiting: Waiting | None = None
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None

    @property
    def place(self) -> str:
        """The path of the folder."""
        return str(self.path)

    def exclusive(self, pipeline: str, *, check=lambda: None, listen=lambda event: None):  # type: ignore[no-untyped-def]
        """Interim."""
        from wats_extract.state.lock import only_run

        return only_run(self.lock_path(pipeline), pipeline, check=check, listen=listen)

    def lock_path(self, pipeline: str) -> Path:
        """``_wats/PIPELINE.lock`` in the folder."""
        return self._home / f"{pipeline}.lock"

    # ── open and close ──────────────────────────────────────────────────────────────────────────

    def open(self, *, read_only: bool = False) -> None:
        """Finish a commit that a crash left in the journal, and remove what was staged in vain.

        Args:
            read_only: Create nothing and remove nothing. A commit that waits in the journal has happened,
                so it is finished here too, unless the folder cannot be written.
        """
        self._read_only, self._waiting = False, None
        with self._explaining("cannot be opened"):
            if read_only:
                self._finish_what_was_cut_off()
            else:
                self._home.mkdir(parents=True, exist_ok=True)
                with self._alone():
                    for leftover in self.path.glob("*/.*.tmp"):
                        leftover.unlink()
                    self._delete_retired()
        self._read_only = read_only

    def _finish_what_was_cut_off(self) -> None:
        journal = last_journal(self.path)
        staged = (
            (files.staged_path(self.path / name, journal.id) for name in journal.files) if journal else ()
        )
        if any(path.exists() for path in staged):
            with suppress(OSError, sqlite3.Error), self._alone():  # not ours to write: the next run does it
                return

    def close(self) -> None:
        """Close it, and forget what waits."""
        self._read_only, self._waiting = True, None

    # ── tables ──────────────────────────────────────────────────────────────────────────────────

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create the folder and the empty schema file of each table, so that it can be scanned at once.

        Where an older version had fewer columns all files of the table are written anew. Columns that only
        the files have stay, and are null in new rows.

        Raises:
            DestinationError: a column has another type, or a key column is missing. Nothing was changed.
        """
        with self._explaining("its tables cannot be prepared"), self._committing() as staging:
            for table in tables:
                self._prepare(table, staging)

    def _prepare(self, table: Table, staging: Staging) -> None:
        folder = self.path / table.name
        folder.mkdir(exist_ok=True)
        file = folder / files.SCHEMA_FILE
        example = file if file.exists() else min(folder.glob("*.parquet"), default=None)
        present = pq.read_schema(example) if example else table.schema
        wanted = self._united(table, present)
        if not wanted.equals(present):
            self._widen(folder, wanted, staging)
        if not wanted.equals(present) or example != file:
            staging.write(file, wanted.empty_table())

    def _united(self, table: Table, present: pa.Schema) -> pa.Schema:
        """The declared columns, and behind them those that only the files have."""
        for column in table.schema:
            found = present.field(column.name).type if column.name in present.names else None
            if found != column.type and not (found is None and column.nullable):
                raise DestinationError(
                    f"{self.place}: table {table.name}: column {column.name} is {found or 'missing'}, "
                    f"{column.type} is needed",
                    hint="give it its type back; or choose another folder, which is then filled anew",
                )
        return pa.schema([*table.schema, *(own for own in present if own.name not in table.schema.names)])

    def _widen(self, folder: Path, schema: pa.Schema, staging: Staging) -> None:
        for path in files.data_files(folder):
            rows = files.conformed(files.read(path), schema)
            if rows.num_rows:
                staging.move(folder, files.label_of(path), rows)
            elif files.live(folder, files.label_of(path)) is None:
                staging.write(path, rows, behind=path)

    # ── commit ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit, *, may_wait: bool = False) -> bool:
        """Make it durable by way of the journal, behind those that wait.

        New rows go to files that are named after the commit's label; those that waited, after the label of
        the first. Rows that were there under this label stay, but for those of the items that land again, so
        the same commit twice leaves the same tables.

        Args:
            commit: What to make durable.
            may_wait: Keep it in memory if all its rows are new, until there are :data:`ENOUGH_BYTES` or
                :data:`ENOUGH_ITEMS`.

        Raises:
            DestinationError: nothing of it is there, nor of those that have waited. But if the message says
                that it *is decided*, only publishing its files has failed, and the next :meth:`open` or
                :meth:`commit` does that.
        """
        if may_wait and not commit.replaced and commit.sweep_before is None and not _has_large_files(commit):
            waiting = self._wait(commit)
            if waiting.size < ENOUGH_BYTES and len(waiting.landed) < ENOUGH_ITEMS:
                self._on_step("waits")
                return False
            self.settle()
        else:
            self.settle()
            self._commit(commit)
        return True

    def _wait(self, commit: Commit) -> Waiting:
        """Keep a commit in memory; returns it with those that wait already."""
        if self._waiting is not None and not self._waiting.takes(commit):
            self.settle()
        waiting, self._waiting = self._waiting, None  # an error forgets them
        with self._explaining(f"commit {commit.label}"):
            waiting = waiting or self._nothing_yet(commit)
            waiting.add(commit)
        self._waiting = waiting
        return waiting

    def _nothing_yet(self, commit: Commit) -> Waiting:
        last = last_journal(self.path)
        rows = {
            table: WaitingRows(self.path / table.name, self._schema(table), self._encodings)
            for table in commit.rows
        }
        return Waiting(commit.label, rows, since=last.id if last else "")

    def settle(self) -> None:
        """Make durable what waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        with self._explaining(f"commit {waiting.label}"), self._committing() as staging:
            slots = {table: self._slots(table, waiting.label) for table in waiting.rows}
            taken = any(slot.exists() for both in slots.values() for slot in both)
            if taken or staging.previous != waiting.since:  # somebody may have landed the same items
                self._stage(self._decoded(waiting), staging)
                return
            for table, rows in waiting.rows.items():
                if encoded := rows.encoded():
                    staging.put(slots[table][0], encoded)
            parent = _parent(waiting.rows)
            if parent is not None:
                own = files.safe_label(waiting.label)
                staging.change = KeyChange(parent.name, parent.owner, parent.version, (), [own])
            self._book_all(waiting.book, staging)

    def _decoded(self, waiting: Waiting) -> Commit:
        """What waits, as a commit that replaces what is there by now."""
        parent = _parent(waiting.rows)
        keys = list(waiting.landed)
        there = self._ask(parent, lambda index: index.versions(parent.name, keys)) if parent else {}
        rows = {
            table: files.conformed(each.decoded(), table.schema).to_batches()
            for table, each in waiting.rows.items()
        }
        return Commit(waiting.label, rows, waiting.landed, frozenset(there), waiting.book)

    def _slots(self, table: Table, label: str) -> tuple[Path, Path]:
        return files.slots(self.path / table.name, files.safe_label(label))

    def _commit(self, commit: Commit) -> None:
        with self._explaining(f"commit {commit.label}"), self._committing() as staging:
            self._stage(commit, staging)

    def _stage(self, commit: Commit, staging: Staging) -> None:
        parent = _parent(commit.rows)
        holders = self._holders(commit, parent)
        for table, batches in commit.rows.items():
            rows = pa.Table.from_batches(batches, table.schema)
            changed = self._land(table, rows, commit, holders, staging)
            if table is parent:
                staging.change = _key_change(table, rows, commit, changed)
        self._book_all(commit.book, staging)

    def _holders(self, commit: Commit, parent: Table | None) -> set[str] | None:
        """Labels of the files with rows that go; ``None`` says that any may have some."""
        if commit.sweep_before is not None or (commit.replaced and parent is None):
            return None
        if parent is None or not commit.replaced:
            return set()
        return self._ask(parent, lambda index: index.labels(parent.name, sorted(commit.replaced)))

    def _land(
        self, table: Table, rows: pa.Table, commit: Commit, holders: set[str] | None, staging: Staging
    ) -> list[str]:
        """Stage the changes in one table's files; returns the labels, the commit's own first."""
        folder, own = self.path / table.name, files.safe_label(commit.label)
        changed = [own]
        for label in sorted((_labels(folder) if holders is None else holders) - {own}):
            rest = _rest(files.live(folder, label), table, commit)
            if rest is not None:
                staging.move(folder, label, rest)
                changed.append(label)
        fresh = files.conformed(rows, self._schema(table))
        earlier = _not_again(files.live(folder, own), table, rows, commit)
        staging.move(folder, own, _swept(pa.concat_tables([*earlier, fresh]), table, commit))
        return changed

    def _book_all(self, book: Mapping[Table, Sequence[Mapping[str, Any]]], staging: Staging) -> None:
        for table, rows in book.items():
            self._book(table, rows, staging)

    def _book(self, table: Table, rows: Sequence[Mapping[str, Any]], staging: Staging) -> None:
        """Stage bookkeeping rows: one file a pipeline and resource, or a run, so that each stays small."""
        folder, schema = self.path / table.name, self._schema(table)
        leaves: dict[str, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
        for row in rows:
            leaf = files.safe_label("-".join(str(row[name]) for name in table.key[:2]))
            leaves.setdefault(leaf, {})[tuple(row[name] for name in table.key)] = row
        for leaf, by_key in leaves.items():
            fresh = pa.Table.from_pylist(list(by_key.values()), schema=schema)
            path = files.live(folder, leaf)
            if path is not None:
                keys = fresh.select(list(table.key))
                rest = files.read(path).join(keys, keys=list(table.key), join_type="left anti")
                fresh = pa.concat_tables([files.conformed(rest, schema), fresh])
            staging.move(folder, leaf, fresh)

    def _schema(self, table: Table) -> pa.Schema:
        """What its files have, which another process may have widened."""
        file = self.path / table.name / files.SCHEMA_FILE
        stamp = file.stat()
        state = stamp.st_mtime_ns, stamp.st_ino, stamp.st_size
        before, schema = self._schemas.get(table.name, (None, None))
        if before != state:
            schema = pq.read_schema(file)
            self._schemas[table.name] = state, schema
        return schema

    # ── the journal ─────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _alone(self) -> Iterator[Journal | None]:
        """Keep other processes out, and finish what a crash left behind; yields the last journal."""
        if self._read_only:
            raise DestinationError(f"{self.place}: is not open for writing")
        with self._locked():
            journal = last_journal(self.path)
            self._finish(journal)
            yield journal

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until no other process commits, for minutes at most."""
        lock = filelock.FileLock(self._home / ".commit.lock")
        deadline = time.monotonic() + _LOCK_PATIENCE
        with self._lock:  # the threads of this process go on at once, without looking again and again
            while not lock.is_locked:
                try:
                    lock.acquire(timeout=_NAP_SECONDS)
                except filelock.Timeout:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise
                    self.while_waiting(f"another process commits into {self.place}", left)
            try:
                yield
            finally:
                lock.release()

    @contextmanager
    def _committing(self) -> Iterator[Staging]:
        """What is staged within becomes durable at the end, or nothing of it."""
        with self._alone() as last:
            staging = Staging(self.path, self._encodings, previous=last.id if last else "")
            try:
                yield staging
                journal = staging.sealed()
                self._on_step("staged")
            except BaseException:
                staging.discard()
                raise
            if journal is not None:
                journal.publish(self.path)
                self._on_step("journalled")
                with self._explaining("the commit is decided, its files are not all published yet"):
                    self._finish(journal)
                    self._delete_retired()

    def _finish(self, journal: Journal | None) -> None:
        """Publish the journal's files and let the index follow, unless that is done."""
        followed = with_index(self._index, lambda index: index.journal)
        if journal is None and followed:
            with_index(self._index, lambda index: index.forget(journal=""))
        if journal is not None and followed != journal.id:
            journal.apply(self.path, self._on_step)
            now = self._clock()
            with_index(self._index, lambda index: index.follow(journal, entries=self._entries, now=now))
            self._on_step("indexed")

    def _delete_retired(self) -> None:
        """Delete files without rows that no reader can need any more."""
        before = self._clock() - files.GRACE
        names = with_index(self._index, lambda index: index.retired_before(before))
        for path in (self.path / name for name in names):
            if path.exists() and not files.row_count(path):
                path.unlink()
        if names:
            with_index(self._index, lambda index: index.deleted(names))

    # ── questions ───────────────────────────────────────────────────────────────────────────────

    def landed(
        self,
        table: Table,
        keys: Sequence[str],
        *,
        versions: tuple[int, int] | None = None,  # noqa: ARG002 - an index answers for all alike
        waiting: bool = False,
    ) -> dict[str, int | None]:
        """Which of ``keys`` own rows in ``table``, with their (latest) version.

        The parent table of a resource answers from its index, any other table reads its files.
        """
        if waiting and self._waiting is not None and table in self._waiting.rows:
            wait = self._waiting.landed
            return self.landed(table, keys) | {key: wait[key] for key in keys if key in wait}
        if not keys or not (self.path / table.name).is_dir():
            return {}
        with self._explaining(f"table {table.name} cannot be read"):
            if self._read_only or not _is_parent(table):
                return self._landed_by_reading(table, set(keys))
            with self._alone():
                return self._ask(table, lambda index: index.versions(table.name, list(keys)))

    def _landed_by_reading(self, table: Table, keys: set[str]) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for key, _, version in self._entries(self._all_of(table)):
            if key in keys:
                found[key] = max((v for v in (version, found.get(key)) if v is not None), default=None)
        return found

    def _ask(self, parent: Table, question: Callable[[KeyIndex], T]) -> T:
        """Ask the key index, which first takes in all keys of the table if it does not know them."""

        def answer(index: KeyIndex) -> T:
            if not index.covers(parent.name):
                index.cover(parent.name, self._entries(self._all_of(parent)))
            return question(index)

        return with_index(self._index, answer)

    def _all_of(self, table: Table) -> KeyChange:
        labels = sorted(_labels(self.path / table.name))
        return KeyChange(table.name, table.owner, table.version, dropped=(), labels=labels)

    def _entries(self, change: KeyChange) -> Iterator[Entry]:
        """The keys in the files of these labels, read piece by piece."""
        for label in change.labels:
            path = files.live(self.path / change.table, label)
            if path is not None:
                yield from ((key, label, version) for key, version in _keys_in(path, change))

    def read(self, table: Table, **equal: str) -> pa.Table:
        """All rows, or those whose columns equal the given texts, in the order of their key."""
        paths = [str(path) for path in (self.path / table.name).glob("*.parquet")]
        wanted = pc.scalar(True)
        for name, text in equal.items():
            wanted = wanted & (pc.field(name) == text)
        with self._explaining(f"table {table.name} cannot be read"):
            if not paths:
                return table.schema.empty_table()
            rows = ds.dataset(paths, schema=table.schema, format="parquet").to_table(filter=wanted)
            return rows.sort_by([(name, "ascending") for name in table.key])

    def scan(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, in no order, batch by batch; nothing where there is no such table."""
        with self._explaining(f"table {table.name} cannot be read"):
            for path in files.data_files(self.path / table.name):
                dataset = ds.dataset([str(path)], schema=table.schema, format="parquet")
                yield from dataset.to_batches(columns=list(columns), batch_size=_SCANNED_ROWS)

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Rows by table name; tables that do not exist are left out."""
        with self._explaining("its tables cannot be counted"):
            return {
                table.name: sum(map(files.row_count, (self.path / table.name).glob("*.parquet")))
                for table in tables
                if (self.path / table.name).is_dir()
            }

    @contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        """The one place where the errors of Arrow, SQLite and the file system become ours."""
        try:
            yield
        except (pa.ArrowException, sqlite3.Error, OSError) as error:
            raise DestinationError(f"{self.place}: {doing}: {error}", hint=_hint(str(error))) from error


def _has_large_files(commit: Commit) -> bool:
    """Whether there is so much in it (attachments) that it goes to the disk at once."""
    holding = (batches for table, batches in commit.rows.items() if _holds_files(table))
    size: int = sum(batch.nbytes for batches in holding for batch in batches)
    return size >= ENOUGH_BYTES


@cache
def _holds_files(table: Table) -> bool:
    return any(pa.types.is_binary(kind) for kind in table.schema.types)


def _is_parent(table: Table) -> bool:
    """Whether the table has one row an item; the files of its children have the same labels."""
    return table.key == (table.owner,)


def _parent(tables: Iterable[Table]) -> Table | None:
    return next((table for table in tables if _is_parent(table)), None)


def _labels(folder: Path) -> set[str]:
    return {files.label_of(path) for path in files.data_files(folder)}


def _key_change(table: Table, rows: pa.Table, commit: Commit, changed: Sequence[str]) -> KeyChange:
    gone = commit.replaced | (commit.landed.keys() - _texts(rows[table.owner]))
    swept = commit.sweep_before is not None
    labels = changed if swept else changed[:1]
    return KeyChange(table.name, table.owner, table.version, sorted(gone), labels, swept)


def _keys_in(path: Path, change: KeyChange) -> Iterator[tuple[str, int | None]]:
    columns = [change.owner, change.version] if change.version else [change.owner]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            keys = batch[change.owner].cast(pa.string()).to_pylist()
            versions = batch[change.version].to_pylist() if change.version else [None] * len(keys)
            yield from zip(keys, versions, strict=True)


# ── which rows stay ─────────────────────────────────────────────────────────────────────────────


def _rest(path: Path | None, table: Table, commit: Commit) -> pa.Table | None:
    """What stays of a file beside the commit's own; ``None`` if that is all of it."""
    if path is None or not (commit.replaced or _has_older(path, commit.sweep_before)):
        return None
    rows = files.read(path)
    rest = _swept(_without(rows, table, commit.replaced), table, commit)
    return rest if rest.num_rows < rows.num_rows else None


def _not_again(path: Path | None, table: Table, rows: pa.Table, commit: Commit) -> list[pa.Table]:
    """What stays of the commit's own file: the rows of items that do not land again."""
    if path is None or not table.owner:
        return []
    again = commit.replaced | commit.landed.keys() | _texts(rows[table.owner])
    return [_without(files.read(path), table, again)]


def _without(rows: pa.Table, table: Table, keys: frozenset[str]) -> pa.Table:
    if not keys or not table.owner:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows[table.owner], table.owners(sorted(keys)))))


def _texts(keys: pa.ChunkedArray) -> set[str]:
    """Keys as text, as items carry them."""
    return set(keys.cast(pa.string()).to_pylist())


def _swept(rows: pa.Table, table: Table, commit: Commit) -> pa.Table:
    if commit.sweep_before is None:
        return rows
    stays = pc.greater_equal(rows["_wats_extracted_at"], pa.scalar(commit.sweep_before, TIMESTAMP))
    if commit.kept:
        stays = pc.or_(stays, pc.is_in(rows[table.owner], table.owners(sorted(commit.kept))))
    return rows.filter(stays)


def _has_older(path: Path, before: datetime | None) -> bool:
    """Whether a file may have rows from before, by the statistics in its footer."""
    if before is None:
        return False
    footer = pq.read_metadata(path)
    column = footer.schema.names.index("_wats_extracted_at")
    statistics = [
        footer.row_group(number).column(column).statistics for number in range(footer.num_row_groups)
    ]
    return any(not known or not known.has_min_max or known.min < before for known in statistics)


def _hint(message: str) -> str:
    return next((hint for pattern, hint in _HINTS if re.search(pattern, message, re.IGNORECASE)), "")
