"""Keyset paging reads every report exactly once, whatever the numbers, ties, caps and changes are."""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.fakes import mock
from tests.readers.simulated import Listing, Report, in_order, reading, reports, rows

from wats_extract import events
from wats_extract.cursor import NumberCursor
from wats_extract.errors import KeysetRefused, PagingError, RequestError
from wats_extract.flow import Cursor, Known, Row, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.readers import keyset
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.numbered import ReportList
from wats_extract.readers.reader import Page, fresh_rows

HEADERS = Keyset(route="Report/Query/Header", field="timeStamp", key="uuid")

caps = st.integers(10, 40)
numbers = st.lists(st.integers(0, 60) | st.integers(0, 40_000), max_size=150)


def pages(
    server: Listing, cursor: Cursor | None = None, *, limit: int | None = None, page_size: int = 10_000
) -> Iterator[Page]:
    """Read by keyset alone, without the fallback."""
    plan = Keyset(HEADERS.route, HEADERS.field, HEADERS.key, page_size)
    with server.client() as client:
        yield from keyset.pages(plan, client, Selection(limit=limit), cursor=cursor, rows=rows, query={})


def every(found: Iterable[Page]) -> list[Row]:
    return [row for page in found for row in page.rows]


def new(
    server: Listing, cursor: Cursor | None, landed: Mapping[str, int | None], **known: Any
) -> list[tuple[Row, Cursor]]:
    """The rows that a reading from a cursor returns and that are not loaded yet."""
    with server.client() as client:
        memory = Known(
            landed=lambda keys, versions: {key: landed[key] for key in keys if key in landed}, **known
        )
        where = reading("report_headers", client, Selection(), cursor=cursor, known=memory)
        return [
            (row, page.cursors[place])
            for page in ReportList(HEADERS).pages(*where, rows, {})
            for row, place in fresh_rows(*where, page)
        ]


def versions(found: Iterable[Row]) -> dict[str, int | None]:
    return {row.key: row.version for row in found}


# ── everything, once, in order, with few requests ───────────────────────────────────────────────


@given(numbers, caps, st.integers(10, 60))
def test_every_report_comes_once_and_in_order(time_stamps: list[int], cap: int, page_size: int) -> None:
    server = Listing(reports(time_stamps), cap=cap)
    assert in_order(every(pages(server, page_size=page_size)), server.reports)
    page = min(cap, page_size)
    large_ties = [count for count in Counter(time_stamps).values() if count >= page]
    assert len(server.asked) <= math.ceil(len(time_stamps) / (page - 1)) + 2 + 3 * len(large_ties) + sum(
        math.ceil(count / (page - 1)) for count in large_ties
    )


@pytest.mark.parametrize("size", [10, 11, 25, 99, 100, 101, 1000])
@pytest.mark.parametrize("around", [0, 1, 9, 10, 15])
def test_a_tie_of_any_size_is_read_completely(size: int, around: int) -> None:
    time_stamps = [*range(around), *[500] * size, *range(1000, 1000 + around)]
    server = Listing(reports(time_stamps), cap=10)
    assert in_order(every(pages(server)), server.reports)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 9_999, 10_000, 10_001, 25_000, 1_000_000])
def test_the_number_of_requests_is_close_to_the_number_of_pages(count: int) -> None:
    asked: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        """Serve the reports 1 to ``count`` without a list of a million entries."""
        assert request.url.params["$orderby"].startswith("timeStamp asc")
        first = int(request.url.params.get("$filter", "timeStamp gt -1").removeprefix("timeStamp gt ")) + 1
        first = max(first, 1) + int(request.url.params.get("$skip", "0"))
        asked.append(first)
        page = range(first, min(count + 1, first + 10_000))
        return httpx2.Response(200, text="[" + ",".join(map(str, page)) + "]")

    def numbers_only(body: bytes) -> list[Row]:
        return [Row(str(number), number, number) for number in json.loads(body)]

    connection = Connection("http://wats.test", requests_per_minute=None)
    with Client(connection, transport=mock(answer)) as client:
        found = keyset.pages(HEADERS, client, Selection(), cursor=None, rows=numbers_only, query={})
        assert [row.version for row in every(found)] == list(range(1, count + 1))
    assert len(asked) <= math.ceil(count / 10_000) + 2


