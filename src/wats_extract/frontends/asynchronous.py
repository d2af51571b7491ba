"""Run blocking work in threads, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


async def awaited(work: Callable[[], T], *, stop: Callable[[], None]) -> T:
    """What ``work`` gives, in a thread; where the task is cancelled, it is stopped and waited for."""
    import asyncio  # whoever gets here has it; others need not wait for it

    step = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        stop()
        while not step.done():
            with suppress(asyncio.CancelledError):  # of those who ask again meanwhile
                await asyncio.wait([step])
        step.exception()  # that it was interrupted is no news
        raise


async def awaited_each(
    values: Iterator[T], *, stop: Callable[[], None], close: Callable[[], None]
) -> AsyncGenerator[T]:
    """The values, each waited for in a thread; when they are left, so are the threads."""
    try:
        while (value := await awaited(partial(next, values, _END), stop=stop)) is not _END:
            yield cast("T", value)
    finally:
        stop()
        close()
