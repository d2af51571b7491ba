"""Time windows read all rows once, whatever their distribution and the cap; cut windows are reported."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.fakes import mock
from tests.readers.simulated import Time, reading

from wats_extract.cursor import StartCursor
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.readers.reader import Page, RowsOf
from wats_extract.readers.time_window import AHEAD, BEFORE_WATS, TimeWindows

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGINNING + timedelta(days=90)
SECOND = timedelta(seconds=1)


@dataclass
class Server:
    """A route that takes a WATS filter, as an HTTP transport sees it.

    Attributes:
        seconds: The time of each row, in seconds after the beginning. The index is the row's key.
        cap: The largest number of rows per response, whatever is requested.
        closed: Whether ``dateTo`` is inclusive.
        gives: The rows in a cut response: the "newest", the "oldest", or "any".
        meanwhile: Called before each response, with the beginning of the requested window.
        asked: The request bodies so far.
        date: The server's clock, if it sends it.
    """

    seconds: list[float]
    cap: int = 1_000_000
    closed: bool = False
    gives: str = "newest"
    meanwhile: Callable[[datetime], None] = lambda begin: None
    asked: list[dict[str, Any]] = field(default_factory=list)
    date: datetime | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.method == "POST"
        question = json.loads(request.content)
        self.asked.append(question)
        begin, end = (datetime.fromisoformat(question[name]) for name in ("dateFrom", "dateTo"))
        self.meanwhile(begin)
        first, last = ((moment - BEGINNING).total_seconds() for moment in (begin, end))
        found = [
            (second, key)
            for key, second in enumerate(self.seconds)
            if first <= second < last or (self.closed and second == last)
        ]
        found.sort(reverse=self.gives == "newest")
        if self.gives == "any":
            random.Random(len(self.asked)).shuffle(found)
        headers = {"Date": format_datetime(self.date, usegmt=True)} if self.date else {}
        return httpx2.Response(200, headers=headers, json=found[: min(self.cap, question["topCount"])])


@dataclass
class Record:
    """A row with its time, as WATS writes it."""

    startUtc: str | None  # noqa: N815


def rows(body: bytes) -> list[Row]:
    return [
        Row(str(key), None, Record((BEGINNING + second * SECOND).isoformat()))
        for second, key in json.loads(body)
    ]


def timeless(body: bytes) -> list[Row]:
    """Rows without a time."""
    return [Row(row.key, None, Record(None)) for row in rows(body)]


def misleading(body: bytes) -> list[Row]:
    """Rows with a wrong time."""
    moments = [row.record.startUtc for row in rows(body)]
    return [Row(row.key, None, Record(moments[len(moments) // 2])) for row in rows(body)]


SPEAKING = st.sampled_from([rows, timeless, misleading])
GIVING = st.sampled_from(["newest", "oldest", "any"])


def pages(
    server: Server,
    cap: int,
    cursor: Cursor | None = None,
    now: datetime = NOW,
    read: RowsOf = rows,
    **selection: Any,
) -> Iterator[Page]:
    time = Time()
    connection = Connection("http://wats.test", requests_per_minute=None)
    transport = mock(server)
    with Client(connection, transport=transport, stopping=time, clock=time) as client:
        where = reading("uut_reports", client, Selection(**selection), cursor=cursor)
        yield from TimeWindows("App/UutReport", cap=cap, now=lambda: now).pages(*where, read, {})


def keys(found: list[Page]) -> list[int]:
    return [int(row.key) for page in found for row in page.rows]


def check_windows(found: list[Page], begin: datetime, end: datetime) -> None:
    """The windows are adjacent from beginning to end, and the cursor moves forward."""
    windows = [page.coverage for page in found]
    edges = [(datetime.fromisoformat(w.begin), datetime.fromisoformat(w.end)) for w in windows if w]
    assert len(edges) == len(found)
    assert edges[0][0] == begin
    assert edges[-1][1] == end
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    places = [datetime.fromisoformat(page.end.start) for page in found]
    assert places == sorted(places)


def instants() -> st.SearchStrategy[list[float]]:
    """Any distribution: bursts, equal times, empty months, fractions of a second."""
    day = 86_400
    spread = st.lists(st.floats(0, 90 * day), max_size=60)
    burst = st.builds(
        lambda at, apart, count: [at + apart * place for place in range(count)],
        st.integers(0, 90 * day),
        st.sampled_from([0, 0.01, 0.4, 1, 7, 300]),
        st.integers(0, 60),
    )
    return st.lists(spread | burst, max_size=5).map(lambda parts: [each for part in parts for each in part])


moments = st.none() | st.integers(0, 100 * 86_400 * 10).map(lambda tenth: BEGINNING + tenth * SECOND / 10)


@given(instants(), st.integers(2, 40), moments, moments, st.booleans(), GIVING, SPEAKING)
def test_every_row_comes_once_and_cut_windows_are_reported(
    seconds: list[float],
    cap: int,
    since: datetime | None,
    until: datetime | None,
    closed: bool,
    gives: str,
    read: RowsOf,
) -> None:
    begin = since or BEFORE_WATS
    end = until or max(begin, NOW) + AHEAD
    server = Server(seconds, closed=closed, gives=gives)
    found = list(pages(server, cap, read=read, since=since, until=until))
    if begin >= end:
        assert found == []
        return
    check_windows(found, begin, end)
    given_ = Counter(keys(found))
    assert set(given_.values()) <= {1}

    def within(first: datetime, last: datetime) -> set[int]:
        low, high = ((moment - BEGINNING).total_seconds() for moment in (first, last))
        return {key for key, second in enumerate(seconds) if low <= second < high}

    for page in found:
        assert page.coverage is not None
        first, last = (datetime.fromisoformat(text) for text in (page.coverage.begin, page.coverage.end))
        assert bool(page.saturated) is not page.coverage.complete
        if page.saturated:
            assert last - first <= SECOND
            assert (
                len(within(first, last)) + closed * seconds.count((last - BEGINNING).total_seconds()) >= cap
            )
            assert page.coverage.key in page.saturated
        else:
            assert within(first, last) <= given_.keys()
    most = math.log2((end - begin) / SECOND + 2)
    assert len(server.asked) <= 4 * (most + 2) * (1 + len(seconds) / max(1, cap - 1))


@given(instants(), st.integers(10, 40), GIVING)
def test_a_server_with_a_lower_cap_than_requested_loses_nothing(
    seconds: list[float], cap: int, gives: str
) -> None:
    # Fewer rows per second than the cap: otherwise a cut response is not distinguishable from a whole one.
    kept = [second for place, second in enumerate(seconds) if seconds[:place].count(second) < cap - 1]
    dense = Counter(int(second) for second in kept)
    kept = [second for second in kept if dense[int(second)] < cap]
    server = Server(kept, cap=cap, gives=gives)
    found = list(pages(server, 10_000, since=BEGINNING))
    assert sorted(keys(found)) == list(range(len(kept)))
    assert not any(page.saturated for page in found)
    assert all(page.cap >= len(page.rows) for page in found)


def test_a_second_with_more_rows_than_a_lower_cap_is_reported() -> None:
    server = Server([float(second) for second in range(200)] + [1000.0] * 30, cap=12)
    found = list(pages(server, 10_000, since=BEGINNING))
    (cut,) = [page for page in found if page.saturated]
    assert cut.coverage is not None
    assert cut.coverage.key == "2026-01-01T00:16:40Z/2026-01-01T00:16:41Z"
    assert len(cut.rows) == cut.coverage.rows == cut.cap == 12
    assert set(range(200)) < set(keys(found))


def test_many_rows_at_one_instant_are_not_mistaken_for_a_cap() -> None:
    found = list(pages(Server([5.0] * 50), 10_000, since=BEGINNING))
    assert len(keys(found)) == 50
    assert not any(page.saturated for page in found)


@given(instants(), st.integers(2, 40), st.lists(st.floats(0, 80 * 86_400), min_size=1, max_size=40))
def test_rows_that_arrive_in_later_windows_come_once(
    seconds: list[float], cap: int, later: list[float]
) -> None:
    server = Server(list(seconds))
    arriving = list(later)

    def meanwhile(begin: datetime) -> None:
        if arriving:
            second = arriving.pop()
            if BEGINNING + second * SECOND >= begin:
                server.seconds.append(second)

    server.meanwhile = meanwhile
    found = list(pages(server, cap))
    if not any(page.saturated for page in found):
        assert sorted(keys(found)) == list(range(len(server.seconds)))


def test_the_next_reading_looks_back_but_its_cursor_does_not_move_back() -> None:
    server = Server([3600.0 * hour for hour in range(24 * 60)])
    first = list(pages(server, 100, now=BEGINNING + timedelta(days=50)))
    cursor = first[-1].end
    assert cursor == StartCursor("2026-02-20T00:00:00Z")
    server.seconds.append((timedelta(days=44)).total_seconds() + 1)  # late
    server.asked.clear()
    found = list(pages(server, 100, cursor, now=BEGINNING + timedelta(days=60)))
    assert len(server.seconds) - 1 in keys(found)
    assert min(key for key in keys(found)) == 24 * 43
    check_windows(found, BEGINNING + timedelta(days=43), BEGINNING + timedelta(days=61))
    assert all(page.end.start >= cursor.start for page in found)


def test_the_cursor_stays_at_a_cut_window_until_a_whole_one() -> None:
    found = list(pages(Server([10.0] * 5 + [20.5]), 3, since=BEGINNING))
    places = [(bool(page.saturated), page.end.start) for page in found]
    cut = next(place for place, (is_cut, _) in enumerate(places) if is_cut)
    assert places[cut][1] <= "2026-01-01T00:00:10Z"
    assert places[-1][1] == "2026-01-01T00:00:20.5Z", "the last row, whatever the clock says"


@given(
    instants(),
    st.integers(3, 40),
    st.lists(st.integers(-40 * 366, 40 * 366), min_size=1, max_size=4),
    GIVING,
    st.booleans(),
)
def test_whatever_the_clock_says_each_reading_finds_all_rows(
    seconds: list[float], cap: int, days: list[int], gives: str, dated: bool
) -> None:
    dense = Counter(int(second) for second in seconds)
    seconds = sorted(second for second in seconds if dense[int(second)] < cap)
    server, cursor, found = Server([], gives=gives), None, set[int]()
    for reading_number, wrong_by in enumerate(days, start=1):
        server.seconds = seconds[: len(seconds) * reading_number // len(days)]
        if dated:
            server.date = BEGINNING + (max(server.seconds, default=0.0) + 1) * SECOND
        for page in pages(server, cap, cursor, now=NOW + timedelta(days=wrong_by)):
            found |= {int(row.key) for row in page.rows}
            cursor = page.end
        assert found == set(range(len(server.seconds)))


def test_the_cursor_follows_the_clock_of_the_server() -> None:
    server = Server([10.0], date=BEGINNING + timedelta(days=5))
    for wrong_by in (-400, 0, 400):
        *_, page = pages(server, 100, since=BEGINNING, now=NOW + timedelta(days=wrong_by))
        assert page.end == StartCursor("2026-01-06T00:00:00Z")


def test_a_cursor_of_a_clock_that_was_years_ahead_is_not_used() -> None:
    cursor = StartCursor("2029-01-01T00:00:00Z")
    assert sorted(keys(list(pages(Server([10.0, 20.0]), 100, cursor)))) == [0, 1]


def test_a_few_rows_cost_one_request() -> None:
    server = Server([1.0, 2.0, 3.0])
    assert sorted(keys(list(pages(server, 1000)))) == [0, 1, 2]
    assert len(server.asked) == 1


def regular(kind: str, day: int, dice: random.Random) -> tuple[float, int, int]:
    """One day of a plant: how busy it is, and from which to which hour. Days vary by a fifth."""
    busy = dice.uniform(0.8, 1.2)
    working = day % 7 < 5
    match kind:
        case "quiet weekends":
            return busy if working else busy / 4, 0, 24
        case "two shifts":
            return busy * working, 6, 22
        case "growth":
            return busy * (0.2 + day / 200), 0, 24
        case "closed in July":
            return busy * (working and not 181 <= day % 365 < 212), 6, 22
        case "campaigns":
            return busy * (8 if day // 3 % 11 == 5 else 0.5), 0, 24
        case _:
            return busy, 0, 24


def plant(kind: str, *, days: int, per_day: int, seed: int = 7) -> list[float]:
    """The times of a plant's reports, in seconds after the beginning."""
    dice, found = random.Random(seed), list[float]()
    for day in range(days):
        busy, first, last = regular(kind, day, dice)
        found += [(day * 24 + dice.uniform(first, last)) * 3600 for _ in range(int(per_day * busy))]
    return sorted(found)


