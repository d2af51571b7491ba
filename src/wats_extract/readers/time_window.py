"""Windows on time: for routes that take a range of it and give at most so many rows, and nothing to page by.

A window whose answer may have been cut is read again, narrower. An answer is whole for sure only where the
server has given more rows in another one; so whatever reaches the largest answer is doubted, and the
server's real cap is learned, whatever it declares. A window that is cut at the smallest width still is
landed as far as it goes and named; the reading goes on.

How wide a window is (``widths``) follows from what came before, and from which rows a cut answer held: as
documented the newest ones, but nothing that is covered rests on that. Only whole answers cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from wats_extract.filters import odata, wats_filter
from wats_extract.flow import USUAL_CAPS, Cursor, Row, Window
from wats_extract.readers.keyset import SMALLEST_CAP
from wats_extract.readers.reading import Page, Query, Reading, RowsOf
from wats_extract.readers.widths import Widths

BEFORE_WATS = datetime(1990, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
"""How far the clocks of stations may run ahead."""

SECOND = timedelta(seconds=1)

UUID_LENGTH = 36


@dataclass(frozen=True)
class TimeWindows:
    """A list that takes a WATS filter: ``dateFrom``, ``dateTo`` (exclusive) and ``topCount``.

    Attributes:
        route: Below ``/api``; asked by POST.
        cap: How many rows are asked for at once.
        look_back: How late a row may arrive and still be found by the next reading.
        smallest: The narrowest window.
        now: The clock.
        moment: The field of a record that says when it was; windows are narrowed with less requests by it.
        queried: The fields of the WATS filter that this route takes in its query, not in the body.
    """

    route: str
    cap: int = 10_000
    look_back: timedelta = timedelta(days=7)
    smallest: timedelta = SECOND
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    queried: frozenset[str] = frozenset()
    moment: str = "startUtc"

    paging = "time windows"
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """Any key may be one of its rows'; uuids are lower-case."""
        return key.lower() if len(key) == UUID_LENGTH else key

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """The rows of each window, oldest first; empty windows go with the one after them.

        Raises:
            RequestError: a window stays without a usable answer.
        """
        begin, end, done = self._span(reading)
        walk = _Walk(self.cap)
        widths = Widths(end.timestamp(), from_the_end=begin == BEFORE_WATS)
        read_from, until, before = begin, end, set[str]()
        while begin < end:
            answer = self._ask(reading, rows, query, begin, until)
            span, times = (begin.timestamp(), until.timestamp()), self._times(answer, begin, until)
            doubt = walk.doubts(answer)
            if doubt and until - begin > self.smallest:
                until = self._end(begin, widths.after_cut(*span, times, rows=len(answer)), end)
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
            begin, before = until, {row.key for row in answer}
            until = self._end(begin, widths.after_whole(*span, times, rows=len(answer), cap=walk.cap), end)

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

    def _end(self, begin: datetime, instant: float, end: datetime) -> datetime:
        """Where a window ends that should end there: on a multiple of the smallest width, or at the end."""
        if instant >= end.timestamp():
            return end
        grid = begin.replace(microsecond=0) if self.smallest >= SECOND else begin
        steps = max(1, int((instant - grid.timestamp()) / self.smallest.total_seconds()))
        return min(grid + steps * self.smallest, end)

    def _times(self, answer: list[Row], begin: datetime, end: datetime) -> list[float]:
        """When the rows of an answer were, in order; nothing where one does not say, or says otherwise."""
        try:
            times = sorted(_instant(getattr(row.record, self.moment)) for row in answer)
        except (AttributeError, TypeError, ValueError):
            return []
        within = times and begin.timestamp() <= times[0] and times[-1] <= end.timestamp()
        return times if within else []

    def _ask(self, reading: Reading, rows: RowsOf, query: Query, begin: datetime, end: datetime) -> list[Row]:
        asked = wats_filter.body(reading.selection.asked)
        question: Mapping[str, str | int] = {
            **{name: text for name, text in asked.items() if name not in self.queried},
            "dateFrom": odata.timestamp_text(begin),
            "dateTo": odata.timestamp_text(end),
            "topCount": self.cap,
        }
        query = query | {name: text for name, text in asked.items() if name in self.queried}
        return reading.client.get(
            self.route, query=query, body=question, decode=lambda reply: rows(reply.body)
        )


@dataclass(frozen=True, slots=True)
class _Doubt:
    """An answer may have been cut; ``certain`` where its length is that of a cap."""

    certain: bool


@dataclass
class _Walk:
    """What is learned on the way of the server's cap.

    Attributes:
        cap: The most rows of one answer, as far as is known.
        largest: The most rows that were given in one answer.
        at_largest: The keys of the first answer with so many.
    """

    cap: int
    largest: int = 0
    at_largest: frozenset[str] = frozenset()

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


def _instant(text: str) -> float:
    """A timestamp in seconds; without zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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
