"""The Parquet destination: a folder of Parquet files per table.

``pl.scan_parquet("PATH/steps/*.parquet")`` reads a table. The write-ahead journal
(:mod:`wats_extract.destinations.parquet.journal`) makes commits atomic, and files change in a way that does
not disturb their readers (:mod:`wats_extract.destinations.parquet.files`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wats_extract import events
from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.bookkeeping import is_history
from wats_extract.destinations.parquet.commit import CommitStager
from wats_extract.destinations.parquet.explaining import explaining
from wats_extract.destinations.parquet.journal import HOME, Staging
from wats_extract.destinations.parquet.keys import KeyIndex
from wats_extract.destinations.parquet.restored import stage_each_row_once
from wats_extract.destinations.parquet.schemas import Schemas
from wats_extract.destinations.parquet.transactions import Transactions
from wats_extract.destinations.places import local_path
from wats_extract.flow import Commit
from wats_extract.shred.instants import only_in_calendar
from wats_extract.state.lock import PipelineLocks, Sighting
from wats_extract.tables import Table


class Parquet:
    """A folder of Parquet files as a destination.

    After a crash, even ``kill -9`` or a power cut, there are whole files only, and either all of a commit or
    nothing of it. A commit that the journal has decided is finished by the next :meth:`open` or
    :meth:`commit`.

    Readers need no lock and never see part of a file. While a commit renames its files, for some
    milliseconds, readers may see new rows of one table next to old rows of another, or both versions of an
    item.

    Several processes may commit into one folder; their commits wait for each other.

    Raises:
        DestinationError: from every method; the message names the folder and the operation.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_step: Callable[[str], None] = lambda step: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Store the settings; the folder is not touched before :meth:`open`.

        Args:
            path: The folder. It is created if it is missing.
            on_step: Called with the name of each step of a commit, so that tests can stop there.
            clock: Seconds since 1970; decides when retired files are deleted.

        Raises:
            DestinationError: ``path`` begins with a scheme, such as ``s3:``.
        """
        self.path = local_path(path)
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None
        self._listen: events.Listener = events.nobody
        self._schemas = Schemas(self.path)
        self._transactions = Transactions(self.path, on_step=on_step, clock=clock)
        self._stager = CommitStager(self.path, self._schemas, self._transactions.lookup)
        self._locks = PipelineLocks(lambda name: self.path / HOME / f"{name}.lock")

    @property
    def place(self) -> str:
        """The path of the folder."""
        return str(self.path)

    # ── one run at a time ───────────────────────────────────────────────────────────────────────

    def exclusive(
        self,
        pipeline: str,
        *,
        check: Callable[[], None] = lambda: None,
        listen: events.Listener = events.nobody,
    ) -> AbstractContextManager[None]:
        """Hold the lock ``_wats/PIPELINE.lock`` in the folder."""
        with explaining(self.path, "cannot be opened"):
            self._transactions.refuse_links()
        self._listen = listen
        return self._locks.exclusive(pipeline, check=check, listen=listen)

    def holder(self, pipeline: str) -> Sighting | None:
        """Which process holds the pipeline's lock, or ``None``."""
        return self._locks.holder(pipeline)

    # ── open, prepare, close ────────────────────────────────────────────────────────────────────

    def open(self, *, read_only: bool = False) -> None:
        """Finish an interrupted commit, and delete stale staging files.

        Args:
            read_only: Create and delete nothing. A commit that the journal has decided is finished even then,
                unless the folder is not writable.
        """
        self._transactions.while_waiting = lambda reason, seconds: self.while_waiting(reason, seconds)
        with explaining(self.path, "cannot be opened"):
            self._transactions.open(read_only=read_only)
        self._stager.opened()

    def close(self) -> None:
        """Close the folder."""
        with explaining(self.path, "cannot be closed"):
            self._transactions.close()

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create the folder and the schema file of each table, so that it can be scanned at once.

        If an older version had fewer columns, all files of the table are rewritten. Columns that only the
        files have are kept; new rows have nulls in them.

        Raises:
            DestinationError: A column has another type, or a key column is missing. Nothing was changed.
        """
        with (
            explaining(self.path, "cannot prepare the tables"),
            self._transactions.transaction() as staging,
        ):
            for table in tables:
                self._schemas.prepare(table, staging)

    def reconcile(self, tables: Sequence[Table], *, append: bool = False) -> None:
        """Drop rows that are there twice, if the files are not those of the last commit.

        That takes about 100 bytes of memory per item. Otherwise this only compares names, sizes and times.
        """

        def stage(staging: Staging) -> Callable[[KeyIndex], None]:
            lookup = self._transactions.lookup
            add = stage_each_row_once(
                self.path, tables, append=append, schemas=self._schemas, staging=staging, lookup=lookup
            )
            if staging:
                text = "another program has changed the files; rows that were there twice are removed"
                self._listen(events.Noted(f"{self.path / tables[0].name}: {text}"))
            return add

        with explaining(self.path, f"cannot compare the files of table {tables[0].name}"):
            self._transactions.look_through([table.name for table in tables], stage)

    # ── commit ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit) -> None:
        """Write a commit by way of the journal, in files that are named after its label.

        The same commit twice leaves the same tables.

        Raises:
            DestinationError: Nothing of the commit is durable. But if the message says that the commit *is
                decided*, only publishing its files has failed, and the next :meth:`open` or :meth:`commit`
                repeats that.
        """
        self._locks.check()
        with (
            explaining(self.path, f"commit {commit.label}"),
            self._transactions.transaction() as staging,
        ):
            self._stager.stage(commit, staging)

    # ── queries ─────────────────────────────────────────────────────────────────────────────────

    def landed(
        self,
        table: Table,
        keys: Sequence[str],
        *,
        versions: tuple[int, int] | None = None,  # noqa: ARG002 - the index is as fast without
    ) -> dict[str, int | None]:
        """Return which of ``keys`` own rows in ``table``: key → latest version."""
        if not keys or not (self.path / table.name).is_dir():
            return {}
        lookup = self._transactions.lookup
        with explaining(self.path, f"cannot read table {table.name}"):
            if not self._transactions.writable:
                return self._transactions.between_commits(lambda: lookup.versions_without_index(table, keys))
            with self._transactions.locked():
                return lookup.versions(table, keys)

    def read(self, table: Table, **equal: str) -> pa.Table:
        """Return the rows whose columns equal the given texts, ordered by key.

        Timestamps outside the years 1 to 9999, which other programs may have written, are null.
        """
        wanted = pc.scalar(True)
        for name, text in equal.items():
            wanted = wanted & (pc.field(name) == text)

        def rows() -> pa.Table:
            paths = [
                str(path)
                for path in (self.path / table.name).glob("*.parquet")
                if not (equal.get("status") in table.active and is_history(path))
            ]
            if not paths:
                return table.schema.empty_table()
            return ds.dataset(paths, schema=table.schema, format="parquet").to_table(filter=wanted)

        with explaining(self.path, f"cannot read table {table.name}"):
            found = self._transactions.between_commits(rows)
            return only_in_calendar(found.sort_by([(name, "ascending") for name in table.key]))

    def scan(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        batch_rows: int = 10_000,
        least: tuple[str, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Iterate over some columns of all rows, or of those with a least value, in no order."""
        wanted = pc.field(least[0]) >= least[1] if least else None
        with explaining(self.path, f"cannot read table {table.name}"):
            folder = self.path / table.name
            for label in sorted(files.labels(folder)):
                for file in files.opened(folder, label):
                    with file:
                        fragment = ds.ParquetFileFormat().make_fragment(file)
                        batches = fragment.to_batches(
                            schema=table.schema, columns=list(columns), filter=wanted, batch_size=batch_rows
                        )
                        yield from map(only_in_calendar, batches)

    def largest(self, table: Table, column: str) -> int | None:
        """Return the largest value in a column of whole numbers, from the footers of the files."""

        def found() -> int | None:
            values = (files.largest(path, column) for path in files.data_files(self.path / table.name))
            return max((value for value in values if value is not None), default=None)

        with explaining(self.path, f"cannot read table {table.name}"):
            return self._transactions.between_commits(found)

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Count rows by table name. Missing tables are left out."""
        with explaining(self.path, "cannot count the rows"):
            return {
                table.name: sum(map(files.row_count, files.data_files(self.path / table.name)))
                for table in tables
                if (self.path / table.name).is_dir()
            }
