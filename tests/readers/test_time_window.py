"""Windows on time: whatever the distribution and the cap, all rows come once, and what is cut is named."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.readers.simulated import Time

from wats_extract.client import Client, Connection
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.readers.reading import Page, Reading
from wats_extract.readers.time_window import AHEAD, BEFORE_WATS, TimeWindows

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGINNING + timedelta(days=90)
SECOND = timedelta(seconds=1)


@dataclass
class Server:
    """A route that takes a WATS filter, as an HTTP transport sees it.

    Attributes:
        seconds: When each row was, in seconds after the beginning; its place is its key.
        cap: The most rows of an answer, whatever is asked for.
        closed: Whether ``dateTo`` is part of what is asked for.
        oldest: Whether a cut answer holds the oldest rows instead of the newest.
        meanwhile: Called before each answer, with the instant from which on the question is.
        asked: The questions so far.
    """

    seconds: list[float]
    cap: int = 1_000_000
    closed: bool = False
    oldest: bool = False
    meanwhile: Callable[[datetime], None] = lambda begin: None
    asked: list[dict[str, Any]] = field(default_factory=list)

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
        found.sort(reverse=not self.oldest)
        rows = [key for _, key in found[: min(self.cap, question["topCount"])]]
        return httpx2.Response(200, json=rows)


def rows(body: bytes) -> list[Row]:
    return [Row(str(key), None, key) for key in json.loads(body)]


def pages(
    server: Server, cap: int, cursor: Cursor | None = None, now: datetime = NOW, **selection: Any
) -> Iterator[Page]:
    time = Time()
    connection = Connection("http://wats.test", requests_per_minute=None)
    transport = httpx2.MockTransport(server)
    with Client(connection, transport=transport, stopping=time, clock=time) as client:
        reading = Reading("uut_reports", client, Selection(**selection), cursor=cursor)
        yield from TimeWindows("App/UutReport", cap=cap, now=lambda: now).pages(reading, rows, {})


def keys(found: list[Page]) -> list[int]:
    return [int(row.key) for page in found for row in page.rows]


def check_windows(found: list[Page], begin: datetime, end: datetime) -> None:
    """The windows lie side by side from beginning to end, and the cursor goes forward over them."""
    windows = [page.window for page in found]
    edges = [(datetime.fromisoformat(w.begin), datetime.fromisoformat(w.end)) for w in windows if w]
    assert len(edges) == len(found)
    assert edges[0][0] == begin
    assert edges[-1][1] == end
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    places = [datetime.fromisoformat((page.end or {})["start"]) for page in found]
    assert places == sorted(places)


def instants() -> st.SearchStrategy[list[float]]:
    """Any distribution: bursts, equal instants, empty months, fractions of a second."""
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


@settings(max_examples=40, deadline=None, database=None)
@given(instants(), st.integers(2, 40), moments, moments, st.booleans(), st.booleans())
def test_every_row_comes_once_and_what_is_cut_is_named(
    seconds: list[float],
    cap: int,
    since: datetime | None,
    until: datetime | None,
    closed: bool,
    oldest: bool,
) -> None:
    begin, end = since or BEFORE_WATS, until or NOW + AHEAD
    server = Server(seconds, closed=closed, oldest=oldest)
    found = list(pages(server, cap, since=since, until=until))
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
        assert page.window is not None
        first, last = (datetime.fromisoformat(text) for text in (page.window.begin, page.window.end))
        assert bool(page.saturated) is not page.window.complete
        if page.saturated:
            assert last - first <= SECOND
            assert (
                len(within(first, last)) + closed * seconds.count((last - BEGINNING).total_seconds()) >= cap
            )
            assert page.window.key in page.saturated
        else:
            assert within(first, last) <= given_.keys()
    most = math.log2((end - begin) / SECOND + 2)
    assert len(server.asked) <= 4 * (most + 2) * (1 + len(seconds) / max(1, cap - 1))


@settings(max_examples=40, deadline=None, database=None)
@given(instants(), st.integers(10, 40), st.booleans())
def test_a_server_that_caps_lower_than_it_is_asked_loses_nothing(
    seconds: list[float], cap: int, oldest: bool
) -> None:
    # No more in one second than a cap: of more, an answer that is always the same tells nothing.
    kept = [second for place, second in enumerate(seconds) if seconds[:place].count(second) < cap - 1]
    dense = Counter(int(second) for second in kept)
    kept = [second for second in kept if dense[int(second)] < cap]
    server = Server(kept, cap=cap, oldest=oldest)
    found = list(pages(server, 10_000, since=BEGINNING))
    assert sorted(keys(found)) == list(range(len(kept)))
    assert not any(page.saturated for page in found)
    assert all(page.cap >= len(page.rows) for page in found)


def test_a_lower_cap_that_a_second_exceeds_is_named() -> None:
    server = Server([float(second) for second in range(200)] + [1000.0] * 30, cap=12)
    found = list(pages(server, 10_000, since=BEGINNING))
    (cut,) = [page for page in found if page.saturated]
    assert cut.window is not None
    assert cut.window.key == "2026-01-01T00:16:40Z/2026-01-01T00:16:41Z"
    assert len(cut.rows) == cut.window.rows == cut.cap == 12
    assert set(range(200)) < set(keys(found))


def test_many_rows_at_one_instant_are_no_cap() -> None:
    found = list(pages(Server([5.0] * 50), 10_000, since=BEGINNING))
    assert len(keys(found)) == 50
    assert not any(page.saturated for page in found)


@settings(max_examples=40, deadline=None, database=None)
@given(instants(), st.integers(2, 40), st.lists(st.floats(0, 80 * 86_400), min_size=1, max_size=40))
def test_rows_that_arrive_in_windows_not_yet_read_come_once(
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


def test_the_next_reading_looks_back_and_its_cursor_never_goes_back() -> None:
    server = Server([3600.0 * hour for hour in range(24 * 60)])
    first = list(pages(server, 100, now=BEGINNING + timedelta(days=50)))
    cursor = first[-1].end
    assert cursor == {"start": "2026-02-20T00:00:00Z"}
    server.seconds.append((timedelta(days=44)).total_seconds() + 1)  # late
    server.asked.clear()
    found = list(pages(server, 100, cursor, now=BEGINNING + timedelta(days=60)))
    assert len(server.seconds) - 1 in keys(found)
    assert min(key for key in keys(found)) == 24 * 43
    check_windows(found, BEGINNING + timedelta(days=43), BEGINNING + timedelta(days=61))
    assert all((page.end or {})["start"] >= cursor["start"] for page in found)


def test_a_row_that_is_cut_keeps_the_cursor_until_a_whole_window() -> None:
    found = list(pages(Server([10.0] * 5 + [20.5]), 3, since=BEGINNING))
    places = [(bool(page.saturated), (page.end or {})["start"]) for page in found]
    cut = next(place for place, (is_cut, _) in enumerate(places) if is_cut)
    assert places[cut][1] <= "2026-01-01T00:00:10Z"
    assert places[-1][1] == "2026-04-01T00:00:00Z"


def test_where_there_is_little_one_request_gives_it() -> None:
    server = Server([1.0, 2.0, 3.0])
    assert sorted(keys(list(pages(server, 1000)))) == [0, 1, 2]
    assert len(server.asked) == 1


def plant(kind: str, *, days: int, per_day: int) -> list[float]:
    """A plant's reports: days differ by a fifth, shifts and weekends as the kind says."""
    dice = random.Random(7)
    found = []
    for day in range(days):
        weekend = day % 7 >= 5
        if kind == "two shifts" and weekend:
            continue
        count = int(per_day * dice.uniform(0.8, 1.2)) // (4 if kind == "quiet weekends" and weekend else 1)
        first, last = (6, 22) if kind == "two shifts" else (0, 24)
        found += [(day * 24 + dice.uniform(first, last)) * 3600 for _ in range(count)]
    return sorted(found)


