"""How many requests started within the last minute, and how many more may; in memory, and as bytes."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MINUTE = 60.0

MARGIN_SECONDS = 0.5
"""The server counts in a minute by arrival: this covers what requests spend on the way."""

TICKS = 605
"""Starts are counted by tick, so that any budget takes the same room; 605 are a minute and the margin."""

SKEW_SECONDS = 1.0
"""Clocks of two processes differ by less. What is dated later than that is from before a restart."""

_MAGIC = b"wats-b01"
_LAYOUT = struct.Struct(f"<8sqqddd{TICKS + 1}I")
_SUM = struct.Struct("<I")


class Hindrance(NamedTuple):
    """Why a request may not start yet, and for how many seconds at least."""

    reason: str
    seconds: float


class Window:
    """What is shared: the starts of the last minute, a pause that the server asked for, the smallest budget.

    Args:
        minute: Its seconds; tests take less.
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
        """Count up to ``most`` starts now, as many as the budget leaves room for; give their number.

        Where processes were given different budgets, the smallest holds for all of them, as long as the
        one that has it goes on asking: otherwise it would never see room.
        """
        self._forward(now)
        taken = max(0, min(most, self.budget(now, budget) - self._total))
        self._counts[self._newest % len(self._counts)] += taken
        self._total += taken
        return taken

    def budget(self, now: float, own: int) -> int:
        """The budget that holds now, which is not more than one's own."""
        if own <= self._smallest or now >= self._smallest_until:
            self._smallest, self._smallest_until = own, now + self.seconds
        return self._smallest

    def seconds_until_room(self, now: float, *, budget: int) -> float:
        """How long until a start is old enough for another one to follow it."""
        surplus = self._total - self.budget(now, budget)
        for tick in range(self._newest - TICKS, self._newest + 1):
            surplus -= self._counts[tick % len(self._counts)]
            if surplus < 0:
                seconds = (tick + TICKS + 1.01) * self.tick - now  # a little beyond, for floats are not exact
                return min(max(seconds, self.tick / 100), self.seconds + self.tick)
        return self.seconds

    def end_of_tick(self, now: float) -> float:
        """Until when a start counts the same as one that starts now."""
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
        """The window as bytes, with a check sum."""
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
        """Take over what another process has written.

        Whatever lies in the future is from before the clock began anew: it is forgotten, so that nobody
        waits longer than a minute for what is in a file.

        Raises:
            ValueError: it is no such window; this one has not changed.
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
