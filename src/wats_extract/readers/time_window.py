"""Read by time windows: for routes that take a range of time, cap their rows, and do not page.

A window whose response may have been cut is read again, narrower. A response is certainly whole only if the
server has returned more rows in another response, so the largest response so far may always be cut. That way
the reader learns the server's real cap, whatever it declares. If a window is cut even at the smallest width,
its rows are loaded, it is recorded as saturated, and the reading goes on.

:mod:`~wats_extract.readers.widths` chooses how wide windows are. Completeness does not depend on its choice:
only whole responses count as covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from wats_extract.cursor import Cursor, StartCursor
from wats_extract.filters import odata, wats_filter
from wats_extract.flow import USUAL_CAPS, Bounds, Coverage, Reply, Row, Times, Window
from wats_extract.readers.keyset import SMALLEST_CAP
from wats_extract.readers.reader import Page, Query, RowsOf, Source, selected
from wats_extract.readers.widths import Widths

BEFORE_WATS = datetime(1990, 1, 1, tzinfo=UTC)
AFTER_WATS = datetime(2500, 1, 1, tzinfo=UTC)
"""Where the last window of an open range ends: station clocks, and this machine's, may be wrong by years."""

AHEAD = timedelta(days=1)
"""How far station clocks usually run ahead."""

SECOND = timedelta(seconds=1)

UUID_LENGTH = 36


@dataclass(frozen=True)
class TimeWindows:
    """A list that takes a WATS filter: ``dateFrom``, ``dateTo`` (exclusive) and ``topCount``.

    Attributes:
        route: The route below ``/api``; requested by POST.
        cap: The number of rows per request.
        look_back: How late a row may arrive and still be found by the next reading.
        smallest: The narrowest window.
        now: The clock.
        moment: The field of a record with its time. It helps to narrow windows with fewer requests.
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
    versioned = False
    countable = True
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """The key, with uuids in lower case: any text may be a key."""
        return key.lower() if len(key) == UUID_LENGTH else key

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:  # noqa: ARG002
        """Ranges of time. Without ``since`` they get narrower towards the present, where most rows are."""
        begin, end, _ = self._span(window)
        known = begin != BEFORE_WATS
        edges = {
            self._on_grid(end - (end - begin) * ((parts - place) / parts) ** (1 if known else 3))
            for place in range(1, parts)
        }
        inner = sorted(edge for edge in edges if begin < edge < end)
        return [Times(low, high) for low, high in zip([None, *inner], [*inner, None], strict=True)]

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """The rows of each range, oldest first; an empty range is merged into the next one.

        Raises:
            RequestError: a request fails after all retries.
        """
        begin, end, done = self._span(window)
        last = selected(window).until or AFTER_WATS
        cap = _LearnedCap(self.cap)
        widths = Widths(end.timestamp(), search_from_end=begin == BEFORE_WATS)
        read_from, until, before = begin, last, set[str]()
        latest = done
        while begin < last:
            found, date = self._request(source, window, rows, query, begin, until)
            span, times = (begin.timestamp(), min(until, end).timestamp()), self._times(found, begin, until)
            judged = cap.judge(found)
            if judged is not _Response.WHOLE and until - begin > self.smallest:
                if begin < end and not (times and times[-1] > end.timestamp()):
                    until = self._end(begin, widths.after_cut(*span, times, rows=len(found)), end, last)
                else:  # this machine's clock is behind
                    until = max(begin + self.smallest, self._on_grid(begin + (until - begin) / 2))
                continue
            if times:
                latest = max(latest, datetime.fromtimestamp(times[-1], UTC))
            reached = date or (min(latest, self.now()) if times or not found else self.now())
            cut = judged is _Response.CUT
            fresh = list({row.key: row for row in found if row.key not in before}.values())
            if until == last:
                fresh = [row for row in fresh if not self._belongs_to_next(row, window)]
            if cut and read_from < begin:
                done = max(done, min(begin, reached))
                yield _page([], read_from, begin, done, cap=cap.rows, cut=False)
                read_from = begin
            if found or until == last:
                done = done if cut else max(done, min(until, reached))
                yield _page(fresh, read_from, min(until, max(end, begin)), done, cap=cap.rows, cut=cut)
                read_from = until
            begin, before = until, {row.key for row in found}
            if begin < end:
                chosen = widths.after_whole(*span, times, rows=len(found), cap=cap.rows)
                until = self._end(begin, chosen, end, last)
            else:
                until = last

    def look_up(
        self, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
    ) -> dict[str, Row]:
        """The rows of some keys. The route takes no keys, so the list is read until all are found."""
        wanted, found = set(keys), dict[str, Row]()
        for page in self.pages(source, window, rows, query):
            found |= {row.key: row for row in page.rows if row.key in wanted}
            if len(found) == len(wanted):
                break
        return found

    def _span(self, window: Window) -> tuple[datetime, datetime, datetime]:
        """Where to begin, where the rows probably end, and up to which time everything was read before."""
        selection = selected(window)
        since = selection.since or BEFORE_WATS
        end = selection.until or max(since, self.now()) + AHEAD
        done = window.cursor.instant if isinstance(window.cursor, StartCursor) else None
        if done is None or done > end:  # a clock was years ahead in an earlier reading, or is behind now
            return since, end, since
        return max(since, done - self.look_back), end, done

    def _belongs_to_next(self, row: Row, window: Window) -> bool:
        """Whether a row lies exactly at the end of a divided window: some servers include ``dateTo``."""
        if not isinstance(window.bounds, Times) or window.bounds.end is None:
            return False
        try:
            return _instant(getattr(row.record, self.moment)) == window.bounds.end.timestamp()
        except (AttributeError, TypeError, ValueError):
            return False

    def _on_grid(self, edge: datetime) -> datetime:
        return edge.replace(microsecond=0)

    def _end(self, begin: datetime, instant: float, end: datetime, last: datetime) -> datetime:
        """The end of a window near an instant: a multiple of the smallest width, ``last`` from ``end`` on."""
        if instant >= end.timestamp():
            return last
        grid = begin.replace(microsecond=0) if self.smallest >= SECOND else begin
        steps = max(1, int((instant - grid.timestamp()) / self.smallest.total_seconds()))
        chosen = grid + steps * self.smallest
        return chosen if chosen < end else last

    def _times(self, found: list[Row], begin: datetime, end: datetime) -> list[float]:
        """The times of the rows in a response, sorted; empty if one is missing or outside the window."""
        try:
            times = sorted(_instant(getattr(row.record, self.moment)) for row in found)
        except (AttributeError, TypeError, ValueError):
            return []
        within = times and begin.timestamp() <= times[0] and times[-1] <= end.timestamp()
        return times if within else []

    def _request(
        self, source: Source, window: Window, rows: RowsOf, query: Query, begin: datetime, end: datetime
    ) -> tuple[list[Row], datetime | None]:
        """The rows of a range, and the time of the server's clock."""
        asked = wats_filter.body(window.selection.asked)
        body: Mapping[str, str | int] = {
            **{name: text for name, text in asked.items() if name not in self.queried},
            "dateFrom": odata.timestamp_text(begin),
            "dateTo": odata.timestamp_text(end),
            "topCount": self.cap,
        }
        query = query | {name: text for name, text in asked.items() if name in self.queried}
        return source.client.get(
            self.route, query=query, body=body, decode=lambda reply: (rows(reply.body), _date(reply))
        )