SIZES = [(600, 45), (60, 450)]
"""Days, and reports per day: windows of a week, and of hours. Both take some ninety responses of 300 rows."""


def requests_per_ideal_request(seconds: list[float], cap: int, since: datetime | None) -> float:
    """The requests of a backfill, relative to an ideal one that knows all times and fills every response."""
    server = Sorted(seconds)
    now = BEGINNING + timedelta(seconds=seconds[-1])
    found = list(pages(server, cap, now=now, since=since))
    assert len(keys(found)) == len(seconds)
    assert not any(page.saturated for page in found)
    looked_for = 0 if since else FOR_THE_FIRST
    return (len(server.asked) - looked_for) / math.ceil(len(seconds) / (cap - 1))


FOR_THE_FIRST = 12
"""The number of requests to find the first rows since 1990."""


@pytest.mark.parametrize("since", [None, BEGINNING], ids=["from the first report", "since"])
@pytest.mark.parametrize(
    ("kind", "usual", "most"),
    [
        ("steady", 1.35, 1.5),
        ("quiet weekends", 1.35, 1.5),
        ("two shifts", 1.4, 1.5),
        ("growth", 1.35, 1.5),
        ("closed in July", 1.5, 1.7),
        ("campaigns", 2.2, 2.6),
    ],
)
def test_a_backfill_takes_few_requests(kind: str, usual: float, most: float, since: datetime | None) -> None:
    sizes = [size for size in SIZES if size[0] >= 300 or kind != "closed in July"]
    factors = [
        requests_per_ideal_request(plant(kind, days=days, per_day=per_day), 300, since)
        for days, per_day in sizes
    ]
    print(kind, "since" if since else "all", *(f"{factor:.2f}" for factor in factors))
    assert max(factors) <= most
    assert sum(factors) / len(factors) <= usual