@pytest.mark.parametrize(
    ("kind", "per_day", "most"),
    [
        ("steady", 250, 1.5),
        ("steady", 4000, 1.5),
        ("quiet weekends", 2000, 2.3),
        ("two shifts", 250, 2.8),
        ("two shifts", 4000, 2.8),
    ],
)
@pytest.mark.parametrize("since", [None, BEGINNING], ids=["from the first report", "since"])
def test_a_back_fill_costs_few_requests(kind: str, per_day: int, most: float, since: datetime | None) -> None:
    """Measured against the fewest there could be: as many rows as fit in each answer."""
    server = Sorted(plant(kind, days=30 if per_day > 500 else 300, per_day=per_day))
    found = list(pages(server, 1000, now=BEGINNING + timedelta(days=300), since=since))
    assert len(keys(found)) == len(server.seconds)
    factor = len(server.asked) / (len(server.seconds) / 999)
    print(f"{kind}, {per_day} a day: {len(server.asked)} requests, {factor:.2f} times the fewest")
    assert factor <= most


class Sorted(Server):
    """The same for many rows, which are in order."""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        question = json.loads(request.content)
        self.asked.append(question)
        low, high = (
            bisect_left(self.seconds, (datetime.fromisoformat(question[name]) - BEGINNING).total_seconds())
            for name in ("dateFrom", "dateTo")
        )
        return httpx2.Response(200, json=list(range(max(low, high - question["topCount"]), high)))
