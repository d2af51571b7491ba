"""The DuckDB destination: one file, one transaction per commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from wats_extract import events
from wats_extract.destinations.duckdb.commit import CommitWriter, find_versions, ignore_step
from wats_extract.destinations.duckdb.file import DatabaseFile
from wats_extract.destinations.duckdb.schema import Schema
from wats_extract.destinations.places import local_path
from wats_extract.errors import OutOfMemory
from wats_extract.flow import Commit
from wats_extract.state.lock import PipelineLocks, Sighting
from wats_extract.tables import Table

REOPEN_ROWS = 2_000_000
"""Inserted rows after which the file is closed and opened again.

As long as a file is open, DuckDB keeps metadata of each row group that it has written: about a byte per row.
In a newly opened file it reads such metadata on demand and does not keep it.
"""


class DuckDB:
    """A DuckDB file as a destination.

    After a crash, even ``kill -9`` or a power cut, the file holds the last durable commit: DuckDB replays its
    write-ahead log when the file is opened again. While the file is open for writing no other process can
    open it, except for a moment after every few million rows, when it is opened again to free memory.

    Raises:
        DestinationError: from every method; the message names the file and the operation.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        schema: str = "main",
        memory_limit: str = "20MB",
        reopen_rows: int = REOPEN_ROWS,
        on_step: Callable[[str], None] = ignore_step,
    ) -> None:
        """Store the settings; the file is not touched before :meth:`open`.

        Args:
            path: The file. Missing files and folders are created.
            schema: The schema within the file that holds all tables.
            memory_limit: Memory that DuckDB may use before it spills to ``PATH.tmp``, next to the file. It is
                raised to 2 GB if a commit does not fit.
            reopen_rows: Inserted rows after which the file is closed and opened again.
            on_step: Called with the name of each step of a commit, so that tests can stop there.

        Raises:
            DestinationError: ``path`` begins with a scheme, such as ``sqlite:`` or ``md:``.
        """
        self.path = local_path(path)
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None
        self._file = DatabaseFile(self.path, memory_limit=memory_limit, on_step=on_step)
        self._schema = Schema(schema, place=self.place)
        self._locks = PipelineLocks(lambda name: self.path.with_name(f".{self.path.name}.{name}.lock"))
        self._reopen_rows = reopen_rows
        self._on_step = on_step
        self._rows_written = 0  # since the file was opened

    @property
    def place(self) -> str:
        """The path of the file."""
        return str(self.path)

    # ── one run at a time ───────────────────────────────────────────────────────────────────────

    def exclusive(
        self,
        pipeline: str,
        *,
        check: Callable[[], None] = lambda: None,
        listen: events.Listener = events.nobody,
    ) -> AbstractContextManager[None]:
        """Hold the lock ``.NAME.PIPELINE.lock`` next to the file."""
        return self._locks.exclusive(pipeline, check=check, listen=listen)

    def holder(self, pipeline: str) -> Sighting | None:
        """Which process holds the pipeline's lock, or ``None``."""
        return self._locks.holder(pipeline)

    # ── open, prepare, close ────────────────────────────────────────────────────────────────────

    def open(self, *, read_only: bool = False) -> None:
        """Open the file and finish or undo the last transaction of a killed process.

        Args:
            read_only: Create nothing. A file that does not exist is empty.
        """
        self._file.while_waiting = lambda reason, seconds: self.while_waiting(reason, seconds)
        self._file.open(read_only=read_only)
        self._rows_written = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create the schema, missing tables and missing columns.

        Columns that somebody else added are kept; new rows have nulls in them.

        Raises:
            DestinationError: A column has another type, or a key column is missing. Nothing was changed.
        """
        with self._file.transaction("cannot prepare the tables") as connection:
            tables = list(tables)
            self._schema.refuse_views(connection, tables)
            self._schema.prepare(connection, tables)

    def reconcile(self, tables: Sequence[Table], *, append: bool = False) -> None:
        """Do nothing: a file is restored as a whole, with the rows of one moment."""

    # ── commit ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit) -> None:
        """Write a commit in one transaction.

        The same commit twice leaves the same tables: its rows are recognized by their key and their stamps.
        A commit that needs more memory than allowed is rolled back and made again with a raised limit.
        """
        self._locks.check()
        try:
            self._rows_written += self._write(commit)
        except OutOfMemory:
            self._file.raise_memory_limit()
            self._rows_written += self._write(commit)
        self._on_step("committed")
        if self._rows_written >= self._reopen_rows and self._file.reopen():
            self._rows_written = 0

    def _write(self, commit: Commit) -> int:
        with self._file.transaction(f"commit {commit.label}") as connection:
            self._schema.refuse_views(connection, [*commit.rows, *commit.book])
            return CommitWriter(connection, self._schema, on_step=self._on_step).write(commit)

    # ── queries ─────────────────────────────────────────────────────────────────────────────────

    def landed(
        self, table: Table, keys: Sequence[str], *, versions: tuple[int, int] | None = None
    ) -> dict[str, int | None]:
        """Return which of ``keys`` own rows in ``table``: key → latest version."""
        if not keys or not self._file.is_open:
            return {}
        try:
            return self._find(table, keys, versions)
        except OutOfMemory:
            self._file.raise_memory_limit()
            return self._find(table, keys, versions)

    def _find(
        self, table: Table, keys: Sequence[str], versions: tuple[int, int] | None
    ) -> dict[str, int | None]:
        with self._reader(table) as connection:
            return find_versions(connection, self._schema, table, keys, versions=versions)

    @contextmanager
    def _reader(self, table: Table) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._file.reader(f"cannot read table {table.name}") as connection:
            self._schema.refuse_views(connection, [table])
            yield connection

    def read(self, table: Table, **equal: str) -> pa.Table:
        """Return the rows whose columns equal the given texts, ordered by key."""
        if not self._file.is_open:
            return table.schema.empty_table()
        with self._reader(table) as connection:
            return self._schema.read(connection, table, equal)

    def scan(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        batch_rows: int = 10_000,
        least: tuple[str, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Iterate over some columns of all rows, or of those with a least value, in no order."""
        if self._file.is_open:
            with self._reader(table) as connection:
                yield from self._schema.scan(connection, table, columns, batch_rows=batch_rows, least=least)

    def largest(self, table: Table, column: str) -> int | None:
        """Return the largest value in a column of whole numbers."""
        if not self._file.is_open:
            return None
        with self._reader(table) as connection:
            return self._schema.largest(connection, table, column)

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Count rows by table name. Missing tables are left out."""
        if not self._file.is_open:
            return {}
        tables = list(tables)
        with self._file.reader("cannot count the rows") as connection:
            self._schema.refuse_views(connection, tables)
            return self._schema.count(connection, tables)
