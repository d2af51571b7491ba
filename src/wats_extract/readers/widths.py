"""Choose the width of each time window, so that its response is nearly full and not cut.

Two things are learned from the rows received: how many rows each hour of the week usually has (shifts and
weekends), and how far the last window was above or below that (holidays, growth, campaigns).

A cut response tells more. It usually has the newest rows of the window, so the later part of the window is
known. That part is read again all the same: these estimates only decide how wide windows are, and never which
ranges count as covered.

All instants are in seconds since 1970.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

HOUR, WEEK = 3600.0, 168 * 3600.0

FILL = 0.86
"""The share of the cap that responses should reach at first. A higher share means more cut responses, and a
lower one means more responses: both cost requests."""

FILL_AFTER_WHOLE, FILL_AFTER_CUT = 0.001, 0.019
"""How much that share rises after a whole response, and falls after a cut one: it settles at one cut response
in twenty."""

LARGEST_FILL, SMALLEST_FILL = 0.95, 0.75

GROWTH = 3.0
"""A window is at most this many times as wide as the previous one, or a week once a whole week is known."""

LATEST_WEEK_WEIGHT = 0.1
"""The weight of the latest week in the average of an hour, once there are ten weeks."""

FAR_ABOVE = 4.0
"""If a window has this many times the usual rows, the averages are not used for the next one."""

LEARNED_PART = 3 * WEEK
"""Only the end of a wider window is learned from."""

MOST_CUTS_BEFORE_HALVING = 12
"""While the first rows are searched for, this many windows may be cut before the next one is just halved."""

STEP_BACK = 8
"""How many times farther from the end each step of the search for the first rows goes."""


@dataclass(frozen=True, slots=True)
class KnownPart:
    """A part of a cut window whose rows all seem to be in the response.

    Attributes:
        begin: Its first instant.
        end: The first instant after it.
        times: The times of its rows, sorted.
    """

    begin: float
    end: float
    times: Sequence[float]


class HourlyRates:
    """How many rows to expect in each hour.

    Attributes:
        density: The rows per hour in the last window, used for hours without an average.
        learned: The seconds that the averages were learned from.
    """

    def __init__(self) -> None:
        self.density = 0.0
        self.learned = 0.0
        self._by_hour_of_week: list[float | None] = [None] * 168
        self._weeks = [0] * 168
        self._by_hour_of_day: list[float | None] = [None] * 24
        self._level = 1.0  # of the last window, compared with the averages
        self._hour, self._seconds, self._rows = 0, 0.0, 0.0  # the hour that the last window ended in

    def reach(self, begin: float, end: float, rows: float) -> tuple[float, float]:
        """The instant by which this many rows are expected, at most ``end``, and the rows by then."""
        at, left = begin, rows
        week = sum(map(self._rate, range(168)))
        while at < end:
            if (weeks := (end - at) // WEEK) >= 1 and week <= left:
                weeks = min(weeks, left // week) if week else weeks
                at, left = at + weeks * WEEK, left - weeks * week
                continue
            hour = int(at // HOUR)
            until = min(end, (hour + 1) * HOUR)
            expected = self._rate(hour) * (until - at) / HOUR
            if expected > left:
                return at + left / expected * (until - at), rows
            at, left = until, left - expected
        return end, rows - left

    def learn(self, begin: float, end: float, times: Sequence[float], *, cap: int) -> None:
        """Learn from a whole response: the times of all rows in a window."""
        self.density = len(times) / (end - begin) * HOUR
        first = max(begin, end - LEARNED_PART)
        counts = Counter(int(time // HOUR) for time in times if time >= first)
        expected, complete = 0.0, list[tuple[int, float]]()
        for hour in range(int(first // HOUR), int(-(-end // HOUR))):
            seconds = min(end, (hour + 1) * HOUR) - max(first, hour * HOUR)
            expected += (self._average(hour) or 0.0) * seconds / HOUR
            if hour != self._hour:
                self._hour, self._seconds, self._rows = hour, 0.0, 0.0
            self._seconds += seconds
            self._rows += counts[hour]
            if self._seconds > HOUR - 2:
                complete.append((hour, self._rows))
        few = 0.02 * cap  # so that a handful of rows does not change the level
        self._level = (counts.total() + few) / (expected + few) if self.learned else 1.0
        for hour, rows in complete:
            self._update(hour % 168, rows)
        self.learned += end - begin

    @property
    def usable(self) -> bool:
        """Whether the averages say anything about the next window: not if the last one was far above them."""
        return self._level <= FAR_ABOVE

    def _average(self, hour: int) -> float | None:
        """The usual rows of an hour: of this hour of the week, or else of this hour of the day."""
        average = self._by_hour_of_week[hour % 168]
        return self._by_hour_of_day[hour % 24] if average is None else average

    def _rate(self, hour: int) -> float:
        average = self._average(hour)
        return self.density if average is None or not self.usable else average * self._level

    def _update(self, hour: int, rows: float) -> None:
        self._weeks[hour] += 1
        before = self._by_hour_of_week[hour] or 0.0
        weight = max(LATEST_WEEK_WEIGHT, 1 / self._weeks[hour])
        self._by_hour_of_week[hour] = before + weight * (rows - before)
        known = [rate for rate in self._by_hour_of_week[hour % 24 :: 24] if rate is not None]
        self._by_hour_of_day[hour % 24] = sum(known) / len(known)


@dataclass
class Widths:
    """Chooses the end of each window of a reading.

    Cut windows with the same beginning get narrower until one is whole: from the third cut on, each is half
    as wide as the previous one. While the first rows are searched for, halving begins with the twelfth.

    Attributes:
        end: Where the reading ends.
        search_from_end: Whether to search for the first rows from the end: they may be decades after the
            beginning.
        rates: How many rows to expect in each hour.
        known: The known parts of cut windows that are not read yet, in order.
        cuts: The number of windows with this beginning that were cut.
        halved: Whether the previous window had to be halved. Then the next one is not much wider.
        fill: The share of the cap that a response should reach.
        has_rows: Whether any window had rows.
        passed_empty: Whether a window without rows was read.
        first_row: The earliest row seen in a cut window, before ``has_rows``.
        last_row: The latest row seen, before ``has_rows``.
        full_width: Roughly the width of a nearly full window, before ``has_rows``.
    """

    end: float
    search_from_end: bool
    rates: HourlyRates = field(default_factory=HourlyRates)
    known: list[KnownPart] = field(default_factory=list)
    cuts: int = 0
    halved: bool = False
    fill: float = FILL
    has_rows: bool = False
    passed_empty: bool = False
    first_row: float = 0.0
    last_row: float = 0.0
    full_width: float = 0.0

    def after_cut(self, begin: float, until: float, times: Sequence[float], *, rows: int) -> float:
        """Where a window that was cut should end instead.

        Args:
            begin: Where the window begins.
            until: Where it ended.
            times: The times of the rows in the response, sorted; empty if the rows do not tell.
            rows: The number of rows in the response.
        """
        self.cuts += 1
        half = begin + (until - begin) / 2
        known = self._remember(begin, until, times)
        if known is None:
            return half
        if not self.has_rows and known.begin > begin:
            self.first_row, self.last_row = times[0], self.last_row or times[-1]
            self.full_width = FILL * (times[-1] - times[0])
            chosen = self._towards_first_row(begin, until - begin)
            return chosen if chosen < until and self.cuts <= MOST_CUTS_BEFORE_HALVING else half
        if self.cuts == 1:
            self.fill = max(SMALLEST_FILL, self.fill - FILL_AFTER_CUT)
        chosen = self._nearly_full(begin, rows, width=until - begin)
        if self.cuts == 2 and known.begin > begin:
            chosen = min(chosen, known.begin)
        return chosen if chosen < until and self.cuts <= 2 else half

    def after_whole(
        self, begin: float, until: float, times: Sequence[float], *, rows: int, cap: int
    ) -> float:
        """Where the window after a whole one should end; ``cap`` is the number of rows that it may have."""
        self.cuts, self.halved = 0, self.cuts > 2
        width = until - begin
        if rows and not self.has_rows:
            self.has_rows = True
            first = times[0] if times else begin
            begin = max(begin, min(first, until - 1.0))  # there is nothing to learn from the time before
        self.known = [part for part in self.known if part.end > until]
        if not self.has_rows:
            self.search_from_end, self.passed_empty = False, True
            return self._towards_first_row(until, width)
        self.fill = min(LARGEST_FILL, self.fill + FILL_AFTER_WHOLE)
        spread = times or [begin + (place + 0.5) / rows * (until - begin) for place in range(rows)]
        self.rates.learn(begin, until, spread, cap=cap)
        return self._nearly_full(until, cap, width=width)

    def _remember(self, begin: float, until: float, times: Sequence[float]) -> KnownPart | None:
        """The part of a cut window whose rows seem to be complete: its later part, or its earlier one."""
        if not times or times[0] == times[-1]:
            return None
        if times[0] - begin > until - times[-1]:
            first, last = times[0] + 1e-6, until
        else:
            first, last = begin, times[-1]
        known = KnownPart(first, last, times[bisect_left(times, first) : bisect_left(times, last)])
        later = [_after(until, part) for part in self.known if part.end > until]
        self.known = [known, *later]
        return known

    def _nearly_full(self, begin: float, cap: int, *, width: float) -> float:
        """The end of a nearly full window. Rows of known parts count as they are, others with a margin."""
        margin = (1 + 0.2 * self.cuts) / self.fill
        left = (cap - 1) * 0.95**self.cuts
        week_is_known = self.rates.learned >= WEEK and self.rates.usable and not self.halved
        widest = max(GROWTH * width, WEEK if week_is_known else 0.0)
        at, limit = begin, min(self.end, begin + widest)
        for part in [*self.known, KnownPart(limit, limit, ())]:
            unknown_until = min(part.begin, limit)
            reached, rows = self.rates.reach(at, unknown_until, left / margin)
            if reached < unknown_until:
                return reached
            left -= rows * margin
            at = max(at, unknown_until)
            first = bisect_left(part.times, at)
            if len(part.times) - first > left:
                return min(limit, part.times[first + int(left)])
            left -= len(part.times) - first
            at = max(at, part.end)
            if at >= limit:
                break
        return limit

    def _towards_first_row(self, begin: float, width: float) -> float:
        """The next window of the search: in growing steps from the end, then halfway to the known rows."""
        if self.search_from_end:
            back = self.last_row - STEP_BACK * (self.last_row - self.first_row)
            if back > begin + (self.end - begin) / 50:
                return back
        distance = self.first_row - begin
        if self.full_width == 0.0:
            return self.end
        if distance <= 0:
            return begin + max(self.full_width, GROWTH * width)
        far = self.passed_empty and distance > 4 * self.full_width
        return begin + (distance / 2 if far else self.full_width)


def _after(instant: float, part: KnownPart) -> KnownPart:
    """The rest of a part, from an instant on."""
    if instant <= part.begin:
        return part
    return KnownPart(instant, part.end, part.times[bisect_left(part.times, instant) :])
