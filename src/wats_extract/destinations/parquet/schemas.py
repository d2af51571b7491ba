"""The schemas of the tables in a Parquet folder: created, widened and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.parquet.journal import Staging
from wats_extract.destinations.places import own_folder
from wats_extract.errors import DestinationError
from wats_extract.tables import Table


class Schemas:
    """Reads and changes the schema files of a folder.

    Args:
        root: The folder of the destination.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cached: dict[str, tuple[Sequence[int], pa.Schema]] = {}

    def of(self, table: Table) -> pa.Schema:
        """The schema of a table's files; another process may have added columns since the last call."""
        file = self._root / table.name / files.SCHEMA_FILE
        status = file.stat()
        state = status.st_mtime_ns, status.st_ino, status.st_size
        cached_state, schema = self._cached.get(table.name, (None, None))
        if cached_state != state:
            schema = pq.read_schema(file)
            self._cached[table.name] = state, schema
        return schema

    def prepare(self, table: Table, staging: Staging) -> None:
        """Stage the schema file of a table, and its data files with the columns that they lack.

        Raises:
            DestinationError: A column has another type, or a key column is missing.
        """
        folder = own_folder(self._root, table.name)
        folder.mkdir(exist_ok=True)
        file = folder / files.SCHEMA_FILE
        example = file if file.exists() else min(folder.glob("*.parquet"), default=None)
        present = pq.read_schema(example) if example else table.schema
        wanted = self._merged(table, present)
        if not wanted.equals(present):
            _widen(folder, wanted, staging)
        if not wanted.equals(present) or example != file:
            staging.write(file, wanted.empty_table())

    def _merged(self, table: Table, present: pa.Schema) -> pa.Schema:
        """The declared columns, followed by columns that only the files have."""
        for column in table.schema:
            found = present.field(column.name).type if column.name in present.names else None
            if found != column.type and not (found is None and column.nullable):
                raise DestinationError(
                    f"{self._root}: table {table.name}: column {column.name} is {found or 'missing'}, "
                    f"{column.type} is needed",
                    hint="restore the column's type, or load into another folder",
                )
        return pa.schema([*table.schema, *(own for own in present if own.name not in table.schema.names)])


def _widen(folder: Path, schema: pa.Schema, staging: Staging) -> None:
    for path in files.data_files(folder):
        slots = files.slots(folder, files.label_of(path))
        rows = files.read_live(slots)
        if rows is None:
            staging.write(path, files.conformed(files.read(path), schema), behind=path)
        elif path == slots.live:
            staging.move(slots, files.conformed(rows, schema))