@pytest.mark.parametrize("limit", [1, 2, 9, 10, 11, 500])
def test_a_limit_makes_pages_smaller_but_loses_nothing(limit: int) -> None:
    server = Listing(reports([7] * 30 + list(range(100, 150))))
    assert in_order(every(pages(server, limit=limit)), server.reports)
    assert {int(query["$top"]) for query in server.asked} == {max(limit, 10)}


# ── the next reading ────────────────────────────────────────────────────────────────────────────


@given(st.sets(st.integers(0, 30_000), max_size=120), caps)
def test_if_nothing_is_new_two_requests_are_enough(time_stamps: set[int], cap: int) -> None:
    server = Listing(reports(time_stamps), cap=cap)
    read = new(server, None, {})
    server.asked.clear()
    cursor = read[-1][1] if read else None
    assert new(server, cursor, versions(row for row, _ in read)) == []
    assert len(server.asked) <= 2


@given(numbers, caps)
def test_a_reading_continues_wherever_the_previous_one_was_killed(time_stamps: list[int], cap: int) -> None:
    server = Listing(reports(time_stamps), cap=cap)
    whole = new(server, None, {})
    for killed_after in range(1, len(whole) + 1, 7):
        landed = versions(row for row, _ in whole[:killed_after])
        cursor = whole[killed_after - 1][1]
        assert cursor.overlap_from < cursor.time_stamp
        rest = [row for row, _ in new(server, cursor, landed)]
        assert sorted(row.key for row in rest) == sorted(row.key for row, _ in whole[killed_after:])


