"""How many requests at a time, and how many a second, a server bears: found by what comes back from it.

Two rules of thumb of the internet: what comes back later than usual has stood in a queue, so fewer at a
time are as fast; and after a refusal it is by a factor less, and then little by little more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

FIRST_PLACES = 2
"""Requests at a time to begin with, so that what is learned first is how fast an idle server answers."""

PERIOD = 32
"""Answers that are judged together, for single ones scatter; half as many while places are doubled."""

LATE = 1.5
"""So many times as long as usual is late, for the median of a period, if the quickest quarter is late at all:
what stands in a queue comes late as a whole."""

DRAIN = 0.8
"""Of the places that a server seems to work on at once: so that its queue is empty for a while, and what is
usual is seen again."""

SLACK_SECONDS = 0.03
"""By less than that nothing is late: so long do threads and processes of this machine wait for each other."""

BUSY = 0.7
"""Of one processor, for this process: then it is itself what makes answers late."""

SATURATED = 0.9
"""Of one processor, for this process, where answers come within :data:`SLACK_SECONDS`: then more at a time
would wait for this process, and for each other."""

MEMORY_SECONDS = 1800.0
"""What is usual is known from the last half hour."""

GROUP_SECONDS = 5.0
"""Of so long one median is kept."""

SAME_SECONDS = 30.0
"""Refusals within so long are one and the same: a minute's budget is not known sooner."""

AGAIN_SECONDS = 540.0
"""A refusal so long after another one has nothing to do with it; by then the pace is ten times as fast."""

SLOWEST_RATE = 0.5
"""Requests a second: who refuses those does not mean their number."""

MOST_KINDS = 50
"""Kinds of requests that are told apart."""


