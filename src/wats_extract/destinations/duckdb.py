"""One DuckDB file. A commit is one transaction, so DuckDB itself does the all-or-nothing.

Tables have neither primary keys nor indices: with them a merge takes ten times as long and the whole index
has to fit into memory at every commit. A row is replaced by ``DELETE … USING`` and ``INSERT`` in the same
transaction instead, which is fast because DuckDB skips whatever cannot match by its min-max statistics.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from wats_extract.errors import CommitsLost, DestinationError
from wats_extract.flow import Commit
from wats_extract.tables import STAMPS, Table

_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.binary(): "BLOB",
}
"""Spelt as DuckDB's catalog spells them, so that they serve for creating and for comparing."""

_IN_USE = re.compile(r"lock on file|being used by another process|already open in", re.IGNORECASE)

_HINTS = (
    (
        _IN_USE.pattern,
        "close the program that has it open (DuckDB lets one process in, or many that only read); "
        "for readers that stay open choose the destination parquet",
    ),
    (r"different configuration|Unique file handle", "close the other connection of this process first"),
    (
        r"not a valid DuckDB|Is a directory|Corrupt",
        "path must name a whole DuckDB file, or one that does not exist yet; an empty one can be deleted",
    ),
    (
        r"replaying WAL",
        "the .wal file beside it is of another file, or damaged: bring back the file that it belongs to, or "
        "delete the .wal file and with it the last commits",
    ),
    (r"version number|newer version|older version", "the file is of another DuckDB; pip install -U duckdb"),
    (
        r"Permission denied|Access is denied|Read-only file system|read-only mode",
        "make file and folder writable",
    ),
    (r"No space left|not enough space|disk full|File too large", "make room on the disk and run again"),
    (
        r"Out of Memory|failed to allocate",
        "a commit needs more memory than there is; a smaller chunk_size needs less",
    ),
    (
        r"NOT NULL constraint",
        "let a column that was added by hand be null; a key that is empty please report, with the item's key",
    ),
    (r"does not exist", "prepare the destination before, or undo what was renamed or dropped"),
)


MOST_MEMORY = "2GB"
"""What DuckDB may use in the end."""

_MORE_MEMORY = f"SET memory_limit = '{MOST_MEMORY}'"

_KEPT_BLOCKS = "16MB"
"""What DuckDB keeps of blocks that it has freed, to use it again.

Without, and where its memory is small, it hands back each two megabytes that it frees, and has glibc look
through the heap of the whole process for more.
"""

ROW_GROUP_SIZE = 61_440
"""Rows of a table that are packed together, half of what DuckDB does by itself.

So many rows of each table are in memory until they are packed. The file is not larger for it.
"""

ENOUGH_ROWS = 500_000
"""Rows of one table that need not wait for more.

A transaction that fills row groups writes them packed, and once: fewer rows go through its ``.wal`` file
first, and are packed anew with those that follow, which takes twice as long.
"""

REMEMBERED_ROWS = 4_000_000
"""Rows that are written before the file is closed and opened again.

As long as a file is open, DuckDB keeps what it knows of each row group that it has written: about a byte for
each row. Of a file that it opens it reads such things when they are needed, and does not keep them.
"""

_PATIENCE_SECONDS = 60.0
"""How long it is waited for another program that had the file open in between."""

_NAP_SECONDS = 0.2

_DATABASE = "wats"
"""What the file is called while it is attached."""

_SCANNED_ROWS = 10_000
"""Rows of a batch that a scan gives."""


def _nothing(_: str) -> None:
    """The ``on_step`` of everyday life."""


