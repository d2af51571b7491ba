"""The sliding window of a request budget: how many requests started within the last minute."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MINUTE = 60.0

MARGIN_SECONDS = 0.5
"""Added to the minute. The server counts requests when they arrive; this covers the time on the way."""

TICKS = 605
"""Starts are counted per tick, so that every budget takes the same space: 605 ticks of 0.1 s."""

SKEW_SECONDS = 1.0
"""The most that the clocks of two processes differ. A later time was written before the machine restarted."""

_MAGIC = b"wats-b01"
_LAYOUT = struct.Struct(f"<8sqqddd{TICKS + 1}I")
_SUM = struct.Struct("<I")


class Wait(NamedTuple):
    """Why a request may not start yet, and for how many seconds at least."""

    reason: str
    seconds: float


class SlidingWindow:
    """The starts of the last minute, a pause that the server asked for, and the smallest budget.

    Args:
        minute: The length of a minute in seconds; tests shorten it.
    """

    def __init__(self, minute: float = MINUTE) -> None:
        self.seconds = minute + MARGIN_SECONDS
        self.tick = self.seconds / TICKS
        self.paused_until = float("-inf")
        self._newest = 0
        self._counts = [0] * (TICKS + 1)
        self._total = 0
        self._smallest, self._smallest_until = 0, float("-inf")

    def take(self, now: float, *, budget: int, most: int = 1) -> int:
        """Count up to ``most`` starts now, as many as the budget leaves room for; return their number.

        If processes have different budgets, the smallest holds for all of them as long as its process keeps
        sending requests: otherwise that process would never find room.
        """
        self._forward(now)
        taken = max(0, min(most, self.budget(now, budget) - self._total))
        self._counts[self._newest % len(self._counts)] += taken
        self._total += taken
        return taken

    def budget(self, now: float, own: int) -> int:
        """The budget that holds now, which is at most the process's own."""
        if own <= self._smallest or now >= self._smallest_until:
            self._smallest, self._smallest_until = own, now + self.seconds
        return self._smallest

    def seconds_until_room(self, now: float, *, budget: int) -> float:
        """How long until enough starts are a minute old for another one."""
        surplus = self._total - self.budget(now, budget)
        for tick in range(self._newest - TICKS, self._newest + 1):
            surplus -= self._counts[tick % len(self._counts)]
            if surplus < 0:
                seconds = (tick + TICKS + 1.01) * self.tick - now  # a little later, because floats round
                return min(max(seconds, self.tick / 100), self.seconds + self.tick)
        return self.seconds

    def end_of_tick(self, now: float) -> float:
        """Until when a start counts the same as one now."""
        return (now // self.tick + 1) * self.tick

    def _forward(self, now: float) -> None:
        """Forget what is older than a minute and the margin."""
        newest = max(self._newest, int(now // self.tick))
        for tick in range(self._newest + 1, min(newest, self._newest + TICKS + 1) + 1):
            place = tick % len(self._counts)
            self._total -= self._counts[place]
            self._counts[place] = 0
        if newest > self._newest + TICKS:
            self._counts, self._total = [0] * (TICKS + 1), 0
        self._newest = newest

    # ── as bytes ──

    def encode(self) -> bytes:
        """The window as bytes, with a checksum."""
        body = _LAYOUT.pack(
            _MAGIC,
            self._newest,
            self._smallest,
            self._smallest_until,
            self.paused_until,
            self.tick,
            *self._counts,
        )
        return body + _SUM.pack(zlib.crc32(body))

    def decode(self, data: bytes, now: float) -> None:
        """Take over the window that another process has written.

        Times in the future were written before the clock restarted. They are dropped, so that no request
        waits longer than a minute because of a file.

        Raises:
            ValueError: the bytes are no such window; this window has not changed.
        """
        body, check = data[: _LAYOUT.size], data[_LAYOUT.size :]
        if len(body) < _LAYOUT.size or check != _SUM.pack(zlib.crc32(body)):
            raise ValueError("it is damaged")
        magic, newest, smallest, smallest_until, paused_until, tick, *counts = _LAYOUT.unpack(body)
        if magic != _MAGIC or tick != self.tick:
            raise ValueError("another version wrote it")
        latest = now + SKEW_SECONDS
        if newest * tick > latest:
            newest, counts = int(now // tick), [0] * (TICKS + 1)
        self._newest, self._counts, self._total = newest, counts, sum(counts)
        self._smallest = smallest
        self._smallest_until = smallest_until if smallest_until <= latest + self.seconds else float("-inf")
        self.paused_until = paused_until if paused_until <= latest + self.seconds else float("-inf")
