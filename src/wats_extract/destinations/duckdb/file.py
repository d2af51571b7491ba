"""A DuckDB file on disk: created, opened, closed, and opened again to free memory."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from wats_extract.destinations.duckdb.schema import DATABASE, quoted
from wats_extract.destinations.places import is_link
from wats_extract.errors import DestinationError, OutOfMemory

RAISED_LIMIT = "2GB"
"""DuckDB's memory limit after it has run out of memory once."""

ROW_GROUP_SIZE = 40_960
"""Rows per row group, a third of DuckDB's default.

A transaction with at least this many rows in a table writes compressed row groups directly to the file.
Smaller transactions write their rows to the write-ahead log and compress them later, which takes twice as
long. Rows stay in memory until their row group is full.
"""

_ALLOCATOR_CACHE = "16MB"
"""Memory that DuckDB keeps for reuse.

Without it, and with a small memory limit, DuckDB returns every 2 MB that it frees to the system, and makes
glibc trim the heap of the whole process each time.
"""

_SUFFIXES = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
"""The files that DuckDB keeps next to each other: the database, its write-ahead log, and two more during a
checkpoint and after one that was interrupted."""

_IN_USE = re.compile(r"lock on file|being used by another process|already open in", re.IGNORECASE)
_REOPEN_SECONDS = 60.0
"""Maximum wait for another program that opened the file while it was closed."""

_POLL_SECONDS = 0.2

_HINTS = (
    (
        _IN_USE.pattern,
        "close the program that has it open: DuckDB allows one process that writes, or several that only "
        "read. For readers that stay open, use the destination parquet",
    ),
    (r"different configuration|Unique file handle", "close the other connection of this process first"),
    (
        r"not a valid DuckDB|Is a directory|Corrupt",
        "path must name a DuckDB file or a file that does not exist yet. Delete the file if it is empty",
    ),
    (
        r"replaying WAL",
        "the .wal file next to it is damaged or belongs to another file: restore the matching file, or "
        "delete the .wal file, which loses the last commits",
    ),
    (
        r"file system operations are disabled",
        "something in the file reads other files: drop that view, default or generated column, or load into "
        "another file",
    ),
    (
        r"version number|newer version|older version",
        "another DuckDB version wrote the file; run pip install -U duckdb",
    ),
    (
        r"Permission denied|Access is denied|Read-only file system|read-only mode",
        "make the file and its folder writable",
    ),
    (r"No space left|not enough space|disk full|File too large", "free some disk space and run again"),
    (
        r"Out of Memory|failed to allocate|failed to pin",
        "the commit needs more memory than there is; use a smaller chunk_size",
    ),
    (
        r"NOT NULL constraint",
        "if the column was added by hand, let it be null; if it is a key, please report a bug, with the key "
        "of the item",
    ),
    (r"does not exist", "call prepare first, or undo the change if a table or column was renamed or dropped"),
)


