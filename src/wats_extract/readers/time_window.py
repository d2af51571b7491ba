"""Windows on time: for routes that take a range of it and give at most so many rows, and nothing to page by.

A window whose answer may have been cut is read again in halves. An answer is whole for sure only where the
server has given more rows in another one; so whatever reaches the largest answer is doubted, and the
server's real cap is learned, whatever it declares. A window that is cut at the smallest width still is
landed as far as it goes and named; the reading goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from wats_extract import odata
from wats_extract.flow import Cursor, Row, Window
from wats_extract.readers.keyset import SMALLEST_CAP
from wats_extract.readers.reading import Page, Query, Reading, RowsOf
from wats_extract.readers.snapshot import USUAL_CAPS

BEFORE_WATS = datetime(1990, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
"""How far the clocks of stations may run ahead."""

SECOND, NO_TIME = timedelta(seconds=1), timedelta()

FILL = 0.85
"""How full answers should be: more are cut and read again, fewer rows cost a request as well."""

GROWTH = 3.0
"""A window is at most so many times as wide as the one before it."""


@dataclass(frozen=True)
class TimeWindows:
    """A list that takes a WATS filter: ``dateFrom``, ``dateTo`` (exclusive) and ``topCount``.

    Attributes:
        route: Below ``/api``; asked by POST.
        cap: How many rows are asked for at once.
        look_back: How late a row may arrive and still be found by the next reading.
        smallest: The narrowest window.
        now: The clock.
    """

    route: str
    cap: int = 10_000
    look_back: timedelta = timedelta(days=7)
    smallest: timedelta = SECOND
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """Any key may be one of its rows'; uuids are lower-case."""
        return key.lower()

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """The rows of each window, oldest first; empty windows go with the one after them.

        Raises:
            RequestError: a window stays without a usable answer.
        """
        begin, end, done = self._span(reading)
        walk = _Walk(self.cap, width=end - begin)
        read_from, before = begin, set[str]()
        while begin < end:
            until = self._end(begin, walk.width, end)
            answer = self._ask(reading, rows, query, begin, until)
            doubt = walk.doubts(answer)
            if doubt and until - begin > self.smallest:
                walk.narrow(begin, until, rows=len(answer))
                continue
            cut = doubt is not None and doubt.certain
            fresh = list({row.key: row for row in answer if row.key not in before}.values())
            if cut and read_from < begin:
                done = max(done, min(begin, self.now()))
                yield _page([], read_from, begin, done, cap=walk.cap, cut=False)
                read_from = begin
            if answer or until == end:
                done = done if cut else max(done, min(until, self.now()))
                yield _page(fresh, read_from, until, done, cap=walk.cap, cut=cut)
                read_from = until
            walk.go_on(begin, until, rows=len(answer))
            begin, before = until, {row.key for row in answer}

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some keys; the route knows no keys, so it is read until all of them are found."""
        wanted, found = set(keys), dict[str, Row]()
        for page in self.pages(reading, rows, query):
            found |= {row.key: row for row in page.rows if row.key in wanted}
            if len(found) == len(wanted):
                break
        return found

    def _span(self, reading: Reading) -> tuple[datetime, datetime, datetime]:
        """From where to where to read, and up to where all has been read before."""
        since = reading.selection.since or BEFORE_WATS
        end = reading.selection.until or self.now() + AHEAD
        if reading.cursor is None:
            return since, end, since
        done = datetime.fromisoformat(reading.cursor["start"])
        return max(since, done - self.look_back), end, done

    def _end(self, begin: datetime, width: timedelta, end: datetime) -> datetime:
        """Where a window of about that width ends: on a multiple of the smallest width, or at the end."""
        grid = begin.replace(microsecond=0) if self.smallest >= SECOND else begin
        if width >= end - begin:
            return end
        steps = max(1, width // self.smallest)
        return min(grid + steps * self.smallest, end)

    def _ask(self, reading: Reading, rows: RowsOf, query: Query, begin: datetime, end: datetime) -> list[Row]:
        question: Mapping[str, str | int] = {
            "dateFrom": odata.timestamp_text(begin),
            "dateTo": odata.timestamp_text(end),
            "topCount": self.cap,
        }
        return reading.client.get(
            self.route, query=query, body=question, decode=lambda reply: rows(reply.body)
        )


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An answer may have been cut; ``certain`` where its length is that of a cap."""

    certain: bool


@dataclass
class _Walk:
    """What is learned on the way: the cap, and how dense the rows are.

    Attributes:
        cap: The most rows of one answer, as far as is known.
        width: Of the next window.
        largest: The most rows that were given in one answer.
        at_largest: The keys of the first answer with so many.
        recent: Width in seconds and rows of the last windows.
        dense_until: The end of the last window that was cut.
        ahead: At least so many rows are before it still.
    """

    cap: int
    width: timedelta
    largest: int = 0
    at_largest: frozenset[str] = frozenset()
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=4))
    dense_until: datetime = BEFORE_WATS
    ahead: int = 0

    def doubts(self, answer: list[Row]) -> _Doubt | None:
        """Whether an answer may have been cut; ``None`` where the server has given more at once.

        So many rows are a cap for certain where they are as many as were asked for, a usual cap, or as many
        as the largest answer had, which had others.
        """
        count = len(answer)
        if count < self.largest or count < min(SMALLEST_CAP, self.cap):
            return None
        keys = frozenset(row.key for row in answer)
        certain = (
            count >= self.cap or count in USUAL_CAPS or (count == self.largest and keys != self.at_largest)
        )
        if count > self.largest:
            self.largest, self.at_largest = count, keys
        if certain:
            self.cap = count
        return _Doubt(certain)

    def narrow(self, begin: datetime, end: datetime, *, rows: int) -> None:
        """Half of a window whose answer may have been cut."""
        self.dense_until, self.ahead = end, rows
        self.width = (end - begin) / 2

    def go_on(self, begin: datetime, end: datetime, *, rows: int) -> None:
        """The next window as wide as the densest of the recent windows allows, and what is known of it."""
        width, left = end - begin, self.dense_until - end
        self.recent.append((width / SECOND, rows))
        self.ahead = max(0, self.ahead - rows) if left > NO_TIME else 0
        seconds, count = (sum(column) for column in zip(*self.recent, strict=True))
        density = max(count / seconds, rows / self.recent[-1][0])
        self.width = GROWTH * width
        if density:
            self.width = min(self.width, FILL * self.cap / density * SECOND)
        if self.ahead > FILL * self.cap:
            self.width = min(self.width, left / 2)


def _page(rows: list[Row], begin: datetime, end: datetime, done: datetime, *, cap: int, cut: bool) -> Page:
    """A page that moves the cursor as a whole: rows within it may come in any order."""
    window = Window(odata.timestamp_text(begin), odata.timestamp_text(end), len(rows), cap, not cut)
    before: Cursor = {"start": odata.timestamp_text(min(begin, done))}
    after: Cursor = {"start": odata.timestamp_text(done)}
    why = (
        f"{window.key}: {len(rows):,} rows came, as many as the server gives; there may be more"
        if cut
        else ""
    )
    cursors: list[Cursor | None] = [before] * len(rows)
    return Page(rows, cursors, cap=cap, saturated=why, covered=after, window=window)
