"""Adaptive limits: how many concurrent requests, and how many per second, a server handles.

Two rules from congestion control: a response that takes longer than usual has waited in a queue, so fewer
concurrent requests are as fast; and after a refusal the limit drops by a factor and then grows slowly.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

FIRST_CONCURRENCY = 2
"""Concurrent requests at the start, to learn first how fast the server is when it is idle."""

PERIOD = 32
"""Responses that are judged together, because single ones vary; half as many while the limit is doubled."""

LATE = 1.5
"""A median this many times the baseline is late, if the fastest quarter is late too: a queue delays all."""

DRAIN = 0.8
"""When responses are late, the limit becomes this share of what the server seems to handle at once: its queue
then drains for a while, and the baseline can be measured again."""

SLACK_SECONDS = 0.03
"""A response is not late by less than this: threads and processes of this machine wait that long for one
another."""

BUSY = 0.7
"""Above this share of one CPU, this process itself makes the responses late."""

SATURATED = 0.9
"""Above this share of one CPU, if responses arrive within :data:`SLACK_SECONDS`, more concurrent requests
would only wait for this process and for one another."""

MEMORY_SECONDS = 1800.0
"""The baseline covers the last half hour."""

GROUP_SECONDS = 5.0
"""The baseline keeps one median for each span of this length."""

SAME_SECONDS = 30.0
"""Refusals within this time count as one: it takes that long to learn a budget per minute."""

AGAIN_SECONDS = 540.0
"""A refusal this long after another one is unrelated to it; by then the rate has grown tenfold."""

SLOWEST_RATE = 0.5
"""The lowest rate in requests per second: a server that refuses even that has another reason."""

MOST_KINDS = 50
"""The most kinds of requests that are distinguished."""


class _Baseline:
    """The usual response time of requests of one kind and size when nothing queues, as far as it is known.

    It is the lower quintile of the medians of the last half hour; the lowest one may be low by chance.
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