class _Response(Enum):
    """Whether a response has all rows of its window."""

    WHOLE = auto()
    MAYBE_CUT = auto()
    CUT = auto()


@dataclass
class _LearnedCap:
    """The server's cap, learned from its responses.

    Attributes:
        rows: The cap, as far as is known.
        largest: The largest number of rows in any response so far.
        at_largest: The keys of the first response with that number of rows.
    """

    rows: int
    largest: int = 0
    at_largest: frozenset[str] = frozenset()

    def judge(self, found: list[Row]) -> _Response:
        """Whether a response is whole, which it is if the server has returned more rows at once.

        It was cut if it has as many rows as requested, a usual cap, or as many rows as another response with
        different rows.
        """
        count = len(found)
        if count < self.largest or count < min(SMALLEST_CAP, self.rows):
            return _Response.WHOLE
        keys = frozenset(row.key for row in found)
        cut = count >= self.rows or count in USUAL_CAPS or (count == self.largest and keys != self.at_largest)
        if count > self.largest:
            self.largest, self.at_largest = count, keys
        if cut:
            self.rows = count
        return _Response.CUT if cut else _Response.MAYBE_CUT


def _instant(text: str) -> float:
    """A timestamp in seconds; one without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _date(reply: Reply) -> datetime | None:
    """When the server answered, by its own clock: a wrong clock here must not move the cursor."""
    try:
        date = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _page(rows: list[Row], begin: datetime, end: datetime, done: datetime, *, cap: int, cut: bool) -> Page:
    """A page that moves the cursor as a whole, because its rows may come in any order."""
    coverage = Coverage(
        "start", odata.timestamp_text(begin), odata.timestamp_text(end), len(rows), cap, complete=not cut
    )
    why = f"{coverage.key}: {len(rows):,} rows came, the most that the server returns; there may be more"
    before: Cursor = StartCursor(start=odata.timestamp_text(min(begin, done)))
    cursors: list[Cursor | None] = [before] * len(rows)
    return Page(
        rows,
        cursors,
        cap=cap,
        saturated=why if cut else "",
        covered=StartCursor(start=odata.timestamp_text(done)),
        coverage=coverage,
    )
