"""Writes one commit into DuckDB tables, within a transaction.

Tables have no primary keys and no indexes: with them a merge takes ten times as long, and the whole index
has to fit into memory at every commit. ``DELETE … USING`` and ``INSERT`` replace a row instead. They are fast
because DuckDB skips row groups that cannot match, by their min-max statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from wats_extract.destinations.duckdb.schema import Schema
from wats_extract.destinations.unchanged import without_unchanged
from wats_extract.flow import Commit
from wats_extract.tables import STAMP_NAMES, Table


def ignore_step(step: str) -> None:
    """Do nothing; tests pass a function that stops at a step."""


class CommitWriter:
    """Writes commits over one connection; the caller begins and ends the transactions.

    Args:
        connection: A connection with an open transaction.
        schema: The schema of the tables.
        on_step: Called with the name of each step.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, schema: Schema, *, on_step: Callable[[str], None]
    ) -> None:
        self._connection, self._schema, self._on_step = connection, schema, on_step

    def write(self, commit: Commit) -> int:
        """Delete and insert the rows of a commit; return the number of inserted rows."""
        commit = replace(commit, replaced=commit.replaced | self._existing(commit))
        if commit.keeps_unchanged:
            commit = without_unchanged(commit, self._stored)
        incoming = {
            table: pa.Table.from_batches(batches, table.schema) for table, batches in commit.rows.items()
        }
        replaced = sorted(commit.replaced)
        repeated = self._is_repeated(incoming)
        for table, rows in incoming.items():
            self._write_table(table, rows, commit, replaced, repeated=repeated)
            self._on_step(f"wrote {table.name}")
        for table, booked in commit.book.items():
            rows = pa.Table.from_pylist(table.booked([], booked), schema=table.schema)
            self._insert(table, rows, identity=table.identity)
            self._on_step(f"booked {table.name}")
        return sum(rows.num_rows for rows in incoming.values())

    def _existing(self, commit: Commit) -> set[str]:
        """The items of an upsert that the main table has."""
        main = next((table for table in commit.rows if table.owner), None)
        if main is None or not commit.upsert or not commit.landed:
            return set()
        return set(find_versions(self._connection, self._schema, main, list(commit.landed)))

    def _stored(self, table: Table, keys: Collection[str]) -> pa.Table:
        """The rows of some items in a table."""
        with _incoming(self._connection, pa.table({"key": table.owners(sorted(keys))})):
            found = self._connection.sql(self._schema.rows_of_items(table)).to_arrow_table()
        return found.cast(table.schema)

    def _is_repeated(self, incoming: Mapping[Table, pa.Table]) -> bool:
        """Whether this commit was made before: then rows with the stamps of its first row exist."""
        filled = ((table, rows) for table, rows in incoming.items() if table.stamped and rows.num_rows)
        table, rows = next(filled, (None, None))
        if table is None or rows is None:
            return False
        query = self._schema.any_row(table, STAMP_NAMES)
        return bool(
            self._connection.execute(query, [rows[name][0].as_py() for name in STAMP_NAMES]).fetchall()
        )

    def _write_table(
        self, table: Table, rows: pa.Table, commit: Commit, replaced: Sequence[str], *, repeated: bool
    ) -> None:
        if replaced and table.owner:
            keys = pa.table({table.owner: table.owners(replaced)})
            self._delete(table, keys, identity=(table.owner,))
        # rows with the same key and the same stamps were written by this very commit
        identity = (*table.key, *STAMP_NAMES) if repeated else ()
        self._insert(table, rows, identity=identity)
        if commit.sweep_except is not None:
            self._sweep(table, commit.sweep_except, kept=commit.kept)

    def _sweep(self, table: Table, runs: Iterable[str], *, kept: Iterable[str]) -> None:
        keys = pa.table({"key": table.owners(sorted(kept))})
        execute_with(self._connection, self._schema.sweep(table), keys, [sorted(runs)])

    def _insert(self, table: Table, rows: pa.Table, *, identity: Sequence[str]) -> None:
        """Insert rows; first delete existing rows that equal them in the ``identity`` columns, if any."""
        if rows.num_rows:
            if identity:
                self._delete(table, rows, identity=identity)
            execute_with(self._connection, self._schema.insert(table), rows)

    def _delete(self, table: Table, rows: pa.Table, *, identity: Sequence[str]) -> None:
        execute_with(self._connection, self._schema.delete(table, identity), rows)


def find_versions(
    connection: duckdb.DuckDBPyConnection,
    schema: Schema,
    table: Table,
    keys: Sequence[str],
    *,
    versions: tuple[int, int] | None = None,
) -> dict[str, int | None]:
    """Look up which of ``keys`` own rows in a table: key → latest version. A missing table is empty."""
    keys_to_find = pa.table({"key": table.owners(keys)})
    try:
        return dict(execute_with(connection, schema.versions(table, versions), keys_to_find))
    except duckdb.CatalogException:
        return {}


def execute_with(
    connection: duckdb.DuckDBPyConnection, query: str, incoming: pa.Table, parameters: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Execute a query that reads Arrow rows as ``_wats_incoming``, and fetch its result."""
    with _incoming(connection, incoming):
        return connection.execute(query, parameters).fetchall()


@contextmanager
def _incoming(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> Iterator[None]:
    """Let queries read Arrow rows as ``_wats_incoming``.

    The rows are registered, because DuckDB finds no Python variables without external access. DuckDB keeps a
    registered view in memory until the transaction ends; the write buffer keeps its rows as long anyway.
    """
    connection.register("_wats_incoming", rows)
    try:
        yield
    finally:
        with suppress(duckdb.TransactionException):  # it failed, and its rollback drops the view
            connection.unregister("_wats_incoming")