class ConcurrencyLimit:
    """How many concurrent requests keep the server's response times flat. Not thread-safe.

    The limit starts low and doubles as long as response times stay flat. Each response is compared with
    those of its kind and size, because a page of 10,000 rows takes longer than one row. When responses are
    late, the limit drops to the number that the server seems to handle at once, but at most by half. If that
    does not help, the server is slow for another reason, and the limit stays. A refusal halves the limit.
    After either, it grows by one at a time. It does not grow while this process is the bottleneck.

    Args:
        most: The highest limit; the lowest is one.
        busy: Seconds of CPU time that this process has used.

    Attributes:
        concurrency: The current limit.
    """

    def __init__(self, most: int, *, busy: Callable[[], float] = time.process_time) -> None:
        self.concurrency = min(FIRST_CONCURRENCY, most)
        self._most, self._busy = most, busy
        self._baselines: dict[tuple[str, int], _Baseline] = {}
        self._kinds: set[str] = set()
        self._doubling = True
        self._cut: tuple[float, int] | None = None
        self._futile = False
        self._changed = self._refused = float("-inf")
        self._begin_period(0.0)

    def begin(self, kind: str, now: float) -> None:
        """A request starts. A new kind may cost the server more than all others, so it starts low again."""
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            self._change(min(self.concurrency, FIRST_CONCURRENCY), now)

    def answered(self, kind: str, *, size: int, began: float, now: float, full: bool) -> None:
        """A response has arrived.

        Args:
            kind: The kind of request.
            size: The response's size in bytes; sizes within a factor of 4 are compared.
            began: When the request started.
            now: When its response was complete.
            full: Whether the limit was reached.
        """
        seconds = now - began
        like = (kind, max(0, size - 1).bit_length() // 2)
        baseline = self._baselines.get(like)
        if baseline is None:
            baseline = self._baselines[like] = _Baseline()
        known = baseline.seconds
        baseline.learn(seconds, now)
        if began < self._changed:
            return  # it was sent under another limit
        self._answers += 1
        self._full |= full
        if known is not None:
            self._stretches.append(
                seconds / known if seconds > known + SLACK_SECONDS else min(1, seconds / known)
            )
        self._judge_period(now)

    def unanswered(self, kind: str, *, began: float, now: float) -> None:
        """A request ended without a response."""
        known = [each.seconds for (like, _), each in self._baselines.items() if like == kind and each.seconds]
        longest = max(known, default=float("inf"))
        if began >= self._changed and now - began > LATE * longest + SLACK_SECONDS:
            self._answers += 1
            self._stretches.append((now - began) / longest)
            self._judge_period(now)

    def refused(self, *, began: float, now: float) -> bool:
        """The server refused a request; whether that is new. Requests in flight at that time count as one."""
        if began < self._refused:
            return False
        self._refused = now
        self._doubling = False
        self._change(self.concurrency // 2, now)
        return True

    def _judge_period(self, now: float) -> None:
        if self._answers < (PERIOD // 2 if self._doubling else PERIOD):
            return
        stretches = sorted(self._stretches) or [1.0]
        stretch, fastest = stretches[len(stretches) // 2], stretches[len(stretches) // 4]
        elapsed = now - self._began
        busy = (self._busy() - self._busy_before) / elapsed if elapsed else 0.0
        saturated = busy > SATURATED and self.concurrency * elapsed < SLACK_SECONDS * self._answers
        if stretch <= LATE or fastest <= 1 or busy > BUSY:
            self._cut, self._futile = None, False
            if self._full and not saturated:
                self._change(2 * self.concurrency if self._doubling else self.concurrency + 1, now)
                return
        elif self._worth_a_cut(stretch):
            self._cut = stretch, self.concurrency
            self._doubling = False
            self._change(round(DRAIN * self.concurrency / min(stretch, 2)), now)
            return
        self._begin_period(now)

    def _worth_a_cut(self, stretch: float) -> bool:
        """Whether a lower limit may help: the first time, and as long as it has helped."""
        if self._cut is None:
            return True
        late, concurrency = self._cut
        self._futile |= stretch > late * (1 + self.concurrency / concurrency) / 2
        return not self._futile or stretch > 2 * late

    def _change(self, concurrency: int, now: float) -> None:
        self.concurrency = min(max(1, concurrency), self._most)
        self._doubling |= self.concurrency == self._most
        self._changed = now
        self._begin_period(now)

    def _begin_period(self, now: float) -> None:
        self._answers, self._full = 0, False
        self._stretches: list[float] = []
        self._began, self._busy_before = now, self._busy()


class RateLimiter:
    """Spaces requests out after the server has refused several within the budget. Not thread-safe.

    Until then, and after a single refusal, requests start without spacing; the pause that comes with a
    refusal is enough. After another refusal they start at equal distances, at nine tenths of the rate that
    the server accepted in the minute before. The rate then grows: by 2 %, 6 %, 14 %, … each minute.
    """

    def __init__(self) -> None:
        self._accepted: deque[list[int]] = deque(maxlen=12)  # counts in spans of five seconds
        self._refused_at = float("-inf")
        self._rate = float("inf")
        self._due = float("-inf")

    def accepted(self, now: float) -> None:
        """The server accepted a request."""
        span = int(now // 5)
        if not self._accepted or self._accepted[-1][0] != span:
            self._accepted.append([span, 0])
        self._accepted[-1][1] += 1

    def refused(self, now: float) -> None:
        """The server refused a request with 429."""
        since = now - self._refused_at
        if since < SAME_SECONDS:
            return
        first = now // 5 - 11
        lately = sum(number for span, number in self._accepted if span >= first) / (now - 5 * first)
        if since < AGAIN_SECONDS and lately:  # a server that accepts nothing does not limit the rate
            self._rate = max(SLOWEST_RATE, 0.9 * min(lately, self.rate(now)))
            self._due = now
        self._refused_at = now

    def rate(self, now: float) -> float:
        """The rate in requests per second that the server seems to accept; infinite if it refuses none."""
        since = now - self._refused_at
        if since >= AGAIN_SECONDS:
            self._rate = float("inf")
            return self._rate
        return self._rate * (1 + 0.02 * (2 ** (since / 60) - 1))

    def seconds(self, now: float) -> float:
        """How long until a request may start; zero or less for now."""
        return self._due - now

    def start(self, now: float) -> None:
        """A request starts. Delays of earlier requests are made up for, by a second at most."""
        self._due = max(self._due, now - 1.0) + 1 / self.rate(now)
