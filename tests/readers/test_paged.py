"""Lists whose pages are the data itself, including records that do not fit their tables."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import TOKEN
from tests.http.fakes import mock
from tests.readers.simulated import Listing, Time, outcomes, read_keys, reading, reports

from wats_extract.cursor import NumberCursor
from wats_extract.errors import RequestBudgetSpent, TokenRefused, TooManyFailures
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Chunk, Coverage, Failure, Known, Row, Selection, Success, Window
from wats_extract.http.client import Client, Connection
from wats_extract.readers import paged
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.numbered import ReportList
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reader import Page, Source
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred import header_tables
from wats_extract.shred.flat import FlatShredder

HEADERS = RESOURCES["report_headers"]
SMALL = PagedReader(
    ReportList(Keyset("Report/Query/Header", "timeStamp", "uuid", page_size=20)),
    FlatShredder(header_tables.HEADERS),
)


clients: list[Client] = []


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    while clients:
        clients.pop().close()
    until = time.monotonic() + 5
    while any(thread.name == "wats-extract" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def of(server: Listing, **options: Any) -> tuple[Source, Window]:
    clients.append(client := server.client())
    selection = Selection(limit=options.pop("limit", None), options=options.pop("options", {}))
    return reading("report_headers", client, selection, check=client.check, **options)


def at(url: str, **options: Any) -> tuple[Source, Window]:
    time_ = Time()
    connection = Connection(url, TOKEN, requests_per_minute=None, timeout=5)
    clients.append(client := Client(connection, stopping=time_, clock=time_))
    return reading("report_headers", client, Selection(), **options)


def landed(chunks: list[Chunk]) -> dict[str, int | None]:
    return {key: version for chunk in chunks for key, version in chunk.landed.items()}


def check_rows(chunks: list[Chunk]) -> None:
    for chunk in chunks:
        batches = chunk.rows.get(header_tables.HEADERS, ())
        assert [key for batch in batches for key in batch["uuid"].to_pylist()] == list(chunk.landed)


@pytest.mark.parametrize(
    "quirks", [{}, {"page_cap": 10}, {"refuse_keyset": True}, {"pascal_case": True}], ids=str
)
@pytest.mark.parametrize("ties", [1, 7])
def test_the_embedded_server_is_read_completely(server: Any, quirks: dict[str, Any], ties: int) -> None:
    app, url = server(Plant(130, ties=ties), **quirks)
    chunks = list(HEADERS.reader.read(*at(url)))
    check_rows(chunks)
    assert Counter(key for chunk in chunks for key in chunk.landed) == dict.fromkeys(app.plant.uuids(), 1)
    assert landed(chunks) == {row["uuid"]: row["timeStamp"] for row in app.plant.headers()}
    app.plant.receive_again(app.plant.uuid(3))
    app.plant.grow(5)
    if "refuse_keyset" not in quirks:
        known = landed(chunks)
        memory = Known(landed=lambda keys, versions: {key: known[key] for key in keys if key in known})
        more = list(HEADERS.reader.read(*at(url, cursor=chunks[-1].cursor, known=memory)))
        assert set(landed(more)) == {app.plant.uuid(3), *app.plant.uuids()[-5:]}


def test_faults_of_the_server_lose_nothing(server: Any) -> None:
    kinds = ("429", "500", "503", "html", "empty", "truncated", "short", "drop")
    app, url = server(Plant(100), page_cap=10, faults=Faults(rate=0.4, kinds=kinds, seed=2))
    assert list(landed(list(HEADERS.reader.read(*at(url))))) == app.plant.uuids()


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 100])
def test_there_is_one_chunk_per_page_with_unique_and_reproducible_labels(count: int) -> None:
    chunks = list(SMALL.read(*of(Listing(reports(range(count))))))
    check_rows(chunks)
    assert len(landed(chunks)) == count
    assert len(chunks) == max(math.ceil((count - 1) / 19), count > 0)
    labels = [chunk.label for chunk in chunks]
    assert len(set(labels)) == len(labels)
    assert [chunk.label for chunk in SMALL.read(*of(Listing(reports(range(count)))))] == labels
    assert all(set(label) <= set("0123456789abcdef-") for label in labels)


@pytest.mark.parametrize("slice_rows", [7, 20, paged.SLICE_ROWS])
@pytest.mark.parametrize("limit", [0, 1, 5, 7, 14, 19, 20, 21, 33, 99])
def test_a_limit_is_exact_and_the_next_reading_continues(
    monkeypatch: pytest.MonkeyPatch, limit: int, slice_rows: int
) -> None:
    monkeypatch.setattr(paged, "SLICE_ROWS", slice_rows)
    server = Listing(reports(range(1, 61)))
    order = sorted(server.reports, key=lambda report: report.time_stamp)
    known: dict[str, int | None] = {}
    cursor = None
    memory = Known(landed=lambda keys, versions: {key: known[key] for key in keys if key in known})
    for _ in range(math.ceil(60 / limit) if limit else 1):
        chunks = list(SMALL.read(*of(server, limit=limit, cursor=cursor, known=memory)))
        assert all(len(chunk.landed) <= slice_rows for chunk in chunks)
        known |= landed(chunks)
        cursor = chunks[-1].cursor if chunks else None
        assert list(known) == [report.uuid for report in order[: len(known)]]
        assert sum(len(chunk.landed) for chunk in chunks) <= limit
    assert len(known) == (60 if limit else 0)
    assert (cursor is None) is (limit == 0)  # a cursor would move past rows that were not read


def test_records_that_do_not_fit_are_failures_in_their_chunk() -> None:
    server = Listing(reports(range(30)))
    odd = {
        3: {"uuid": server.reports[3].uuid, "timeStamp": server.reports[3].time_stamp, "run": {"x": TOKEN}},
        7: {"timeStamp": server.reports[7].time_stamp},
    }
    for place, served in odd.items():
        server.reports[place].served = served
    judged: list[bool] = []
    where = of(server, judge=lambda failure, times=1: judged.extend([failure is None] * times))
    chunks = list(SMALL.read(*where))
    check_rows(chunks)
    proper = {report.uuid for place, report in enumerate(server.reports) if place not in odd}
    assert set(landed(chunks)) == proper
    failures = [failure for chunk in chunks for failure in chunk.failures]
    assert len(failures) == 2
    assert {(failure.stage, failure.error_code) for failure in failures} == {("shred", "INVALID_RECORD")}
    assert server.reports[3].uuid in {failure.key for failure in failures}
    assert all(failure.payload and failure.hint for failure in failures)
    assert Counter(judged) == {True: 28, False: 2}


def test_a_record_that_does_not_fit_the_tables_does_not_affect_its_page() -> None:
    server = Listing(reports(range(30)))
    server.reports[3].served = {
        "uuid": server.reports[3].uuid,
        "timeStamp": server.reports[3].time_stamp,
        "comment": "dG9rZW4= and \ud800, which is no character",
    }
    chunks = list(SMALL.read(*of(server)))
    check_rows(chunks)
    assert len(landed(chunks)) == 29
    [failure] = [failure for chunk in chunks for failure in chunk.failures]
    assert failure.key == server.reports[3].uuid
    assert "dG9rZW4=" not in repr(failure)  # happens to be the token


def test_too_many_failures_stop_the_reading_after_their_page() -> None:
    server = Listing(reports(range(60)))
    for report in server.reports:
        if report.time_stamp == 25:
            report.served = {"timeStamp": 25}

    def judge(failure: Failure | None, times: int = 1) -> None:
        if failure is not None:
            raise TooManyFailures("too many")

    chunks: list[Chunk] = []
    with pytest.raises(TooManyFailures):
        chunks.extend(SMALL.read(*of(server, judge=judge)))
    assert len(landed(chunks)) == 20 + 19 - 1
    assert chunks[-1].cursor is not None
    assert chunks[-1].cursor.time_stamp == 38


def test_an_error_is_raised_after_the_pages_before_it() -> None:
    server = Listing(reports(range(60)))
    client = Client(
        Connection("http://wats.test", max_requests=2, requests_per_minute=None),
        transport=mock(server),
    )
    chunks: list[Chunk] = []
    with pytest.raises(RequestBudgetSpent):
        chunks.extend(SMALL.read(*reading("report_headers", client, Selection())))
    assert len(landed(chunks)) == 39


# ── keys ────────────────────────────────────────────────────────────────────────────────────────

NOBODY = str(UUID(int=1))


def test_keys_are_looked_up_forty_at_a_time() -> None:
    server = Listing(reports(range(200)), cap=15)
    wanted = [report.uuid for report in server.reports[:90]]
    wanted[50], wanted[60] = NOBODY, "no uuid"
    wanted[70] = wanted[70].upper()
    chunks = list(read_keys(SMALL, of(server), iter(wanted)))
    check_rows(chunks)
    assert [len(chunk.landed) + len(chunk.failures) for chunk in chunks] == [40, 40, 10]
    absent = (50, 60)
    assert list(landed(chunks)) == [key.lower() for place, key in enumerate(wanted) if place not in absent]
    failures = [(failure.key, failure.error_code) for chunk in chunks for failure in chunk.failures]
    assert failures == [(NOBODY, "NOT_FOUND"), ("no uuid", "NOT_FOUND")]
    assert not any("no uuid" in str(query) for query in server.asked)


def test_chunks_without_rows_have_unique_labels() -> None:
    absent = [str(UUID(int=number)) for number in range(120)]
    chunks = list(read_keys(SMALL, of(Listing([])), absent))
    assert len({chunk.label for chunk in chunks}) == 3


def test_each_key_has_an_outcome_in_the_order_of_keys() -> None:
    server = Listing(reports(range(50)))
    server.reports[4].served = {"uuid": server.reports[4].uuid, "timeStamp": 4, "run": {}}
    keys = [report.uuid for report in server.reports]
    keys = ["?", *keys, NOBODY.upper(), keys[3].upper(), keys[3]]
    found = list(outcomes(SMALL, of(server), keys))
    assert [outcome.key for outcome in found] == [key.lower() for key in keys]
    codes = [outcome.error_code for outcome in found if isinstance(outcome, Failure)]
    assert codes == ["NOT_FOUND", "INVALID_RECORD", "NOT_FOUND"]
    values = {outcome.key: outcome.value for outcome in found if isinstance(outcome, Success)}
    assert values[keys[2]]["uuid"] == keys[2]


def test_a_look_up_that_fails_affects_only_its_own_keys() -> None:
    server = Listing(reports(range(80)))
    keys = [report.uuid for report in server.reports]
    server.refuses = keys[10]
    found = list(outcomes(SMALL, of(server), ["bad key", *keys]))
    codes = [outcome.error_code if isinstance(outcome, Failure) else "" for outcome in found]
    assert codes == ["NOT_FOUND", *["API_ERROR"] * 39, *[""] * 41]
    chunks = list(read_keys(SMALL, of(server), keys))
    assert [len(chunk.landed) for chunk in chunks] == [0, 40]
    assert [len(chunk.failures) for chunk in chunks] == [40, 0]


@pytest.mark.parametrize("way", [read_keys, outcomes])
def test_an_endless_generator_of_keys_is_read_only_as_needed(way: Any) -> None:
    server = Listing(reports(range(20)))
    taken = itertools.count(1)
    keys = (server.reports[next(taken) % 20].uuid for _ in itertools.repeat(0))
    results = way(SMALL, of(server), keys)
    next(results)
    results.close()
    assert next(taken) <= 12 * 40


def test_a_refused_token_stops_the_reading(server: Any) -> None:
    _, url = server()
    clients.append(client := Client(Connection(url, "wrong")))
    where = reading("report_headers", client, Selection())
    for results in (
        SMALL.read(*where),
        read_keys(SMALL, where, [NOBODY]),
        outcomes(SMALL, where, [NOBODY]),
    ):
        with pytest.raises(TokenRefused):
            next(results)


def test_threads_end_when_the_reading_is_abandoned() -> None:
    chunks = SMALL.read(*of(Listing(reports(range(300)))))
    next(chunks)
    chunks.close()


@pytest.mark.parametrize(("rows", "sizes"), [(0, [0]), (3, [3]), (5, [5]), (6, [5, 1]), (12, [5, 5, 2])])
def test_a_page_is_cut_into_slices_of_which_the_last_one_ends_it(rows: int, sizes: list[int]) -> None:
    coverage = Coverage("start", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", rows, None, complete=True)
    cursors = [NumberCursor(time_stamp=each + 1, overlap_from=0) for each in range(rows)]
    after = NumberCursor(time_stamp=100, overlap_from=0)
    page = Page([Row(str(each), each) for each in range(rows)], cursors, 10, "cut", after, coverage)
    *first, last = page.slices(5)
    assert [len(each.rows) for each in (*first, last)] == sizes
    assert [row for each in (*first, last) for row in each.rows] == page.rows
    assert [each.end for each in first] == [each.cursors[-1] for each in first]
    assert not any(each.saturated or each.coverage or each.whole for each in first)
    assert (last.end, last.saturated, last.coverage, last.whole) == (after, "cut", coverage, True)