_FOREIGN = (duckdb.Error, pa.ArrowException, OSError, MemoryError)
"""The errors that using a DuckDB file raises."""


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory has run out; a failing ``COMMIT`` of DuckDB says so in its message only."""
    return isinstance(error, (duckdb.OutOfMemoryException, MemoryError)) or "memory_limit=" in str(error)


class DatabaseFile:
    """Owns the connection to one DuckDB file.

    Args:
        path: The file.
        memory_limit: Memory that DuckDB may use before it spills to ``PATH.tmp``.
        on_step: Called with ``closed`` after :meth:`reopen` has closed the file.
    """

    def __init__(self, path: Path, *, memory_limit: str, on_step: Callable[[str], None]) -> None:
        self.path = path
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None
        self._memory_limit = memory_limit
        self._on_step = on_step
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._readers = 0  # connections that readers() has given out
        self._lock = threading.Lock()  # guards the two above

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The open connection.

        Raises:
            DestinationError: The file is not open.
        """
        if self._connection is None:
            raise DestinationError(f"{self.path}: is not open for writing")
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether there is a connection. Waits while the file is opened again."""
        with self._lock:
            return self._connection is not None

    # ── open and close ──────────────────────────────────────────────────────────────────────────

    def open(self, *, read_only: bool) -> None:
        """Open the file; DuckDB replays the write-ahead log of a killed process.

        Args:
            read_only: Create nothing. A file that does not exist stays closed.
        """
        self.close()
        if read_only and not self.path.exists():
            return
        with self.explaining("cannot be opened"):
            if not read_only and not self.path.exists():
                self._create()
            self._refuse_foreign_file()
            leftovers = {} if read_only else self._spill_files()
            self._connection = self._attached(read_only=read_only)
            # only one process can have the file open: what has not changed since belongs to a killed one
            for file in (file for file, state in self._spill_files().items() if leftovers.get(file) == state):
                file.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; DuckDB folds the write-ahead log into it."""
        if self._connection is not None:
            with self.explaining("cannot be closed"):
                self._connection.close()
            self._connection = None
            with suppress(OSError):  # missing, or not empty because another process uses it
                self._spill_folder.rmdir()

    def reopen(self) -> bool:
        """Close the file and open it again, so that DuckDB frees its metadata of written row groups.

        Other programs can open the file in between. Then this waits for them, for a minute at most.

        Returns:
            Whether it did so; not while somebody reads.
        """
        with self._lock:
            if self._readers or self._connection is None:
                return False
            self._connection.close()
            self._connection = None
            self._on_step("closed")
            deadline = time.monotonic() + _REOPEN_SECONDS
            while self._connection is None:
                try:
                    self._connection = self._attached(read_only=False)
                except duckdb.IOException as error:
                    left = deadline - time.monotonic()
                    if left <= 0 or not _IN_USE.search(str(error)):
                        raise
                    self.while_waiting(f"another program has {self.path} open", left)
                    time.sleep(_POLL_SECONDS)
            return True

    def _attached(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config=self._config())
        path = str(self.path.absolute())
        # the row group size can only be set by ATTACH
        options = "READ_ONLY" if read_only else f"ROW_GROUP_SIZE {ROW_GROUP_SIZE}"
        try:
            # not in the config: icu, which knows time zones, is loaded after connecting
            connection.execute("SET TimeZone = 'UTC'")
            # views, defaults and generated columns of a file are code: they reach nothing but the file itself
            own = ", ".join(_literal(path + suffix) for suffix in _SUFFIXES)
            connection.execute(f"SET allowed_paths = [{own}]")
            connection.execute(f"SET allowed_directories = [{_literal(str(self._spill_folder.absolute()))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute(f"ATTACH {_literal(path)} AS {quoted(DATABASE)} (TYPE duckdb, {options})")
        except BaseException:
            connection.close()
            raise
        return connection

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "memory_limit": self._memory_limit,
            "block_allocator_memory": _ALLOCATOR_CACHE,
            "temp_directory": str(self._spill_folder.absolute()),
            "threads": 1,  # more threads need more memory and more CPU time per commit
            "checkpoint_threshold": "64MB",  # each checkpoint compresses the last rows of all tables again
            "max_vacuum_tasks": 1,  # a checkpoint compresses merged row groups again, too: few at a time
            "preserve_insertion_order": False,  # needs less memory, and the order does not matter
            "autoinstall_known_extensions": False,  # none is needed, and it would need internet access
            "autoload_known_extensions": False,
        }

    def _create(self) -> None:
        """Create an empty database under a temporary name: a partly written one could never be opened."""
        log = self.path.with_name(f"{self.path.name}.wal")
        if log.exists():
            raise DestinationError(
                f"{self.path}: the file is missing, but {log.name} exists, with commits of a killed run",
                hint="restore the file, or delete the .wal file too and start from scratch",
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(f".{self.path.name}.new")
        unfinished.unlink(missing_ok=True)
        duckdb.connect(unfinished).close()
        unfinished.replace(self.path)

    def _refuse_foreign_file(self) -> None:
        """Refuse other file types: DuckDB would download an extension to read, say, SQLite files."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                if file.read(12)[8:] != b"DUCK":
                    raise OSError("the file exists and is not a valid DuckDB file")

    @property
    def _spill_folder(self) -> Path:
        return self.path.with_name(f"{self.path.name}.tmp")

    def _spill_files(self) -> dict[Path, tuple[int, int]]:
        """The spill files of this or of a killed process, with modification time and size."""
        found: dict[Path, tuple[int, int]] = {}
        if is_link(self._spill_folder):  # what is behind it may be anybody's
            return found
        for file in self._spill_folder.glob("*.tmp"):
            with suppress(FileNotFoundError):
                found[file] = file.stat().st_mtime_ns, file.stat().st_size
        return found

    # ── use ─────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self, operation: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Run a block in a transaction: committed at its end, rolled back after an error.

        Raises:
            DestinationError: The transaction failed; the message names the operation.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            with suppress(duckdb.Error):  # a failed COMMIT has rolled back already
                connection.execute("ROLLBACK")
            if isinstance(error, _FOREIGN):
                raise self._explained(operation, error) from error
            raise

    @contextmanager
    def reader(self, operation: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A second connection for reading during a commit; the file stays open as long as there is one.

        Raises:
            DestinationError: Reading failed; the message names the operation.
        """
        with self._lock:
            self._readers += 1
        try:
            with closing(self.connection.cursor()) as beside:
                yield beside
        except _FOREIGN as error:
            raise self._explained(operation, error) from error
        finally:
            with self._lock:
                self._readers -= 1

    def raise_memory_limit(self) -> None:
        """Let DuckDB use :data:`RAISED_LIMIT` of memory from now on, in all connections to the file."""
        self._memory_limit = RAISED_LIMIT
        with closing(self.connection.cursor()) as beside:
            beside.execute(f"SET memory_limit = '{RAISED_LIMIT}'")

    @contextmanager
    def explaining(self, operation: str) -> Iterator[None]:
        """Turn errors of DuckDB, Arrow and the file system into a ``DestinationError`` with a hint."""
        try:
            yield
        except _FOREIGN as error:
            raise self._explained(operation, error) from error

    def _explained(self, operation: str, error: Exception) -> DestinationError:
        kind = OutOfMemory if _is_out_of_memory(error) else DestinationError
        return kind(f"{self.path}: {operation}: {error}", hint=_hint(str(error)))


def _literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _hint(message: str) -> str:
    return next((hint for pattern, hint in _HINTS if re.search(pattern, message, re.IGNORECASE)), "")
