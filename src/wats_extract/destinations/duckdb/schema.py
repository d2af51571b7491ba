"""Names, types and definitions of the tables in a DuckDB file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb
import pyarrow as pa

from wats_extract.errors import DestinationError
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
    """Creates and checks the tables within one schema of the file.

    Args:
        name: The schema's name.
        place: The path of the file, for messages.
    """

    def __init__(self, name: str, *, place: str) -> None:
        self._name, self._place = name, place
        self._qualified = f"{quoted(DATABASE)}.{quoted(name)}"

    def table(self, table: Table) -> str:
        """The qualified name of a table, for SQL."""
        return f"{self._qualified}.{quoted(table.name)}"

    def columns(self, connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
        """Read existing tables: name → column in lower case, as DuckDB compares columns → type."""
        rows = connection.execute(
            "SELECT table_name, lower(column_name), data_type FROM duckdb_columns() "
            "WHERE database_name = ? AND schema_name = ?",
            [DATABASE, self._name],
        ).fetchall()
        found: dict[str, dict[str, str]] = {}
        for table, column, type_name in rows:
            found.setdefault(table, {})[column] = type_name
        return found

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
                connection.execute(f"CREATE TABLE {self.table(table)} ({_definition(table)})")

    def _complete(
        self, connection: duckdb.DuckDBPyConnection, table: Table, present: Mapping[str, str]
    ) -> None:
        for field in table.schema:
            needed = _type_name(field.type)
            found = present.get(field.name.lower())
            if found is None and field.nullable:
                column = f"{quoted(field.name)} {needed}"
                connection.execute(f"ALTER TABLE {self.table(table)} ADD COLUMN {column}")
            elif found != needed:
                raise DestinationError(
                    f"{self._place}: table {table.name}: column {field.name} is {found or 'missing'}, "
                    f"{needed} is needed",
                    hint="restore the column's type, or load into another file or schema",
                )


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def selected(field: pa.Field, present: Mapping[str, str]) -> str:
    """A column for ``SELECT``, or nulls if an older version created the table without it."""
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
