"""Fetch items by key, concurrently and in the order of the keys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import pyarrow as pa

from wats_extract.errors import KeyFailed
from wats_extract.flow import Chunk, Failure, Result, Selection
from wats_extract.http.client import Client
from wats_extract.readers.reader import Source
from wats_extract.resources.resource import Resource
from wats_extract.tables import Table

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Fetched:
    """The result of fetching some keys.

    Attributes:
        tables: All tables of the resource by name, as Arrow tables. Rows are in the order of the keys.
        failures: The items that failed, each with code, message and hint.
    """

    tables: Mapping[str, pa.Table]
    failures: Sequence[Failure]

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {table.num_rows}" for name, table in self.tables.items() if table.num_rows)
        return f"<Fetched rows {rows or 'none'}; failures: {len(self.failures)}>"

    def failures_table(self) -> pa.Table:
        """The failures as an Arrow table."""
        names = [field.name for field in fields(Failure)]
        rows = [{name: getattr(failure, name) for name in names} for failure in self.failures]
        types = {"http_status": pa.int32(), "attempts": pa.int32()}
        return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.string())) for name in names]))


@dataclass(frozen=True)
class Fetching:
    """One call of ``fetch`` or ``fetch_each``.

    Attributes:
        resource: The resource of the keys.
        source: The source to read from. Its client belongs to this call alone and is stopped at the end.
        selection: The options of the resource.
        fail_fast: Whether the first failure is raised.
        on_progress: Receives the number of items done.
    """

    resource: Resource
    source: Source
    selection: Selection
    fail_fast: bool
    on_progress: Callable[[int], None]

    def stop(self) -> None:
        """Abandon requests in flight, from another thread. The reading thread then raises ``Interrupted``."""
        self.source.client.stop()

    def tables(self, keys: Iterable[str]) -> Fetched:
        """Fetch all items, as tables.

        Raises:
            KeyFailed: an item failed, and ``fail_fast`` is set.
        """
        rows: dict[Table, list[pa.RecordBatch]] = {}
        failures: list[Failure] = []
        done = 0
        with closing(until_left(self._chunks(keys), self.source.client)) as chunks:
            for chunk in chunks:
                if self.fail_fast and chunk.failures:
                    raise KeyFailed(chunk.failures[0])
                failures.extend(chunk.failures)
                for table, batches in chunk.rows.items():
                    rows.setdefault(table, []).extend(batches)
                done += len(chunk.landed) + len(chunk.failures)
                self.on_progress(done)
        return Fetched({each.name: _joined(each, rows) for each in self.resource.tables}, failures)

    def each(self, keys: Iterable[str]) -> Generator[Result[dict[str, Any]]]:
        """Fetch items one by one: one outcome per key, in the order of the keys.

        Raises:
            KeyFailed: an item failed, and ``fail_fast`` is set.
        """
        outcomes = self.resource.reader.outcomes(self.source, self.selection, keys)
        with closing(until_left(outcomes, self.source.client)) as results:
            for done, outcome in enumerate(results, start=1):
                if self.fail_fast and not outcome.ok:
                    raise KeyFailed(outcome)
                self.on_progress(done)
                yield outcome

    def _chunks(self, keys: Iterable[str]) -> Iterator[Chunk]:
        reader = self.resource.reader
        source = replace(self.source, judge=_raise_failure) if self.fail_fast else self.source
        for window in reader.plan(source, self.selection, keys=_distinct(keys)):
            yield from reader.read(source, window)


def until_left(values: Iterator[T], client: Client) -> Generator[T]:
    """The values. At their end, or if the caller leaves early, the client ends its waits and requests."""
    try:
        yield from values
    finally:
        client.stop()


def _raise_failure(failure: Failure | None, times: int = 1) -> None:  # noqa: ARG001
    """Stop the reading at its first failure, before its chunk is full.

    Raises:
        KeyFailed: an item failed.
    """
    if failure is not None:
        raise KeyFailed(failure)


def _distinct(keys: Iterable[str]) -> Iterator[str]:
    """Each key once, in the order of first appearance."""
    seen: set[str] = set()
    for key in keys:
        if key not in seen:
            seen.add(key)
            yield key


def _joined(table: Table, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> pa.Table:
    return pa.Table.from_batches(rows.get(table, ()), table.shredded_schema)