@pytest.mark.parametrize("apart", [1, 50, 400, 6_000])
@pytest.mark.parametrize("cap", [10, 100, 10_000])
def test_the_overlap_is_5000_numbers_but_no_more_rows_than_one_page(apart: int, cap: int) -> None:
    server = Listing(reports(range(apart, 300 * apart, apart)), cap=cap)
    [*_, page] = pages(server)
    cursor = page.cursors[-1]
    again = sum(cursor.overlap_from < report.time_stamp for report in server.reports)
    assert again == max(1, min(cap, 299, (5_000 + apart - 1) // apart))


@given(st.sets(st.integers(1, 4_000), min_size=2, max_size=120), caps, st.data())
def test_reports_that_become_visible_late_are_found_by_the_next_reading(
    time_stamps: set[int], cap: int, data: st.DataObject
) -> None:
    everything = sorted(reports(time_stamps), key=lambda report: report.time_stamp)
    reach = everything[-cap:]  # the overlap is 5,000 numbers, but no more rows than one page
    late = data.draw(st.lists(st.sampled_from(reach[:-1] or reach), unique_by=id))
    server = Listing([report for report in everything if report not in late], cap=cap)
    first = new(server, None, {})
    server.reports = everything
    second = new(server, first[-1][1] if first else None, versions(row for row, _ in first))
    assert {row.key for row, _ in second} == {report.uuid for report in late}


def test_failed_reports_are_left_to_retry_until_they_change() -> None:
    server = Listing(reports(range(100, 120)))
    first = new(server, None, {})
    failed, landed = first[5][0].key, versions(row for row, _ in first)
    del landed[failed]
    assert new(server, first[-1][1], landed, failed=frozenset([failed])) == []
    next(report for report in server.reports if report.uuid == failed).time_stamp = 500
    assert [row.key for row, _ in new(server, first[-1][1], landed, failed=frozenset([failed]))] == [failed]


def test_a_full_pass_returns_loaded_reports_again() -> None:
    server = Listing(reports(range(20)))
    landed = versions(row for row, _ in new(server, None, {}))
    assert len(new(server, None, landed, skip=False)) == 20
    assert new(server, None, landed) == []


# ── while the server changes ────────────────────────────────────────────────────────────────────


@given(numbers.filter(bool), caps, st.data())
def test_reports_that_change_or_arrive_meanwhile_are_neither_lost_nor_doubled(
    time_stamps: list[int], cap: int, data: st.DataObject
) -> None:
    server = Listing(reports(time_stamps), cap=cap)
    next_number = iter(range(100_000, 200_000))

    def meanwhile(number: int) -> None:
        if number > 12:
            return
        for report in data.draw(st.lists(st.sampled_from(server.reports), max_size=2, unique_by=id)):
            report.time_stamp = next(next_number)
        if data.draw(st.booleans()):
            server.reports.append(Report(str(uuid.UUID(int=2**120 + number)), next(next_number)))
        if data.draw(st.booleans()):  # a late report becomes visible before or at the current position
            late = Report(str(uuid.UUID(int=2**121 + number)), data.draw(st.sampled_from(time_stamps)))
            server.reports.append(late)

    server.meanwhile = meanwhile
    read = every(pages(server))
    assert max(Counter((row.key, row.version) for row in read).values()) == 1
    last = versions(sorted(read, key=lambda row: row.version or 0))
    was_late = {str(uuid.UUID(int=2**121 + number)) for number in range(13)}
    assert {key: version for key, version in last.items() if key not in was_late} == {
        report.uuid: report.time_stamp for report in server.reports if report.uuid not in was_late
    }


def test_a_tie_is_read_again_if_reports_in_it_vanish() -> None:
    server = Listing(reports([5] * 95 + [9]), cap=10)
    staying = sorted(server.reports, key=lambda report: report.uuid)[20:]

    def meanwhile(number: int) -> None:
        if number == 7:
            server.reports = staying

    server.meanwhile = meanwhile
    read = every(pages(server))
    assert {row.key for row in read} >= {report.uuid for report in staying}
    assert len({row.key for row in read}) == len(read)


# ── servers that misbehave ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [2, 11, 60])
def test_a_server_that_ignores_the_comparison_is_detected(count: int) -> None:
    server = Listing(reports(range(count)), cap=10, ignores=frozenset(["gt"]))
    with pytest.raises(PagingError, match="ignores 'timeStamp gt"):
        every(pages(server))
    assert len(server.asked) == 2


def test_a_server_that_ignores_skip_is_detected() -> None:
    server = Listing(reports([4] * 60), cap=10, ignores=frozenset(["$skip"]))
    with pytest.raises(PagingError, match="ignores \\$skip"):
        every(pages(server))
    assert len(server.asked) < 30


def test_a_server_that_stops_sorting_is_detected() -> None:
    server = Listing(sorted(reports(range(10)), key=lambda report: report.time_stamp), cap=10)
    server.reports += reports([21, 20])
    server.ignores = frozenset(["$orderby"])
    with pytest.raises(PagingError, match="ignores \\$orderby"):
        every(pages(server))
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "server",
    [
        Listing(reports(range(300)), cap=50, ignores=frozenset(["$orderby"])),
        Listing(reports(range(300)), cap=50, refuses="timeStamp gt"),
        Listing(reports(range(5)), refuses="timeStamp gt"),
        Listing(reports(range(300)), refuses="timeStamp"),
        Listing([], refuses="timeStamp gt"),
    ],
    ids=["ignores $orderby", "refuses gt", "refuses gt, few", "refuses the order", "refuses gt, none"],
)
@pytest.mark.parametrize("cursor", [None, NumberCursor(20, 10)])
def test_if_the_keyset_is_refused_time_windows_read_everything_once(
    server: Listing, cursor: Cursor | None
) -> None:
    server.asked.clear()
    notes: list[events.Event] = []
    with server.client() as client:
        where = reading("report_headers", client, Selection(), cursor=cursor, listen=notes.append)
        read = every(ReportList(HEADERS).pages(*where, rows, {}))
    assert sorted(row.key for row in read) == sorted(report.uuid for report in server.reports)
    asked_for_a_number = bool(server.reports or cursor or server.refuses == "timeStamp")
    assert len(notes) == asked_for_a_number
    assert all("start" in query["$orderby"] for query in server.asked[2:])


def test_a_filter_that_the_server_refuses_is_an_error_and_not_an_endless_fallback() -> None:
    server = Listing(reports(range(5)), refuses="colour")
    with server.client() as client:
        where = reading("report_headers", client, Selection(filter="colour eq 'red'"))
        with pytest.raises(RequestError, match="HTTP 400: The query specified") as told:
            every(ReportList(HEADERS).pages(*where, rows, {}))
    assert not isinstance(told.value, KeysetRefused)
    assert told.value.exit_code == 2
    assert "filter" in told.value.hint
    assert len(server.asked) == 2


# ── records that do not fit ─────────────────────────────────────────────────────────────────────

odd = st.sampled_from(["no uuid", "no number", "neither", "number as text"])


@given(st.lists(st.integers(0, 300), max_size=80), st.dictionaries(st.integers(0, 79), odd), caps)
def test_records_without_key_or_number_affect_no_other_record(
    time_stamps: list[int], oddities: dict[int, str], cap: int
) -> None:
    server = Listing(reports(time_stamps), cap=cap)
    proper = set()
    for place, report in enumerate(server.reports):
        oddity, name = oddities.get(place, ""), f"P{place}"
        if not oddity:
            proper.add(report.uuid)
        else:
            report.served = _SERVED[oddity](report) | {"partNumber": name}
    given_rows = every(pages(server))
    keys = Counter(row.key for row in given_rows if row.record is not None)
    assert keys == dict.fromkeys(proper, 1)
    misfits = Counter(row.raw for row in given_rows if row.record is None)
    assert len(misfits) == len(server.reports) - len(proper)
    assert all(count == 1 for count in misfits.values())


_SERVED: Mapping[str, Any] = {
    "no uuid": lambda report: {"timeStamp": report.time_stamp},
    "no number": lambda report: {"uuid": report.uuid},
    "neither": lambda report: {},
    "number as text": lambda report: {"uuid": report.uuid, "timeStamp": str(report.time_stamp)},
}


def test_records_that_all_lack_numbers_are_read_to_the_end() -> None:
    server = Listing(reports(range(35)), cap=10)
    for report in server.reports:
        report.served = {"uuid": report.uuid}
    given_rows = every(pages(server))
    assert sorted(row.key for row in given_rows) == sorted(report.uuid for report in server.reports)


# ── look-ups ────────────────────────────────────────────────────────────────────────────────────


def look_up(server: Listing, keys: Sequence[str]) -> dict[str, Row]:
    with server.client() as client:
        where = reading("report_headers", client, Selection())
        return ReportList(HEADERS).look_up(*where, list(keys), rows, {})


@pytest.mark.parametrize("cap", [10, 13, 10_000])
@pytest.mark.parametrize("known", [0, 1, 40])
def test_keys_are_looked_up_despite_a_silent_cap(cap: int, known: int) -> None:
    server = Listing(reports(range(60)), cap=cap)
    there = [report.uuid for report in server.reports[:known]]
    absent = [str(uuid.UUID(int=2**100 + number)) for number in range(40 - known)]
    assert sorted(look_up(server, [*there, *absent])) == sorted(there)
    assert len(server.asked) <= math.ceil(known / cap) + (known < 40)
    assert all(len(str(query)) < 2000 for query in server.asked)


def test_a_server_that_ignores_the_keys_is_not_asked_endlessly() -> None:
    server = Listing(reports(range(100)), ignores=frozenset(["in", "eq"]))
    wanted = [server.reports[0].uuid, str(uuid.UUID(int=2**100))]
    assert set(look_up(server, wanted)) <= {wanted[0]}
    assert len(server.asked) <= 2