class DuckDB:
    """A DuckDB file as a destination.

    A crash, also ``kill -9`` or a power cut, leaves the last whole commit: DuckDB replays its ``.wal`` file
    when the database is opened again. While it is open for writing no other process gets in, but for the
    moment in which it is closed and opened again, after some million rows.

    Raises:
        DestinationError: from every method; the message names the file and what was being done.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        schema: str = "main",
        memory_limit: str = "28MB",
        remembered_rows: int = REMEMBERED_ROWS,
        on_step: Callable[[str], None] = _nothing,
    ) -> None:
        """Remember where it is; nothing is touched before :meth:`open`.

        Args:
            path: The file; it and its folders are created when they are missing.
            schema: The schema within the file that all tables are in.
            memory_limit: What DuckDB may use before it spills to ``PATH.tmp``, beside the file. Where that
                does not do for a commit, it is :data:`MOST_MEMORY` from then on.
            remembered_rows: Rows that are written before the file is closed and opened again.
            on_step: Is told the name of each step of a commit, so that tests can stop right there.
        """
        self.path = Path(path).expanduser()
        self.schema = schema
        self.memory_limit = memory_limit
        self._remembered_rows = remembered_rows
        self._on_step = on_step
        self.while_waiting: Callable[[str, float], None] = lambda reason, seconds: None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._waiting: Counter[str] | None = None  # rows by table in a transaction that is left open
        self._may_wait = True
        self._written = 0  # rows, since the file was opened
        self._beside = 0  # who reads beside the connection
        self._change = threading.Lock()  # of the connection, and of who is beside it

    @property
    def place(self) -> str:
        """The path of the file."""
        return str(self.path)

    def exclusive(self, pipeline: str, *, check=lambda: None, listen=lambda event: None):  # type: ignore[no-untyped-def]
        """Interim."""
        from wats_extract.state.lock import only_run

        return only_run(self.lock_path(pipeline), pipeline, check=check, listen=listen)

    def lock_path(self, pipeline: str) -> Path:
        """``.NAME.PIPELINE.lock`` beside the file."""
        return self.path.with_name(f".{self.path.name}.{pipeline}.lock")

    # ── open and close ──────────────────────────────────────────────────────────────────────────

    def open(self, *, read_only: bool = False) -> None:
        """Open the file, which finishes or undoes what a crash left behind.

        Args:
            read_only: Create nothing; a file that does not exist answers every question with nothing.
        """
        self.close()
        if read_only and not self.path.exists():
            return
        with self._explaining("cannot be opened"):
            if not read_only and not self.path.exists():
                self._create()
            self._refuse_foreign_file()
            spilled = {} if read_only else self._spilled()
            self._connection = self._attached(read_only=read_only)
            self._written = 0
            # whoever has the file open is alone with it; what has changed since is of this connection
            for file in (file for file, state in self._spilled().items() if spilled.get(file) == state):
                file.unlink(missing_ok=True)

    def _attached(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """A connection to the file, with row groups of our size: only who attaches it can say that."""
        connection = duckdb.connect(config=self._config())
        path = str(self.path).replace("'", "''")
        options = "READ_ONLY" if read_only else f"ROW_GROUP_SIZE {ROW_GROUP_SIZE}"
        try:
            # icu, which knows time zones, is linked in but not loaded yet while it is connected
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"ATTACH '{path}' AS {_quoted(_DATABASE)} (TYPE duckdb, {options})")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_again(self) -> None:
        """Close the file and open it, so that DuckDB forgets what it knows of the rows that were written.

        Not while somebody reads: then it is put off. For a moment other programs get in; it is waited for
        them.
        """
        with self._change:
            if self._beside or self._connection is None:
                return
            self._connection.close()
            self._connection = None
            self._written = 0
            self._on_step("closed")
            until = time.monotonic() + _PATIENCE_SECONDS
            while self._connection is None:
                try:
                    self._connection = self._attached(read_only=False)
                except duckdb.IOException as error:
                    left = until - time.monotonic()
                    if left <= 0 or not _IN_USE.search(str(error)):
                        raise
                    self.while_waiting(f"another program has {self.place} open", left)
                    time.sleep(_NAP_SECONDS)

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection beside the one that commits; the file stays open as long as there is one."""
        with self._change:
            self._beside += 1
        try:
            with closing(self._open_connection.cursor()) as beside:
                yield beside
        finally:
            with self._change:
                self._beside -= 1

    def _spilled(self) -> dict[Path, tuple[int, int]]:
        """Files for which there was no memory, of this process or of a killed one: time and size of each."""
        found: dict[Path, tuple[int, int]] = {}
        for file in self._spills.glob("*.tmp"):
            with suppress(FileNotFoundError):
                found[file] = file.stat().st_mtime_ns, file.stat().st_size
        return found

    @property
    def _spills(self) -> Path:
        """Where DuckDB puts what it has no memory for."""
        return self.path.with_name(f"{self.path.name}.tmp")

    def _create(self) -> None:
        """Create an empty database under another name first: one that is cut off could never be opened."""
        log = self.path.with_name(f"{self.path.name}.wal")
        if log.exists():
            raise DestinationError(
                f"{self.place}: it is gone, but {log.name} is there, with commits of a killed run",
                hint="bring the file back to its place; or delete the .wal file too, to begin anew",
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(f".{self.path.name}.new")
        unfinished.unlink(missing_ok=True)
        duckdb.connect(unfinished).close()
        unfinished.replace(self.path)

    def close(self) -> None:
        """Close the file; DuckDB folds its ``.wal`` into it."""
        if self._connection is not None:
            self._waiting = None
            with self._explaining("cannot be closed"):
                self._connection.close()
            self._connection = None
            with suppress(OSError):  # it is not there, or somebody else uses it
                self._spills.rmdir()

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "memory_limit": self.memory_limit,
            "block_allocator_memory": _KEPT_BLOCKS,
            "temp_directory": str(self._spills),
            "threads": 1,  # more take more memory, and more processor time for the same commit
            "checkpoint_threshold": "64MB",  # each packs the last rows of all tables anew
            "preserve_insertion_order": False,  # needs less memory; a table has no order anyway
            "autoinstall_known_extensions": False,  # nothing here needs one, and networks are closed
        }

    def _refuse_foreign_file(self) -> None:
        """DuckDB would go on the internet for an extension that reads, say, SQLite's files."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                if file.read(12)[8:] != b"DUCK":
                    raise OSError("it exists, and is not a valid DuckDB file")

    # ── tables ──────────────────────────────────────────────────────────────────────────────────

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create what is missing: the schema, tables, and columns that an older version did not have.

        Columns that somebody added stay, and are null in new rows.

        Raises:
            DestinationError: a column has another type, or a key column is missing. Nothing was changed.
        """
        with self._explaining("its tables cannot be prepared"), self._transaction() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema_name}")
            present = self._columns()
            for table in tables:
                if table.name in present:
                    self._complete(table, present[table.name])
                else:
                    connection.execute(f"CREATE TABLE {self._name(table)} ({_definition(table)})")

    def _complete(self, table: Table, present: Mapping[str, str]) -> None:
        """Add the columns that a table lacks, after a look at those it has."""
        for field in table.schema:
            needed = _type_name(field.type)
            found = present.get(field.name.lower())
            if found is None and field.nullable:
                column = f"{_quoted(field.name)} {needed}"
                self._open_connection.execute(f"ALTER TABLE {self._name(table)} ADD COLUMN {column}")
            elif found != needed:
                raise DestinationError(
                    f"{self.place}: table {table.name}: column {field.name} is {found or 'missing'}, "
                    f"{needed} is needed",
                    hint="give it its type back; or choose another file or schema, which is then filled anew",
                )

    def _columns(self) -> dict[str, dict[str, str]]:
        """Types by column and table. Names of columns are in lower case, as DuckDB compares them."""
        rows = self._open_connection.execute(
            "SELECT table_name, lower(column_name), data_type FROM duckdb_columns() "
            "WHERE database_name = ? AND schema_name = ?",
            [_DATABASE, self.schema],
        ).fetchall()
        found: dict[str, dict[str, str]] = {}
        for table, column, type_name in rows:
            found.setdefault(table, {})[column] = type_name
        return found

    # ── commit ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, commit: Commit, *, may_wait: bool = False) -> bool:
        """Make it durable in one transaction, with those that wait; after an error nothing of it is there.

        The same commit twice leaves the same tables: rows that have the keys *and* the stamps of new rows
        are of that very commit, and go first.

        Args:
            commit: What to make durable.
            may_wait: Leave the transaction open, until some table has :data:`ENOUGH_ROWS` in it.
        """
        waited = self._waiting is not None
        with self._explaining(f"commit {commit.label}"):
            try:
                durable = self._commit(commit, may_wait=may_wait)
            except duckdb.OutOfMemoryException as error:  # one document may be that large
                self._use_more_memory(error, lost=waited)
                durable = self._commit(commit, may_wait=False)
            if durable:
                self._end_commit()
            else:
                self._on_step("waits")
        return durable

    def settle(self) -> None:
        """End the transaction that is open, if one is."""
        if self._waiting is None:
            return
        with self._explaining("what waits cannot be committed"):
            try:
                with self._transaction():
                    pass
            except duckdb.OutOfMemoryException as error:
                self._use_more_memory(error, lost=True)
            self._end_commit()

    def _end_commit(self) -> None:
        """What comes when all is durable."""
        self._on_step("committed")
        if self._written >= self._remembered_rows:
            self._open_again()

    def _use_more_memory(self, error: duckdb.Error, *, lost: bool) -> None:
        """From now on; and nothing waits any more, so that nothing is lost a second time."""
        self._open_connection.execute(_MORE_MEMORY)
        self._may_wait = False
        if lost:
            raise CommitsLost(f"{self.place}: what waited is not committed: {error}") from error

    def _commit(self, commit: Commit, *, may_wait: bool) -> bool:
        waiting = Counter(self._waiting or {})
        with self._transaction():
            landing = {
                table: pa.Table.from_batches(batches, table.schema) for table, batches in commit.rows.items()
            }
            waiting.update({table.name: rows.num_rows for table, rows in landing.items()})
            waits = may_wait and self._may_wait and max(waiting.values(), default=0) < ENOUGH_ROWS
            # all of a commit is there, or nothing: one table tells
            filled = ((table, rows) for table, rows in landing.items() if table.stamped and rows.num_rows)
            again = any(self._has_stamps_of(table, rows) for table, rows in islice(filled, 1))
            for table, rows in landing.items():
                self._land(table, rows, commit, again=again)
                self._on_step(f"landed {table.name}")
            for table, booked in commit.book.items():
                self._insert(table, _last_by_key(table, booked), identity=table.key)
                self._on_step(f"booked {table.name}")
            self._waiting = waiting if waits else None
        self._written += sum(rows.num_rows for rows in landing.values())
        return not waits

    def _has_stamps_of(self, table: Table, rows: pa.Table) -> bool:
        """Whether rows with the stamps of these have landed: then the commit is a repetition."""
        stamps = [stamp.name for stamp in STAMPS]
        same = " AND ".join(f"{_quoted(name)} = ?" for name in stamps)
        query = f"SELECT 1 FROM {self._name(table)} WHERE {same} LIMIT 1"  # noqa: S608
        return bool(
            self._open_connection.execute(query, [rows[name][0].as_py() for name in stamps]).fetchall()
        )

    def _land(self, table: Table, rows: pa.Table, commit: Commit, *, again: bool) -> None:
        if commit.replaced and table.owner:
            keys = pa.table({table.owner: table.owners(sorted(commit.replaced))})
            self._delete(table, keys, identity=(table.owner,))
        stamps = [stamp.name for stamp in STAMPS]
        self._insert(table, rows, identity=(*table.key, *stamps) if again else ())
        if commit.sweep_before is not None:
            self._sweep(table, commit.sweep_before, kept=commit.kept)

    def _sweep(self, table: Table, before: datetime, *, kept: Iterable[str]) -> None:
        _with_rows(
            self._open_connection,
            f"DELETE FROM {self._name(table)} WHERE _wats_extracted_at < '{before.isoformat()}' "  # noqa: S608
            f"AND {_quoted(table.owner)} NOT IN (SELECT key FROM _wats_incoming)",
            pa.table({"key": table.owners(sorted(kept))}),
        )

    def _insert(self, table: Table, rows: pa.Table, *, identity: Sequence[str]) -> None:
        """Insert rows in place of those that are equal to them in the columns of their identity, if any."""
        if rows.num_rows:
            if identity:
                self._delete(table, rows, identity=identity)
            _with_rows(
                self._open_connection,
                f"INSERT INTO {self._name(table)} BY NAME SELECT * FROM _wats_incoming",  # noqa: S608
                rows,
            )

    def _delete(self, table: Table, rows: pa.Table, *, identity: Sequence[str]) -> None:
        same = " AND ".join(f"old.{_quoted(name)} = new.{_quoted(name)}" for name in identity)
        _with_rows(
            self._open_connection,
            f"DELETE FROM {self._name(table)} AS old USING _wats_incoming AS new WHERE {same}",  # noqa: S608
            rows,
        )

    # ── questions ───────────────────────────────────────────────────────────────────────────────

    def landed(
        self,
        table: Table,
        keys: Sequence[str],
        *,
        versions: tuple[int, int] | None = None,
        waiting: bool = False,
    ) -> dict[str, int | None]:
        """Which of ``keys`` own rows in ``table``, with their (latest) version; also during a commit."""
        with self._change:  # it may be closed for a moment
            if not keys or self._connection is None:
                return {}
        owner = _quoted(table.owner)
        version = f"max({_quoted(table.version)})" if table.version else "NULL"
        # DuckDB knows the least and the largest value of each part of a table, and reads few parts then
        within = (
            f"{_quoted(table.version)} BETWEEN {versions[0]:d} AND {versions[1]:d}" if versions else "true"
        )
        query = (
            f"SELECT CAST({owner} AS VARCHAR), {version} FROM {self._name(table)} "  # noqa: S608
            f"WHERE {within} AND {owner} IN (SELECT key FROM _wats_incoming) GROUP BY ALL"
        )
        asked = pa.table({"key": table.owners(keys)})
        with self._explaining(f"table {table.name} cannot be read"):
            if waiting and self._waiting is not None:
                return self._found_with_what_waits(query, asked)
            with self._reading() as beside:
                try:
                    return _found(beside, query, asked)
                except duckdb.OutOfMemoryException:
                    beside.execute(_MORE_MEMORY)
                    return _found(beside, query, asked)

    def _found_with_what_waits(self, query: str, asked: pa.Table) -> dict[str, int | None]:
        """By the connection that has the transaction: no other one sees what waits."""
        try:
            return _found(self._open_connection, query, asked)
        except duckdb.OutOfMemoryException as error:
            self._roll_back()
            self._use_more_memory(error, lost=True)
            raise

    def read(self, table: Table, **equal: str) -> pa.Table:
        """All rows, or those whose columns equal the given texts, in the order of their key."""
        present = self._present().get(table.name)
        if present is None:
            return table.schema.empty_table()
        columns = ", ".join(_selected(field, present) for field in table.schema)
        where = " AND ".join(["true", *(f"{_quoted(name)} = ?" for name in equal)])
        order = ", ".join(_quoted(name) for name in table.key) or "ALL"
        query = f"SELECT {columns} FROM {self._name(table)} WHERE {where} ORDER BY {order}"  # noqa: S608
        with self._explaining(f"table {table.name} cannot be read"):
            found: pa.Table = self._open_connection.sql(query, params=list(equal.values())).to_arrow_table()
            return found.cast(table.schema)

    def scan(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, in no order, batch by batch; nothing where there is no such table."""
        present = self._present().get(table.name)
        if present is None:
            return
        wanted = ", ".join(_selected(table.schema.field(name), present) for name in columns)
        query = f"SELECT {wanted} FROM {self._name(table)}"  # noqa: S608
        # beside the connection, which may be asked for other things while this goes on
        with self._explaining(f"table {table.name} cannot be read"), self._reading() as beside:
            batches: pa.RecordBatchReader = beside.sql(query).to_arrow_reader(_SCANNED_ROWS)
            yield from batches

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Rows by table name; tables that do not exist are left out."""
        present = self._present()
        with self._explaining("its tables cannot be counted"):
            return {table.name: self._rows_of(table) for table in tables if table.name in present}

    def _rows_of(self, table: Table) -> int:
        query = f"SELECT count(*) FROM {self._name(table)}"  # noqa: S608
        # all of it: DuckDB 2 lets no relation run beside a result that is not fetched to its end
        return int(self._open_connection.execute(query).fetchall()[0][0])

    def _present(self) -> dict[str, dict[str, str]]:
        """The tables that there are, none where a read-only open found no file."""
        if self._connection is None:
            return {}
        with self._explaining("its catalog cannot be read"):
            return self._columns()

    # ── the connection ──────────────────────────────────────────────────────────────────────────

    @property
    def _open_connection(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise DestinationError(f"{self.place}: is not open for writing")
        return self._connection

    @property
    def _schema_name(self) -> str:
        return f"{_quoted(_DATABASE)}.{_quoted(self.schema)}"

    def _name(self, table: Table) -> str:
        return f"{self._schema_name}.{_quoted(table.name)}"

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The transaction that is open, or a new one; it ends behind the block, unless commits wait in it."""
        connection = self._open_connection
        if self._waiting is None:
            connection.execute("BEGIN")
        self._waiting = None
        try:
            yield connection
            if self._waiting is None:
                connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """Forget what the transaction has, and what waits in it."""
        self._waiting = None
        with suppress(duckdb.Error):  # a COMMIT that failed has rolled back already
            self._open_connection.execute("ROLLBACK")

    @contextmanager
    def _explaining(self, doing: str) -> Iterator[None]:
        """The one place where the errors of DuckDB, Arrow and the file system become ours."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise DestinationError(f"{self.place}: {doing}: {error}", hint=_hint(str(error))) from error


def _with_rows(
    connection: duckdb.DuckDBPyConnection, query: str, _wats_incoming: pa.Table
) -> duckdb.DuckDBPyConnection:
    """Execute a query that sees Arrow rows as ``_wats_incoming``.

    DuckDB finds them by the name of the parameter. A name that is registered would keep its rows in memory to
    the end of the transaction.
    """
    return connection.execute(query)


def _found(connection: duckdb.DuckDBPyConnection, query: str, asked: pa.Table) -> dict[str, int | None]:
    """Two columns of the rows that a query finds; none where there is no such table."""
    try:
        return dict(_with_rows(connection, query, asked).fetchall())
    except duckdb.CatalogException:
        return {}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _type_name(arrow: pa.DataType) -> str:
    return f"{_type_name(arrow.value_type)}[]" if pa.types.is_list(arrow) else _TYPES[arrow]


def _definition(table: Table) -> str:
    """Its columns. Which items have landed is asked at each commit: compressed keys take twice as long."""
    looked_up = table.owner if table.key == (table.owner,) else ""
    return ", ".join(_column(field, packed=field.name != looked_up) for field in table.schema)


def _column(field: pa.Field, *, packed: bool) -> str:
    null = "" if field.nullable else " NOT NULL"
    compression = "" if packed or field.type != pa.string() else " USING COMPRESSION uncompressed"
    return f"{_quoted(field.name)} {_type_name(field.type)}{null}{compression}"


def _selected(field: pa.Field, present: Mapping[str, str]) -> str:
    """A column, or nulls in its place where the file was written before there was one."""
    name = _quoted(field.name)
    return name if field.name.lower() in present else f"NULL::{_type_name(field.type)} AS {name}"


def _last_by_key(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows, of several with one key the last."""
    last = {tuple(row[name] for name in table.key): row for row in rows}
    return pa.Table.from_pylist(list(last.values()), schema=table.schema)


def _hint(message: str) -> str:
    return next((hint for pattern, hint in _HINTS if re.search(pattern, message, re.IGNORECASE)), "")
