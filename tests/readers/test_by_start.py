"""Windows on ``start`` read every report of servers that refuse the keyset."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.readers.simulated import BEGINNING, Listing, Report, reports, rows

from wats_extract.errors import PagingError
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.readers import by_start
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.reader import Page

HEADERS = Keyset(route="Report/Query/Header", field="timeStamp", key="uuid")
NOW = BEGINNING + timedelta(days=100)


class Record:
    """A typed record with the only field that matters here."""

    def __init__(self, start: Any) -> None:
        self.start = start


def typed(body: bytes) -> list[Row]:
    return [Row(row.key, row.version, Record(row.record["start"])) for row in rows(body)]


def pages(server: Listing, cursor: Cursor | None = None, **selection: Any) -> Iterator[Page]:
    with server.client() as client:
        yield from by_start.pages(
            HEADERS, client, Selection(**selection), cursor=cursor, rows=typed, query={}, now=NOW
        )


def keys(found: Iterator[Page]) -> list[str]:
    return [row.key for page in found for row in page.rows]


def uuids(found: list[Report]) -> list[str]:
    return sorted(report.uuid for report in found)


@given(st.lists(st.integers(0, 140 * 24), max_size=120), st.integers(10, 60))
def test_every_report_comes_once(hours: list[int], cap: int) -> None:
    made = reports(range(len(hours)))
    for report, hour in zip(made, hours, strict=True):
        report.start = BEGINNING + timedelta(
            hours=hour
        )  # some in the future, because station clocks may run ahead
    server = Listing(made, cap=cap)
    assert sorted(keys(pages(server))) == uuids(made)
    assert len(server.asked) <= 1 + len(hours) / cap + 2 * 5


@pytest.mark.parametrize("since", [None, BEGINNING + timedelta(days=33, microseconds=7)])
@pytest.mark.parametrize("until", [None, BEGINNING + timedelta(days=61)])
def test_since_and_until_bound_the_reading_even_if_the_cursor_looks_back_further(
    since: datetime | None, until: datetime | None
) -> None:
    server = Listing(reports(range(400), apart=timedelta(hours=6)), cap=70)
    wanted = [
        report
        for report in server.reports
        if (since is None or report.start >= since) and (until is None or report.start < until)
    ]
    read = list(pages(server, since=since, until=until))
    assert sorted(keys(iter(read))) == uuids(wanted)
    for page in read:
        again = keys(pages(server, page.cursors[-1], since=since, until=until))
        assert set(again) <= {report.uuid for report in wanted}


def test_the_next_reading_finds_late_reports() -> None:
    server = Listing(reports(range(400), apart=timedelta(hours=6)))
    cursor = list(pages(server))[-1].cursors[-1]
    server.asked.clear()
    begin = datetime.fromisoformat(cursor.start)
    late = Report("ffffffff-0000-4000-8000-000000000000", 9999, begin - timedelta(days=6))
    server.reports.append(late)
    again = keys(pages(server, cursor))
    assert late.uuid in again
    assert sorted(again) == uuids(
        [report for report in server.reports if report.start >= begin - timedelta(days=7)]
    )
    assert len(server.asked) <= 6


def test_an_empty_list_costs_one_request() -> None:
    server = Listing([])
    assert list(pages(server)) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("start", [None, "yesterday", 7])
def test_a_first_report_with_an_unreadable_start_hides_no_other_report(start: Any) -> None:
    server = Listing(reports(range(30)))
    first = min(server.reports, key=lambda report: report.start)
    first.served = {"uuid": first.uuid, "timeStamp": 1, "start": start}
    assert sorted(keys(pages(server))) == uuids(server.reports)


@pytest.mark.parametrize("count", [1, 25, 60])
def test_a_server_that_ignores_skip_is_detected(count: int) -> None:
    server = Listing(reports(range(count)), cap=25, ignores=frozenset(["$skip"]))
    with pytest.raises(PagingError, match="ignores \\$skip"):
        keys(pages(server))
    assert len(server.asked) == 3


def test_reports_that_arrive_in_the_current_window_cause_no_error_and_no_duplicates() -> None:
    server = Listing(reports(range(60)), cap=25)
    earlier = reports(range(1000, 1003))

    def meanwhile(number: int) -> None:
        if 3 <= number < 6:
            report = earlier[number - 3]
            report.uuid = f"0000000{number}-0000-4000-8000-000000000000"
            report.start = BEGINNING + timedelta(minutes=number)
            server.reports.append(report)

    before = uuids(server.reports)
    server.meanwhile = meanwhile
    read = keys(pages(server))
    assert sorted(read) == before  # the next reading looks back and finds the new ones


def test_the_cursor_is_the_beginning_of_the_window() -> None:
    server = Listing(reports(range(10), apart=timedelta(days=20)))
    positions = [datetime.fromisoformat(page.cursors[-1].start) for page in pages(server)]
    assert positions == sorted(positions)
    assert positions[0] == BEGINNING
    assert positions[-1].tzinfo == UTC
