"""How wide the next window should be, so that its answer is nearly full and not cut.

Two things are learned from the rows that come: how many an hour of the week usually brings (shifts and
weekends), and how far the last window was above or below that (holidays, growth, campaigns).

An answer that was cut tells more. Its rows mostly are the newest ones of the window, so that they say how
many rows there are in its later part. That part is read again all the same: what an answer is taken for
decides how wide windows are, never what is covered.

All instants are in seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

HOUR, WEEK = 3600.0, 168 * 3600.0

FILL = 0.86
"""How full answers are meant to be at first: more of them would be cut, fewer rows cost a request as well."""

FULLER, EMPTIER = 0.001, 0.019
"""How much fuller they are meant to be after a whole one, and emptier after a cut: one in twenty is cut."""

FULLEST, EMPTIEST = 0.95, 0.75

GROWTH = 3.0
"""A window beyond what is known of the week is at most so many times as wide as the one before it."""

MEMORY = 0.1
"""The weight of the last week in what is usual, after the first ten."""

FAR_ABOVE = 4.0
"""Where so many times the usual rows come, what is usual says nothing: there may be none usually."""

LOOKED_AT = 3 * WEEK
"""Of wider windows just the last weeks are learned from."""

MOST_LOOKS = 12
"""Windows that are cut while the first rows are looked for, before they are just halved."""

STEP_BACK = 8
"""How much farther from the end each look for the first rows goes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a window of which all rows seem to be known.

    Attributes:
        begin: Its first instant.
        end: The first instant after it.
        times: When its rows were, in order.
    """

    begin: float
    end: float
    times: Sequence[float]


class Rhythm:
    """How many rows come when.

    Attributes:
        by_density: Rows an hour where nothing else is known.
        learned: How many seconds it has learned from.
    """

    def __init__(self) -> None:
        self.by_density = 0.0
        self.learned = 0.0
        self._usual: list[float | None] = [None] * 168
        self._weeks = [0] * 168
        self._of_day: list[float | None] = [None] * 24
        self._level = 1.0
        self._hour, self._seconds, self._rows = 0, 0.0, 0.0

    def reach(self, begin: float, end: float, rows: float) -> tuple[float, float]:
        """Up to where so many rows are expected, at most up to ``end``; and how many up to there."""
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
        """What a whole answer says."""
        self.by_density = len(times) / (end - begin) * HOUR
        first = max(begin, end - LOOKED_AT)
        counts = Counter(int(time // HOUR) for time in times if time >= first)
        expected, hours = 0.0, list[tuple[int, float]]()
        for hour in range(int(first // HOUR), int(-(-end // HOUR))):
            seconds = min(end, (hour + 1) * HOUR) - max(first, hour * HOUR)
            expected += (self._known(hour) or 0.0) * seconds / HOUR
            if hour != self._hour:
                self._hour, self._seconds, self._rows = hour, 0.0, 0.0
            self._seconds += seconds
            self._rows += counts[hour]
            if self._seconds > HOUR - 2:
                hours.append((hour, self._rows))
        little = 0.02 * cap
        self._level = (counts.total() + little) / (expected + little) if self.learned else 1.0
        for hour, rows in hours:
            self._update(hour % 168, rows)
        self.learned += end - begin

    @property
    def holds(self) -> bool:
        """Whether the last window was not far above what is usual; otherwise its density says more."""
        return self._level <= FAR_ABOVE

    def _known(self, hour: int) -> float | None:
        """The usual rows of an hour: of this one in the week, or else of this one of the day."""
        usual = self._usual[hour % 168]
        return self._of_day[hour % 24] if usual is None else usual

    def _rate(self, hour: int) -> float:
        known = self._known(hour)
        return self.by_density if known is None or not self.holds else known * self._level

    def _update(self, hour: int, rows: float) -> None:
        self._weeks[hour] += 1
        before = self._usual[hour] or 0.0
        self._usual[hour] = before + max(MEMORY, 1 / self._weeks[hour]) * (rows - before)
        known = [rate for rate in self._usual[hour % 24 :: 24] if rate is not None]
        self._of_day[hour % 24] = sum(known) / len(known)


@dataclass
class Widths:
    """Chooses the end of each window of a reading.

    Whatever the rows and the answers are, of the windows with one beginning that are cut each is half as
    wide as the one before, from the third on; while the first rows are looked for, from the twelfth on.

    Attributes:
        end: Where the reading ends.
        from_the_end: Whether the first rows are to be looked for from the end: they may be decades away
            from the beginning.
        rhythm: How many rows come when.
        seen: Parts of cut answers that are not read yet, in order.
        cuts: How many windows with this beginning were cut.
        halved: Whether the last window had to be halved: the next one is not much wider then.
        fill: How full answers are meant to be.
        begun: Whether rows have come.
        looked: Whether the first rows are known to be later than the beginning.
        rows_from: Before this instant no rows are known of, as long as none have come.
        rows_until: Where the last row is, as far as is known then.
        one: About how wide a nearly full window is, as long as no rows have come.
    """

    end: float
    from_the_end: bool
    rhythm: Rhythm = field(default_factory=Rhythm)
    seen: list[Stretch] = field(default_factory=list)
    cuts: int = 0
    halved: bool = False
    fill: float = FILL
    begun: bool = False
    looked: bool = False
    rows_from: float = 0.0
    rows_until: float = 0.0
    one: float = 0.0

    def after_cut(self, begin: float, until: float, times: Sequence[float], *, rows: int) -> float:
        """Where a window that was cut should end instead.

        Args:
            begin: Where the window begins.
            until: Where it ended.
            times: When the rows of its answer were, in order; empty where they do not say.
            rows: How many there were.
        """
        self.cuts += 1
        half = begin + (until - begin) / 2
        known = self._remember(begin, until, times)
        if known is None:
            return half
        if not self.begun and known.begin > begin:
            self.rows_from, self.rows_until = times[0], self.rows_until or times[-1]
            self.one = FILL * (times[-1] - times[0])
            chosen = self._towards_the_first(begin, until - begin)
            return chosen if chosen < until and self.cuts <= MOST_LOOKS else half
        if self.cuts == 1:
            self.fill = max(EMPTIEST, self.fill - EMPTIER)
        chosen = self._nearly_full(begin, rows, width=until - begin)
        if self.cuts == 2 and known.begin > begin:
            chosen = min(chosen, known.begin)
        return chosen if chosen < until and self.cuts <= 2 else half

    def after_whole(
        self, begin: float, until: float, times: Sequence[float], *, rows: int, cap: int
    ) -> float:
        """Where the window after one that is whole should end; ``cap`` is how many rows it may have."""
        self.cuts, self.halved = 0, self.cuts > 2
        width = until - begin
        if rows and not self.begun:
            self.begun = True
            first = times[0] if times else begin
            begin = max(begin, min(first, until - 1.0))  # nothing is learned from before there was a plant
        self.seen = [stretch for stretch in self.seen if stretch.end > until]
        if not self.begun:
            self.from_the_end, self.looked = False, True
            return self._towards_the_first(until, width)
        self.fill = min(FULLEST, self.fill + FULLER)
        spread = times or [begin + (place + 0.5) / rows * (until - begin) for place in range(rows)]
        self.rhythm.learn(begin, until, spread, cap=cap)
        return self._nearly_full(until, cap, width=width)

    def _remember(self, begin: float, until: float, times: Sequence[float]) -> Stretch | None:
        """The part of a cut window whose rows seem to be there: those at one end of it."""
        if not times or times[0] == times[-1]:
            return None
        if times[0] - begin > until - times[-1]:
            first, last = times[0] + 1e-6, until
        else:
            first, last = begin, times[-1]
        known = Stretch(first, last, times[bisect_left(times, first) : bisect_left(times, last)])
        later = [_from(until, stretch) for stretch in self.seen if stretch.end > until]
        self.seen = [known, *later]
        return known

    def _nearly_full(self, begin: float, cap: int, *, width: float) -> float:
        """Up to where an answer is nearly full: what is known counts as it is, the rest with a margin."""
        margin = (1 + 0.2 * self.cuts) / self.fill
        left = (cap - 1) * 0.95**self.cuts
        most = max(
            GROWTH * width,
            WEEK if self.rhythm.learned >= WEEK and self.rhythm.holds and not self.halved else 0.0,
        )
        at, limit = begin, min(self.end, begin + most)
        for stretch in [*self.seen, Stretch(limit, limit, ())]:
            unknown_until = min(stretch.begin, limit)
            reached, rows = self.rhythm.reach(at, unknown_until, left / margin)
            if reached < unknown_until:
                return reached
            left -= rows * margin
            at = max(at, unknown_until)
            first = bisect_left(stretch.times, at)
            if len(stretch.times) - first > left:
                return min(limit, stretch.times[first + int(left)])
            left -= len(stretch.times) - first
            at = max(at, stretch.end)
            if at >= limit:
                break
        return limit

    def _towards_the_first(self, begin: float, width: float) -> float:
        """While no rows have come: from the end in growing steps, then halfway to where rows are."""
        if self.from_the_end:
            back = self.rows_until - STEP_BACK * (self.rows_until - self.rows_from)
            if back > begin + (self.end - begin) / 50:
                return back
        between = self.rows_from - begin
        if self.one == 0.0:
            return self.end
        if between <= 0:
            return begin + max(self.one, GROWTH * width)
        return begin + (between / 2 if self.looked and between > 4 * self.one else self.one)


def _from(begin: float, stretch: Stretch) -> Stretch:
    """What a stretch has from an instant on."""
    if begin <= stretch.begin:
        return stretch
    return Stretch(begin, stretch.end, stretch.times[bisect_left(stretch.times, begin) :])