def test_a_perfectly_regular_plant_takes_almost_the_ideal_number_of_requests() -> None:
    assert requests_per_ideal_request([40.0 * place for place in range(20_000)], 200, BEGINNING) <= 1.2


def test_decades_without_reports_take_few_requests() -> None:
    server = Sorted(plant("steady", days=5, per_day=30))
    assert len(keys(list(pages(server, 100, now=NOW)))) == len(server.seconds)
    assert len(server.asked) <= 12


def test_arbitrary_rows_in_cut_responses_take_more_requests_but_lose_none() -> None:
    seconds = plant("two shifts", days=60, per_day=100)
    server = Server(seconds, gives="any")
    found = list(pages(server, 100, since=BEGINNING))
    assert sorted(keys(found)) == list(range(len(seconds)))
    assert len(server.asked) <= 10 * len(seconds) / 99


class Sorted(Server):
    """A server for many rows, which must be sorted."""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        question = json.loads(request.content)
        self.asked.append(question)
        low, high = (
            bisect_left(self.seconds, (datetime.fromisoformat(question[name]) - BEGINNING).total_seconds())
            for name in ("dateFrom", "dateTo")
        )
        first = max(low, high - question["topCount"])
        return httpx2.Response(200, json=[(self.seconds[key], key) for key in range(first, high)])
