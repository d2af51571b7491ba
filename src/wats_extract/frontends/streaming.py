"""Stream the rows of one table as Arrow record batches."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import pyarrow as pa

from wats_extract.engine.fetching import until_left
from wats_extract.flow import Chunk, Failure
from wats_extract.http.client import Client
from wats_extract.tables import Table


class Stream(Iterator[pa.RecordBatch]):
    """Record batches as they arrive, in bounded memory. A stream can be consumed once.

    Attributes:
        failures: Items that could not be fetched or shredded so far; complete once the stream has ended.
        schema: The schema of every batch: the table's, without the ``_wats`` stamps.
    """

    def __init__(self, chunks: Iterator[Chunk], table: Table, client: Client) -> None:
        self.failures: list[Failure] = []
        self.schema: pa.Schema = table.shredded_schema
        self._client = client
        self._batches = self._read(until_left(chunks, client), table)

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def read_all(self) -> pa.Table:
        """All batches as one Arrow table, also if there are no rows. Memory is what the table needs."""
        return pa.Table.from_batches(self, self.schema)

    def close(self) -> None:
        """Stop reading before the end, and abandon requests in flight."""
        self._batches.close()

    def stop(self) -> None:
        """Stop from another thread: the reading thread gets ``Interrupted`` soon."""
        self._client.stop()

    def _read(self, chunks: Generator[Chunk], table: Table) -> Generator[pa.RecordBatch]:
        with closing(chunks):
            for chunk in chunks:
                self.failures.extend(chunk.failures)
                yield from chunk.rows.get(table, ())
