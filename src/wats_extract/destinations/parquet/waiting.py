"""What waits to become durable in a folder of Parquet files: rows of several commits, encoded as they come.

Each file of a commit costs some milliseconds to write, to sync and to find again, however few rows it has,
and a resource has a dozen tables. Encoded rows take a tenth of their room in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wats_extract.destinations.parquet import files as files
from wats_extract.flow import Commit
from wats_extract.tables import Table

_ENCODED_ROWS, _ENCODED_BYTES = 10_000, 2**20
"""So many rows, or rows of such a size in memory, are encoded together: fewer would make small parts."""


class WaitingRows:
    """Rows of one table, on the way to one file.

    Args:
        folder: The table's.
        schema: Of its files.
        encodings: Those of the folder.
    """

    def __init__(self, folder: Path, schema: pa.Schema, encodings: files.Encodings) -> None:
        self.folder, self.schema, self._encodings = folder, schema, encodings
        self._sink = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._plain: list[pa.Table] = []
        self._plain_rows = self._plain_bytes = 0

    @property
    def size(self) -> int:
        """Bytes that are encoded."""
        return int(self._sink.tell())

    def add(self, rows: pa.Table) -> None:
        """Take in some rows."""
        rows = files.conformed(rows, self.schema)
        if rows.num_rows < _ENCODED_ROWS:
            rows = rows.combine_chunks()  # a copy, of the size of the rows: what they come in is larger
            self._plain_bytes += rows.nbytes
        self._plain.append(rows)
        self._plain_rows += rows.num_rows
        if self._plain_rows >= _ENCODED_ROWS or self._plain_bytes >= _ENCODED_BYTES:
            self._encode()

    def encoded(self) -> pa.Buffer | None:
        """The whole file, ``None`` where there are no rows; nothing can be added any more."""
        self._encode()
        if self._writer is None:
            return None
        self._writer.close()
        return self._sink.getvalue()

    def decoded(self) -> pa.Table:
        """The rows again; nothing can be added any more."""
        encoded = self.encoded()
        return pq.read_table(pa.BufferReader(encoded)) if encoded else self.schema.empty_table()

    def _encode(self) -> None:
        plain, self._plain, self._plain_rows, self._plain_bytes = self._plain, [], 0, 0
        rows = pa.concat_tables([self.schema.empty_table(), *plain])
        if rows.num_rows:
            if self._writer is None:
                encoding = self._encodings.of(self.folder, rows)
                self._writer = pq.ParquetWriter(self._sink, self.schema, **encoding)
            files.write_rows(self._writer, rows)


class Waiting:
    """Commits of new rows of one resource, as one.

    Attributes:
        label: That of the first.
        rows: By table.
        since: The last journal before the first of them.
        landed: Their items, key → version.
        book: Their bookkeeping rows; of several with one key the last counts.
    """

    def __init__(self, label: str, rows: Mapping[Table, WaitingRows], *, since: str) -> None:
        self.label, self.rows, self.since = label, rows, since
        self.landed: dict[str, int | None] = {}
        self.book: dict[Table, list[Mapping[str, Any]]] = {}

    @property
    def size(self) -> int:
        """Bytes that are encoded."""
        return sum(rows.size for rows in self.rows.values())

    def takes(self, commit: Commit) -> bool:
        """Whether these are new rows of the same tables."""
        return self.rows.keys() >= commit.rows.keys() and self.landed.keys().isdisjoint(commit.landed)

    def add(self, commit: Commit) -> None:
        """Take in a commit."""
        self.landed.update(commit.landed)
        for table, batches in commit.rows.items():
            self.rows[table].add(pa.Table.from_batches(batches, table.schema))
        for table, booked in commit.book.items():
            self.book.setdefault(table, []).extend(booked)
