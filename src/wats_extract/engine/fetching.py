"""Fetch items by key, concurrently and in the order of the keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from operator import index
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import pyarrow as pa

from wats_extract.errors import KeyFailed
from wats_extract.flow import Chunk, Failure, Result, Selection
from wats_extract.http.client import Client
from wats_extract.readers.reader import Source
from wats_extract.resources.resource import Resource
from wats_extract.tables import Table

T = TypeVar("T")

AnyKey: TypeAlias = str | int | UUID
"""A key as callers have it."""

AnyKeys: TypeAlias = AnyKey | Iterable[AnyKey]
"""Some keys, or a single one."""


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
        types = {"http_status": pa.int32(), "attempts": pa.int32(), "final": pa.bool_()}
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

    def tables(self, keys: object) -> Fetched:
        """Fetch all items, as tables.

        Args:
            keys: The keys, or a single one; see :func:`each_key`.

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

    def each(self, keys: object) -> Generator[Result[dict[str, Any]]]:
        """Fetch items one by one: one outcome per key, in the order of the keys.

        Args:
            keys: The keys, or a single one; see :func:`each_key`.

        Raises:
            KeyFailed: an item failed, and ``fail_fast`` is set.
        """
        with closing(until_left(self._outcomes(each_key(keys)), self.source.client)) as results:
            for done, outcome in enumerate(results, start=1):
                if self.fail_fast and not outcome.ok:
                    raise KeyFailed(outcome)
                self.on_progress(done)
                yield outcome

    def _outcomes(self, keys: Iterable[str | NoKey]) -> Iterator[Result[dict[str, Any]]]:
        """The outcomes of the keys, and failures for values that are no keys, in the order of ``keys``."""
        read_ahead: deque[Failure | None] = deque()  # per key that the reader has taken: why it is no key

        def proper() -> Iterator[str]:
            for key in keys:
                read_ahead.append(self._failure(key) if isinstance(key, NoKey) else None)
                if not isinstance(key, NoKey):
                    yield key

        for outcome in self.resource.reader.outcomes(self.source, self.selection, proper()):
            while (failure := read_ahead.popleft()) is not None:
                yield failure
            yield outcome
        yield from (failure for failure in read_ahead if failure is not None)

    def _chunks(self, keys: object) -> Iterator[Chunk]:
        reader = self.resource.reader
        source = replace(self.source, judge=_raise_failure) if self.fail_fast else self.source
        failures: list[Failure] = []

        def proper() -> Iterator[str]:
            for key in _distinct(each_key(keys)):
                if not isinstance(key, NoKey):
                    yield key
                    continue
                failures.append(self._failure(key))
                if self.fail_fast:
                    return  # the items before this key come first

        for window in reader.plan(source, self.selection, keys=proper()):
            yield from reader.read(source, window)
        if failures:
            yield Chunk("", {}, {}, failures)

    def _failure(self, key: NoKey) -> Failure:
        return Failure(
            self.source.resource,
            key.text,
            "fetch",
            "NOT_FOUND",
            key.reason,
            hint="A key is a text, a whole number or a UUID.",
            attempts=0,
        )


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


@dataclass(frozen=True)
class NoKey:
    """A value that is given as a key, and cannot be one.

    Attributes:
        text: How the value is shown.
        reason: Why it cannot be a key.
    """

    text: str
    reason: str


def each_key(keys: object) -> Iterator[str | NoKey]:
    """Return keys as texts, and values that cannot be keys as :class:`NoKey`.

    Whole numbers, UUIDs, UTF-8 bytes and Arrow scalars become texts. A single value is one key, also a text.
    Errors of the caller's own iterable are raised.
    """
    if keys is None or isinstance(keys, str | bytes | bytearray | memoryview):
        return iter([_key(keys)])
    try:
        return map(_key, iter(keys))  # type: ignore[call-overload]
    except TypeError:  # neither iterable nor a sequence
        return iter([_key(keys)])


def _key(given: object) -> str | NoKey:
    value: object = given.as_py() if isinstance(given, pa.Scalar) else given
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode("utf-8")
        if isinstance(value, str):
            value.encode("utf-8")
            return str(value)
    except UnicodeError:
        return NoKey(_shown(value), "the key is not valid Unicode text")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float) and value.is_integer():  # Pandas turns whole numbers with gaps into floats
        return str(int(value))
    try:
        if not isinstance(value, bool):
            return str(index(value))  # type: ignore[arg-type]  # also NumPy's whole numbers
    except (TypeError, ValueError):
        pass
    return NoKey(_shown(value), f"the key is of type {type(value).__name__}")


def _shown(value: object) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:
        text = object.__repr__(value)
    return text[:200].encode("utf-8", "backslashreplace").decode("utf-8")


def _distinct(keys: Iterable[str | NoKey]) -> Iterator[str | NoKey]:
    """Each key once, in the order of first appearance."""
    seen: set[str | NoKey] = set()
    for key in keys:
        if key not in seen:
            seen.add(key)
            yield key


def _joined(table: Table, rows: Mapping[Table, Sequence[pa.RecordBatch]]) -> pa.Table:
    return pa.Table.from_batches(rows.get(table, ()), table.shredded_schema)
