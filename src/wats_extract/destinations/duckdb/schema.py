"""The tables in a DuckDB file: their definitions, and the SQL statements about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from wats_extract.errors import DestinationError
from wats_extract.shred.instants import only_in_calendar
from wats_extract.tables import Table

DATABASE = "wats"
"""The name under which the file is attached."""

_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.binary(): "BLOB",
}
"""As DuckDB's catalog spells them, so that they can be compared with it."""


class Schema:
    """Creates and checks the tables within one schema of the file, and writes SQL about them.

    Statements that take Arrow rows read them from ``_wats_incoming``.

    Args:
        name: The schema's name.
        place: The path of the file, for messages.
    """

    def __init__(self, name: str, *, place: str) -> None:
        self._name, self._place = name, place
        self._qualified = f"{quoted(DATABASE)}.{quoted(name)}"

    def columns(self, connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
        """Read existing tables: name → column in lower case, as DuckDB compares columns → type."""
        rows = connection.execute(
            "SELECT table_name, lower(column_name), "
            "CASE WHEN is_generated THEN 'GENERATED ' ELSE '' END || data_type "
            "FROM duckdb_columns() WHERE database_name = ? AND schema_name = ?",
            [DATABASE, self._name],
        ).fetchall()
        found: dict[str, dict[str, str]] = {}
        for table, column, type_name in rows:
            found.setdefault(table, {})[column] = type_name
        return found

    def refuse_views(self, connection: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> None:
        """Check that no view has the name of a table: it could read anything that this process may read.

        Raises:
            DestinationError: There is one.
        """
        names = {table.name.lower() for table in tables}
        found = connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE database_name = ? AND schema_name = ?",
            [DATABASE, self._name],
        ).fetchall()
        for (name,) in found:
            if name.lower() in names:  # DuckDB compares names in any case
                raise DestinationError(
                    f"{self._place}: {name} is a view, a table is needed",
                    hint="rename or drop the view, or load into another file or schema",
                )

    def prepare(self, connection: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> None:
        """Create missing tables and add missing columns.

        Raises:
            DestinationError: A column has another type, or a key column is missing.
        """
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._qualified}")
        present = self.columns(connection)
        for table in tables:
            if table.name in present:
                self._complete(connection, table, present[table.name])
            else:
                connection.execute(f"CREATE TABLE {self._table(table)} ({_definition(table)})")

    def _complete(
        self, connection: duckdb.DuckDBPyConnection, table: Table, present: Mapping[str, str]
    ) -> None:
        for field in table.schema:
            needed = _type_name(field.type)
            found = present.get(field.name.lower())
            if found is None and field.nullable:
                column = f"{quoted(field.name)} {needed}"
                connection.execute(f"ALTER TABLE {self._table(table)} ADD COLUMN {column}")
            elif found != needed:
                raise DestinationError(
                    f"{self._place}: table {table.name}: column {field.name} is {found or 'missing'}, "
                    f"{needed} is needed",
                    hint="restore the column's type, or load into another file or schema",
                )

    # ── read ────────────────────────────────────────────────────────────────────────────────────

    def read(self, connection: duckdb.DuckDBPyConnection, table: Table, equal: Mapping[str, str]) -> pa.Table:
        """The rows whose columns equal the given texts, ordered by key. A missing table is empty.

        Timestamps outside the years 1 to 9999, which other programs may have written, are null.
        """
        present = self.columns(connection).get(table.name)
        if present is None:
            return table.schema.empty_table()
        columns = self._selected(table, table.schema.names, present)
        where = " AND ".join(["true", *(f"{quoted(name)} = ?" for name in equal)])
        order = ", ".join(quoted(name) for name in table.key) or "ALL"
        query = f"SELECT {columns} FROM {self._table(table)} WHERE {where} ORDER BY {order}"  # noqa: S608
        found: pa.Table = connection.sql(query, params=list(equal.values())).to_arrow_table()
        return only_in_calendar(found.cast(table.schema))

    def scan(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        names: Iterable[str],
        *,
        batch_rows: int,
        least: tuple[str, int] | None,
    ) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, or of those with a least value, with timestamps as in :meth:`read`."""
        present = self.columns(connection).get(table.name)
        if present is not None:
            columns = self._selected(table, names, present)
            where = f"{quoted(least[0])} >= {least[1]:d}" if least else "true"
            query = f"SELECT {columns} FROM {self._table(table)} WHERE {where}"  # noqa: S608
            yield from map(only_in_calendar, connection.sql(query).to_arrow_reader(batch_rows))

    def largest(self, connection: duckdb.DuckDBPyConnection, table: Table, column: str) -> int | None:
        """The largest value in a column."""
        if table.name not in self.columns(connection):
            return None
        query = f"SELECT max({quoted(column)}) FROM {self._table(table)}"  # noqa: S608
        found: int | None = connection.execute(query).fetchall()[0][0]
        return found

    def count(self, connection: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> dict[str, int]:
        """The number of rows by table name, without missing tables."""
        present = self.columns(connection)
        return {table.name: self._rows_of(connection, table) for table in tables if table.name in present}

    def _rows_of(self, connection: duckdb.DuckDBPyConnection, table: Table) -> int:
        # fetchall: DuckDB 2 runs no other relation while a result is not fetched to its end
        return int(connection.execute(f"SELECT count(*) FROM {self._table(table)}").fetchall()[0][0])  # noqa: S608

    # ── statements ──────────────────────────────────────────────────────────────────────────────

    def insert(self, table: Table) -> str:
        """Insert the incoming rows."""
        return f"INSERT INTO {self._table(table)} BY NAME SELECT * FROM _wats_incoming"  # noqa: S608

    def delete(self, table: Table, identity: Sequence[str]) -> str:
        """Delete the rows that equal an incoming row in the ``identity`` columns."""
        same = " AND ".join(f"old.{quoted(name)} = new.{quoted(name)}" for name in identity)
        return f"DELETE FROM {self._table(table)} AS old USING _wats_incoming AS new WHERE {same}"  # noqa: S608

    def sweep(self, table: Table) -> str:
        """Delete the rows that other runs than the given ones loaded, except those of the incoming keys."""
        return (
            f"DELETE FROM {self._table(table)} WHERE coalesce(_wats_run_id, '') NOT IN (SELECT unnest(?)) "  # noqa: S608
            f"AND {quoted(table.owner)} NOT IN (SELECT key FROM _wats_incoming)"
        )

    def versions(self, table: Table, versions: tuple[int, int] | None) -> str:
        """The latest version of each incoming key that owns rows, within a range of versions if given."""
        owner = quoted(table.owner)
        version = f"max({quoted(table.version)})" if table.version else "NULL"
        # a range of versions lets DuckDB skip most row groups, by their min-max statistics
        within = (
            f"{quoted(table.version)} BETWEEN {versions[0]:d} AND {versions[1]:d}" if versions else "true"
        )
        return (
            f"SELECT CAST({owner} AS VARCHAR), {version} FROM {self._table(table)} "  # noqa: S608
            f"WHERE {within} AND {owner} IN (SELECT key FROM _wats_incoming) GROUP BY ALL"
        )

    def rows_of_items(self, table: Table) -> str:
        """All columns of the rows of the incoming keys."""
        columns = ", ".join(map(quoted, table.schema.names))
        return (
            f"SELECT {columns} FROM {self._table(table)} "  # noqa: S608
            f"WHERE {quoted(table.owner)} IN (SELECT key FROM _wats_incoming)"
        )

    def any_row(self, table: Table, equal: Iterable[str]) -> str:
        """One row whose ``equal`` columns have given values, if there is one."""
        same = " AND ".join(f"{quoted(name)} = ?" for name in equal)
        return f"SELECT 1 FROM {self._table(table)} WHERE {same} LIMIT 1"  # noqa: S608

    def _selected(self, table: Table, names: Iterable[str], present: Mapping[str, str]) -> str:
        """A list of columns to select; a missing column is null.

        Raises:
            DestinationError: A column is computed by an expression, so that anything could be in it.
        """
        for name in names:
            if present.get(name.lower(), "").startswith("GENERATED "):
                raise DestinationError(
                    f"{self._place}: table {table.name}: column {name} is generated, a stored one is needed",
                    hint="restore the column, or load into another file or schema",
                )
        return ", ".join(_selected(table.schema.field(name), present) for name in names)

    def _table(self, table: Table) -> str:
        return f"{self._qualified}.{quoted(table.name)}"


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _selected(field: pa.Field, present: Mapping[str, str]) -> str:
    name = quoted(field.name)
    return name if field.name.lower() in present else f"NULL::{_type_name(field.type)} AS {name}"


def _definition(table: Table) -> str:
    # every commit looks up the keys of items, which takes twice as long if they are compressed
    looked_up = table.owner if table.key == (table.owner,) else ""
    return ", ".join(_column(field, compressed=field.name != looked_up) for field in table.schema)


def _column(field: pa.Field, *, compressed: bool) -> str:
    null = "" if field.nullable else " NOT NULL"
    compression = "" if compressed or field.type != pa.string() else " USING COMPRESSION uncompressed"
    return f"{quoted(field.name)} {_type_name(field.type)}{null}{compression}"


def _type_name(arrow: pa.DataType) -> str:
    return f"{_type_name(arrow.value_type)}[]" if pa.types.is_list(arrow) else _TYPES[arrow]
