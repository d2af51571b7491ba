"""Items by key: many at the same time, given in the order of their keys, and stopped by themselves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import pyarrow as pa

from wats_extract import events
from wats_extract.errors import KeyFailed
from wats_extract.flow import Failure, Result
from wats_extract.http.client import Client
from wats_extract.readers.reading import Reading
from wats_extract.resources.resource import Resource
from wats_extract.tables import Table

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Fetched:
    """What came of some keys.

    Attributes:
        tables: Arrow tables by name, all of the resource's, rows in the order of the keys.
        failures: The keys that failed, each with code, message and hint.
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
    """Fetches keys of one resource, once.

    Attributes:
        resource: What they are keys of.
        reading: How it is asked for. Its client is a part, which is stopped when the keys are through.
        fail_fast: Whether the first failure is raised.
        on_progress: Told how many items are through.
    """

    resource: Resource
    reading: Reading
    fail_fast: bool
    on_progress: Callable[[int], None]

    def stop(self) -> None:
        """Give up what is under way, from another thread: the one that reads gets ``Interrupted``, soon."""
        self.reading.client.stop()

    def tables(self, keys: Iterable[str]) -> Fetched:
        """All of them as tables.

        Raises:
            KeyFailed: one failed, and ``fail_fast`` says so.
        """
        rows: dict[Table, list[pa.RecordBatch]] = {}
        failures: list[Failure] = []
        reading = _failing_fast(self.reading) if self.fail_fast else self.reading
        done = 0
        chunks = until_left(self.resource.reader.read_keys(reading, _once(keys)), reading.client)
        with closing(chunks):
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
        """One outcome a key, in their order.

        Raises:
            KeyFailed: one failed, and ``fail_fast`` says so.
        """
        outcomes = until_left(self.resource.reader.read_each(self.reading, keys), self.reading.client)
        with closing(outcomes):
            for done, outcome in enumerate(outcomes, start=1):
                if self.fail_fast and not outcome.ok:
                    raise KeyFailed(outcome)
                self.on_progress(done)
                yield outcome


def until_left(values: Iterator[T], client: Client) -> Generator[T]:
    """The values; when they are left, at their end or before, the client's waits and requests end."""
    try:
        yield from values
    finally:
        client.stop()


def _failing_fast(reading: Reading) -> Reading:
    """The reading, stopped by its first failure before the chunk around it is full."""
    failed: list[Failure] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.ItemFailed):
            failed.append(event.failure)

    def judge(ok: bool, times: int = 1) -> None:  # noqa: ARG001, FBT001 - the reading gives it so
        if not ok and failed:
            raise KeyFailed(failed[0])

    return replace(reading, listen=listen, judge=judge)


def _once(keys: Iterable[str]) -> Iterator[str]:
    """Each key where it comes first: a row twice in a table is no help."""
    seen: set[str] = set()
    for key in keys:
        if key not in seen:
            seen.add(key)
            yield key


def _joined(table: Table, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> pa.Table:
    return pa.Table.from_batches(rows.get(table, ()), table.shredded_schema)
