"""The methods of a connection for asyncio: threads do the blocking work."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

import pyarrow as pa

from wats_extract.engine.fetching import AnyKeys, Fetched, Fetching
from wats_extract.flow import Result
from wats_extract.frontends.streaming import Stream

T = TypeVar("T")

_END = object()


class AsyncMethods(ABC):
    """``astream``, ``afetch`` and ``afetch_each``, on top of the methods that block."""

    @abstractmethod
    def stream(self, resource: str, **selection: Any) -> Stream:
        """Read a resource from beginning to end as record batches."""

    @abstractmethod
    def _fetching(self, name: str, **how: Any) -> Fetching:
        """Check the arguments of ``fetch``, and prepare it."""

    def astream(self, resource: str, **selection: Any) -> AsyncGenerator[pa.RecordBatch]:
        """The same as :meth:`stream`, for asyncio: a thread waits for each batch.

        Cancelling the task stops the reading; that takes no longer than one request.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            selection: The arguments of :meth:`stream`.

        Yields:
            Record batches, as :meth:`stream` does.

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: a request for the list fails after all retries.
        """
        stream = self.stream(resource, **selection)
        return _awaited_each(stream, stop=stream.stop, close=stream.close)

    async def afetch(self, resource: str, keys: AnyKeys, **how: Any) -> Fetched:
        """The same as :meth:`fetch`, for asyncio: it works in a thread.

        Routes, keys and memory are those of :meth:`fetch`. Several calls at the same time share the
        connection's request budget. Cancelling the task stops the work: waits end at once, no request
        follows, and requests in flight end by the connection's ``timeout``.

        Args:
            resource: The resource's name; ``wats-extract resources`` lists them.
            keys: The keys, or a single one. A generator is read in the thread.
            how: The other arguments of :meth:`fetch`; ``on_progress`` is called in the thread.

        Returns:
            Arrow tables and failures.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` is set.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not respond any more.
        """
        fetching = self._fetching(resource, **how)
        return await _awaited(partial(fetching.tables, keys), stop=fetching.stop)

    def afetch_each(self, resource: str, keys: AnyKeys, **how: Any) -> AsyncGenerator[Result[dict[str, Any]]]:
        """The same as :meth:`fetch_each`, for asyncio: a thread waits for each outcome.

        Routes, keys, memory and the request budget are those of :meth:`fetch_each`. Cancelling works as for
        :meth:`afetch`.

        Args:
            resource: The resource's name; ``wats-extract resources`` lists them.
            keys: The keys. A generator is read in the threads.
            how: The other arguments of :meth:`fetch_each`; ``on_progress`` is called in the threads.

        Yields:
            ``Success`` with the decoded JSON as its value, or ``Failure``, in the order of the keys.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` is set.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not respond any more.
        """
        fetching = self._fetching(resource, **how)
        outcomes = fetching.each(keys)
        return _awaited_each(outcomes, stop=fetching.stop, close=outcomes.close)


async def _awaited(work: Callable[[], T], *, stop: Callable[[], None]) -> T:
    """Run ``work`` in a thread and return its result. A cancelled task stops the work and waits for it."""
    step = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        stop()
        while not step.done():
            with suppress(asyncio.CancelledError):  # the caller may cancel again meanwhile
                await asyncio.wait([step])
        step.exception()  # retrieve it: the work was interrupted on purpose
        raise


async def _awaited_each(
    values: Iterator[T], *, stop: Callable[[], None], close: Callable[[], None]
) -> AsyncGenerator[T]:
    """Yield values, each computed in a thread. The threads end when the caller leaves."""
    try:
        while (value := await _awaited(partial(next, values, _END), stop=stop)) is not _END:
            yield cast("T", value)
    finally:
        stop()
        close()