class _Usual:
    """How long requests of a kind and size take while they need not queue, as far as is known.

    A fifth of the medians of the last half hour are lower; the lowest one is so by chance.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._group: list[float] = []
        self._group_began = 0.0
        self._medians: deque[tuple[float, float]] = deque()

    def learn(self, seconds: float, now: float) -> None:
        if not self._group:
            self._group_began = now
        if len(self._group) < 2 * PERIOD:
            self._group.append(seconds)
        long = self.seconds is None or now - self._group_began >= GROUP_SECONDS
        if long and len(self._group) >= PERIOD // 2:
            self._medians.append((now, median(self._group)))
            self._group.clear()
            while self._medians[0][0] < now - MEMORY_SECONDS:
                self._medians.popleft()
            self.seconds = max(0.001, sorted(value for _, value in self._medians)[len(self._medians) // 5])


class FlightLimit:
    """How many requests may be under way: as many as the server answers as fast as a few.

    It begins with a few and doubles them as long as the response times stay flat. Each answer is compared
    with those of its kind and size, for a page of 10,000 rows takes longer than one row. Once they are late,
    as many stay as the server seems to work on at once, at least half of them: the rest would only stand in
    its queue. Where that does not help, what makes them late is not what is asked here, and it stays at
    that. After a refusal it is half as many. From then on it is one more at a time. Where this process is the
    limit, and not the server, it stays as it is. Not thread-safe.

    Args:
        most: Never more than these; and never less than one.
        busy: Seconds of processor that this process has used.
    """

    def __init__(self, most: int, *, busy: Callable[[], float] = time.process_time) -> None:
        self.places = min(FIRST_PLACES, most)
        self._most, self._busy = most, busy
        self._usual: dict[tuple[str, int], _Usual] = {}
        self._kinds: set[str] = set()
        self._doubling = True
        self._cut: tuple[float, int] | None = None
        self._futile = False
        self._changed = self._refused = float("-inf")
        self._begin_period(0.0)

    def begin(self, kind: str, now: float) -> None:
        """A request starts. One of a new kind may be dearer than all before: it begins with a few again."""
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            self._change(min(self.places, FIRST_PLACES), now)

    def answered(self, kind: str, *, size: int, began: float, now: float, full: bool) -> None:
        """An answer has come in.

        Args:
            kind: Requests of a kind do the same; their answers differ in size.
            size: Bytes.
            began: When the request started.
            now: When its answer was there.
            full: Whether all places were taken.
        """
        seconds = now - began
        like = (kind, max(0, size - 1).bit_length() // 2)
        usual = self._usual.get(like)
        if usual is None:
            usual = self._usual[like] = _Usual()
        known = usual.seconds
        usual.learn(seconds, now)
        if began < self._changed:
            return  # it says how it was with more, or fewer, at a time
        self._answers += 1
        self._full |= full
        if known is not None:
            self._stretches.append(
                seconds / known if seconds > known + SLACK_SECONDS else min(1, seconds / known)
            )
        self._judge_period(now)

    def unanswered(self, kind: str, *, began: float, now: float) -> None:
        """A request was given up, after so long."""
        known = [usual.seconds for (each, _), usual in self._usual.items() if each == kind and usual.seconds]
        longest = max(known, default=float("inf"))
        if began >= self._changed and now - began > LATE * longest + SLACK_SECONDS:
            self._answers += 1
            self._stretches.append((now - began) / longest)
            self._judge_period(now)

    def refused(self, *, began: float, now: float) -> bool:
        """The server has refused a request. Whether that is news: others may have been under way."""
        if began < self._refused:
            return False
        self._refused = now
        self._doubling = False
        self._change(self.places // 2, now)
        return True

    def _judge_period(self, now: float) -> None:
        if self._answers < (PERIOD // 2 if self._doubling else PERIOD):
            return
        stretches = sorted(self._stretches) or [1.0]
        stretch, quick = stretches[len(stretches) // 2], stretches[len(stretches) // 4]
        elapsed = now - self._began
        busy = (self._busy() - self._busy_before) / elapsed if elapsed else 0.0
        saturated = busy > SATURATED and self.places * elapsed < SLACK_SECONDS * self._answers
        if stretch <= LATE or quick <= 1 or busy > BUSY:
            self._cut, self._futile = None, False
            if self._full and not saturated:
                self._change(2 * self.places if self._doubling else self.places + 1, now)
                return
        elif self._worth_a_cut(stretch):
            self._cut = stretch, self.places
            self._doubling = False
            self._change(round(DRAIN * self.places / min(stretch, 2)), now)
            return
        self._begin_period(now)

    def _worth_a_cut(self, stretch: float) -> bool:
        """Whether fewer at a time may be faster: the first time, and as long as it has helped."""
        if self._cut is None:
            return True
        late, places = self._cut
        self._futile |= stretch > late * (1 + self.places / places) / 2
        return not self._futile or stretch > 2 * late

    def _change(self, places: int, now: float) -> None:
        self.places = min(max(1, places), self._most)
        self._doubling |= self.places == self._most
        self._changed = now
        self._begin_period(now)

    def _begin_period(self, now: float) -> None:
        self._answers, self._full = 0, False
        self._stretches: list[float] = []
        self._began, self._busy_before = now, self._busy()


class Pace:
    """How far apart requests start, once the server refuses again and again what the budget allows.

    Until then they start at once, and after a single refusal too: pauses do for that. Then it is nine
    tenths of what the server has accepted in the minute before, at equal distances; and minute by minute
    more: 2 %, 6 %, 14 %, … Not thread-safe.
    """

    def __init__(self) -> None:
        self._accepted: deque[list[int]] = deque(maxlen=12)  # by spans of five seconds
        self._refused_at = float("-inf")
        self._rate = float("inf")
        self._due = float("-inf")

    def accepted(self, now: float) -> None:
        """The server has accepted a request."""
        span = int(now // 5)
        if not self._accepted or self._accepted[-1][0] != span:
            self._accepted.append([span, 0])
        self._accepted[-1][1] += 1

    def refused(self, now: float) -> None:
        """The server has refused a request: too many."""
        since = now - self._refused_at
        if since < SAME_SECONDS:
            return
        first = now // 5 - 11
        lately = sum(number for span, number in self._accepted if span >= first) / (now - 5 * first)
        if since < AGAIN_SECONDS and lately:  # who accepts nothing at all does not mean the number
            self._rate = max(SLOWEST_RATE, 0.9 * min(lately, self.rate(now)))
            self._due = now
        self._refused_at = now

    def rate(self, now: float) -> float:
        """Requests a second that it seems to accept; without end where it refuses none."""
        since = now - self._refused_at
        if since >= AGAIN_SECONDS:
            self._rate = float("inf")
            return self._rate
        return self._rate * (1 + 0.02 * (2 ** (since / 60) - 1))

    def seconds(self, now: float) -> float:
        """How long until a request may start; nothing or less if now."""
        return self._due - now

    def start(self, now: float) -> None:
        """A request starts. What others were late is made up for, but never more than a second of it."""
        self._due = max(self._due, now - 1.0) + 1 / self.rate(now)
