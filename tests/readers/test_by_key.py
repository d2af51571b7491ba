"""Documents by key come in the order of their keys, and an error loses none that came before it."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pyarrow as pa
import pytest
from tests.conftest import TOKEN
from tests.http.fakes import mock
from tests.readers.simulated import Listing, Time, outcomes, read_keys, reading, reports, rows

from wats_extract.errors import (
    Interrupted,
    PagingError,
    RecordError,
    RequestBudgetSpent,
    RequestError,
    ServerUnreachable,
    TokenRefused,
    TooManyFailures,
    Unreadable,
    WatsExtractError,
)
from wats_extract.events import ItemFailed, ItemsFetched, ItemsListed
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Chunk, Failure, Known, Row, Selection, Success, Window
from wats_extract.http.client import Client, Connection
from wats_extract.readers import by_key
from wats_extract.readers.by_key import AHEAD, SHREDDED_TOGETHER, ByKeyReader
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.numbered import ReportList
from wats_extract.readers.reader import Source
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Column, Table

DOCUMENTS = Table("documents", ("uuid",), (Column("uuid", pa.string(), "uuid"),), owner="uuid")
Outcome = Callable[[int], httpx2.Response]
"""The response to the n-th request for a document, from 1."""


@dataclass
class Document:
    key: str
    content: dict[str, Any]
    raw: bytes


class Shredder:
    """One row per document; a document with the field ``odd`` does not fit."""

    def rows(self, body: bytes) -> list[Row]:
        return rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> Document:
        try:
            content = json.loads(body)
        except ValueError as error:
            raise Unreadable(str(error)) from error
        if not isinstance(content, dict):
            raise RecordError(f"$: expected an object, found {content!r}")
        return Document(key, content, body)

    def shred(self, documents: Sequence[Document], options: Mapping[str, Any]) -> dict[Table, pa.RecordBatch]:
        if any("odd" in document.content for document in documents):
            raise RecordError("it is odd")
        return {DOCUMENTS: pa.record_batch({"uuid": [document.key for document in documents]})}

    def value(self, document: Document) -> dict[str, Any]:
        return document.content


READER = ByKeyReader(
    listing=ReportList(Keyset("Report/Query/Header", "timeStamp", "uuid")),
    asked={},
    route="Report/Wsjf/{key}",
    query=lambda key, options: {"detailLevel": 7},
    shredder=Shredder(),
)


@dataclass
class Server:
    """Lists reports, and responds to requests for documents with the given outcomes."""

    count: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    default: Outcome = lambda time: httpx2.Response(200, json={})
    listing: Listing = field(init=False)
    fetched: Counter[str] = field(default_factory=Counter)
    dead: bool = False

    def __post_init__(self) -> None:
        self.listing = Listing(reports(range(1, self.count + 1)), cap=50)
        self.keys = [report.uuid for report in sorted(self.listing.reports, key=lambda each: each.time_stamp)]
        self.lock = threading.Lock()

    def dies(self) -> httpx2.Response:
        """Respond with 503 from now on."""
        self.dead = True
        return httpx2.Response(503)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.dead:
            return httpx2.Response(503)
        if request.url.path == "/api/App/Version":
            return httpx2.Response(200, json="2026.1")
        if request.url.path.startswith("/api/Report/Query"):
            with self.lock:
                return self.listing(request)
        key = request.url.path.rpartition("/")[2]
        with self.lock:
            self.fetched[key] += 1
            time = self.fetched[key]
        place = self.keys.index(key) if key in self.keys else -1
        return self.outcomes.get(place, self.default)(time)

    def reading(self, **options: Any) -> tuple[Source, Window]:
        time = Time()
        limits = {name: options.pop(name) for name in ("max_in_flight", "max_requests") if name in options}
        limits = {"requests_per_minute": None, "max_in_flight": 4, **limits}
        client = Client(
            Connection("http://wats.test", TOKEN, **limits),
            transport=mock(self),
            stopping=time,
            clock=time,
        )
        selection = Selection(
            options={"chunk_size": options.pop("chunk_size", 10)}, limit=options.pop("limit", None)
        )
        return reading("reports", client, selection, check=client.check, **options)


def status(code: int) -> Outcome:
    return lambda time: httpx2.Response(code, json={"Message": "The reason."})


def body(content: bytes) -> Outcome:
    return lambda time: httpx2.Response(200, content=content)


def drop(time: int) -> httpx2.Response:
    raise httpx2.ReadError("dropped")


def stall(time: int) -> httpx2.Response:
    raise httpx2.ReadTimeout("stalled")


def read(server: Server, **options: Any) -> tuple[list[Chunk], WatsExtractError | None]:
    """The chunks, and the error that stopped the reading. Checks that the chunks are consistent."""
    chunks: list[Chunk] = []
    stop = None
    try:
        chunks.extend(READER.read(*server.reading(**options)))
    except WatsExtractError as error:
        stop = error
    for chunk in chunks:
        check_consistent(chunk)
    assert len({chunk.label for chunk in chunks}) == len(chunks)
    return chunks, stop


def check_consistent(chunk: Chunk) -> None:
    """The items listed as loaded are exactly the items that have rows."""
    batches = chunk.rows.get(DOCUMENTS, ())
    landed = [key for batch in batches for key in batch.column("uuid").to_pylist()]
    assert landed == list(chunk.landed)
    assert not {failure.key for failure in chunk.failures} & set(landed)


def all_keys(chunks: Sequence[Chunk]) -> list[str]:
    """The keys of all items, loaded or failed, chunk by chunk."""
    return [key for chunk in chunks for key in (*chunk.landed, *(failure.key for failure in chunk.failures))]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + 5
    while any(thread.name == "wats-extract" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


# ── order and bounds ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("count", "size"), [(0, 10), (1, 10), (10, 10), (11, 10), (123, 17), (30, 1)])
def test_documents_come_in_the_order_of_the_cursor(count: int, size: int) -> None:
    server = Server(count)
    server.default = lambda time_: (
        time.sleep(hash(threading.get_ident()) % 3 / 1000) or httpx2.Response(200, json={})
    )
    chunks, stop = read(server, chunk_size=size)
    assert stop is None
    assert [key for chunk in chunks for key in chunk.landed] == server.keys
    assert [version for chunk in chunks for version in chunk.landed.values()] == list(range(1, count + 1))
    assert all(len(chunk.landed) == size for chunk in chunks[:-1])
    if chunks:
        assert chunks[-1].cursor is not None
        assert chunks[-1].cursor.time_stamp == count
    again, _ = read(server, chunk_size=size)
    assert [chunk.label for chunk in again] == [chunk.label for chunk in chunks]
    assert set(server.fetched.values()) <= {2}


def test_the_order_does_not_depend_on_which_request_finishes_first() -> None:
    server = Server(12)
    three_done = threading.Semaphore(0)

    def last(time: int) -> httpx2.Response:
        for _ in range(3):
            assert three_done.acquire(timeout=5)
        return httpx2.Response(200, json={})

    def first(time: int) -> httpx2.Response:
        three_done.release()
        return httpx2.Response(200, json={})

    server.outcomes = {0: last} | dict.fromkeys((1, 2, 3), first)
    chunks, _ = read(server, max_in_flight=4)
    assert [key for chunk in chunks for key in chunk.landed] == server.keys


@pytest.mark.parametrize("max_in_flight", [1, 4, 40])
def test_the_number_of_documents_fetched_ahead_is_bounded(max_in_flight: int) -> None:
    server = Server(300)
    chunks = READER.read(*server.reading(max_in_flight=max_in_flight, chunk_size=1))
    next(chunks)
    ahead = max(AHEAD, 2 * max_in_flight)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        assert sum(server.fetched.values()) <= ahead + 2
        time.sleep(0.02)
    chunks.close()


@pytest.mark.parametrize("limit", [0, 1, 9, 10, 25, 500])
def test_a_limit_is_exact_and_the_next_reading_continues(limit: int) -> None:
    server = Server(60)
    chunks, _ = read(server, limit=limit)
    landed = {key: version for chunk in chunks for key, version in chunk.landed.items()}
    assert list(landed) == server.keys[:limit]
    assert sum(server.fetched.values()) == min(limit, 60)
    cursor = chunks[-1].cursor if chunks else None
    memory = Known(landed=lambda keys, versions: {key: landed[key] for key in keys if key in landed})
    rest, _ = read(server, cursor=cursor, known=memory)
    assert [key for chunk in rest for key in chunk.landed] == server.keys[limit:]


def test_if_nothing_is_new_nothing_is_fetched_and_the_cursor_stays() -> None:
    server = Server(30)
    chunks, _ = read(server)
    landed = {key: version for chunk in chunks for key, version in chunk.landed.items()}
    memory = Known(landed=lambda keys, versions: {key: landed[key] for key in keys if key in landed})
    again, _ = read(server, cursor=chunks[-1].cursor, known=memory)
    assert sum(server.fetched.values()) == 30
    assert [(dict(chunk.landed), chunk.cursor and chunk.cursor.time_stamp) for chunk in again] == [({}, 30)]


def test_progress_is_reported() -> None:
    server = Server(60, {5: status(404)})
    seen: list[Any] = []
    read(server, listen=seen.append)
    listed = [event for event in seen if isinstance(event, ItemsListed)]
    assert sum(event.items for event in listed) == 60
    assert [event.final for event in listed][-1]
    assert sum(event.items for event in seen if isinstance(event, ItemsFetched)) == 60
    assert [event.failure.key for event in seen if isinstance(event, ItemFailed)] == [server.keys[5]]


# ── single documents that fail ──────────────────────────────────────────────────────────────────

FAILURES: dict[str, tuple[Outcome, str, str, int, str]] = {
    "404": (status(404), "fetch", "NOT_FOUND", 1, '{"Message":"The reason."}'),
    "403": (status(403), "fetch", "FORBIDDEN", 1, '{"Message":"The reason."}'),
    "500": (status(500), "fetch", "API_ERROR", 6, '{"Message":"The reason."}'),
    "504": (status(504), "fetch", "TIMEOUT", 6, '{"Message":"The reason."}'),
    "dropped": (drop, "fetch", "CONNECTION_ERROR", 6, ""),
    "timeout": (stall, "fetch", "TIMEOUT", 6, ""),
    "null": (body(b" null\n"), "fetch", "NOT_FOUND", 2, ""),
    "204": (lambda time: httpx2.Response(204), "fetch", "NOT_FOUND", 1, ""),
    "HTML": (body(b"<html>Please sign in"), "fetch", "INVALID_RESPONSE", 6, "<html>Please sign in"),
    "empty": (body(b""), "fetch", "INVALID_RESPONSE", 6, ""),
    "malformed": (body(b'{"type": x}'), "shred", "INVALID_RECORD", 2, '{"type": x}'),
    "malformed, BOM": (body(b'\xef\xbb\xbf {"type": '), "shred", "INVALID_RECORD", 2, '\\ufeff {"type": '),
    "cut, each time elsewhere": (
        lambda time: httpx2.Response(200, content=b'{"type": "abcdefgh'[: 8 + time]),
        "fetch",
        "INVALID_RESPONSE",
        6,
        '{"type": "abcd',
    ),
    "no object": (body(b"[1]"), "shred", "INVALID_RECORD", 1, "[1]"),
    "does not fit": (body(b'{"odd": 1}'), "shred", "INVALID_RECORD", 1, '{"odd": 1}'),
}


@pytest.mark.parametrize(("outcome", "stage", "code", "tries", "payload"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("place", [0, 13, 24])
def test_a_document_that_fails_is_recorded_and_affects_no_other(
    outcome: Outcome, stage: str, code: str, tries: int, payload: str, place: int
) -> None:
    server = Server(25, {place: outcome})
    judged: list[bool] = []
    chunks, stop = read(server, judge=lambda failure, times=1: judged.extend([failure is None] * times))
    assert stop is None
    assert sorted(all_keys(chunks)) == sorted(server.keys)
    [failure] = [failure for chunk in chunks for failure in chunk.failures]
    assert (failure.resource, failure.key, failure.stage) == ("reports", server.keys[place], stage)
    assert (failure.error_code, failure.payload) == (code, payload)
    assert failure.message
    assert failure.hint
    assert server.fetched[failure.key] == tries
    if stage == "fetch" and code != "NOT_FOUND":
        assert failure.attempts == tries
    assert judged.count(False) == 1
    assert judged.count(True) == 24


@pytest.mark.parametrize("step", ["document", "shred"])
@pytest.mark.parametrize("place", [0, 13, 24])
def test_a_document_that_does_not_fit_into_memory_affects_no_other(
    step: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = getattr(Shredder, step)

    def run_out_of_memory(self: Shredder, *given: Any) -> Any:
        if b"heavy" in repr(given).encode():
            raise MemoryError
        return work(self, *given)

    monkeypatch.setattr(Shredder, step, run_out_of_memory)
    server = Server(25, {place: body(b'{"heavy": 1}')})
    chunks, stop = read(server)
    assert stop is None
    assert sorted(all_keys(chunks)) == sorted(server.keys)
    [failure] = [failure for chunk in chunks for failure in chunk.failures]
    assert (failure.key, failure.error_code) == (server.keys[place], "INVALID_RECORD")
    assert failure.message == "it takes more memory than there is"
    assert server.fetched[failure.key] == 1


def test_large_documents_are_shredded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shredded: list[int] = []
    shred = Shredder.shred

    def noted(self: Shredder, documents: Sequence[Document], options: Mapping[str, Any]) -> Any:
        shredded.append(len(documents))
        return shred(self, documents, options)

    monkeypatch.setattr(Shredder, "shred", noted)
    monkeypatch.setattr(by_key, "SHREDDED_BYTES", 400)
    monkeypatch.setattr(by_key, "AHEAD_BYTES", 400)
    server = Server(30, default=body(json.dumps({"text": "x" * 200}).encode()))
    chunks, stop = read(server, chunk_size=30)
    assert stop is None
    assert all_keys(chunks) == server.keys
    assert shredded == [2] * 15


def test_a_chunk_with_many_bytes_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_key, "SHREDDED_BYTES", 1)
    monkeypatch.setattr(by_key, "CHUNK_BYTES", 100)
    server = Server(30)
    chunks, stop = read(server, chunk_size=20)
    assert stop is None
    assert all_keys(chunks) == server.keys
    assert {sum(batch.nbytes for batch in chunk.rows[DOCUMENTS]) >= 100 for chunk in chunks[:-1]} == {True}
    assert [len(chunk.landed) for chunk in chunks] == [3] * 10, "each has 36 bytes and its offsets"


def test_a_document_that_recovers_within_the_retries_is_not_a_failure() -> None:
    def recovers(time: int) -> httpx2.Response:
        return (
            httpx2.Response(200, json={}) if time == 6 else httpx2.Response(200, content=b'{"a": [1' * time)
        )

    chunks, _ = read(Server(5, {2: recovers}))
    assert [len(chunk.failures) for chunk in chunks] == [0]


def test_a_long_payload_is_shortened() -> None:
    chunks, _ = read(Server(1, {0: body(b'{"odd": "' + b"x" * 5000 + b'"}')}))
    assert len(chunks[0].failures[0].payload) == 2000


def test_a_token_in_a_document_is_masked_in_the_failure() -> None:
    for content in (f'{{"odd": "{TOKEN}"}}', f'["{TOKEN}"]', f'{{"{TOKEN}'):
        chunks, _ = read(Server(1, {0: body(content.encode())}))
        [failure] = chunks[0].failures
        assert TOKEN not in repr(failure)
        assert "***" in failure.payload


# ── errors that stop the reading ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", [0, 1, 7, 8, 23, 40])
@pytest.mark.parametrize(
    ("kind", "outcome"), [(TokenRefused, status(401)), (ServerUnreachable, None), (RequestBudgetSpent, None)]
)
def test_an_error_that_stops_the_reading_comes_after_all_documents_before_it(
    kind: type[WatsExtractError], outcome: Outcome | None, place: int
) -> None:
    server = Server(60, {place: outcome} if outcome else {})
    options: dict[str, Any] = {"max_in_flight": 1}
    if kind is RequestBudgetSpent:
        options["max_requests"] = place + 2 + (place >= 30)  # the documents and the pages of the list
    elif kind is ServerUnreachable:
        server.outcomes[place] = lambda time: server.dies()
    chunks, stop = read(server, **options)
    assert type(stop) is kind
    keys = all_keys(chunks)
    assert keys == server.keys[: len(keys)]
    if kind is not RequestBudgetSpent:
        assert len(keys) == place
    else:
        assert place - 2 <= len(keys) <= place + 1
    if chunks:
        assert chunks[-1].cursor is not None
        assert chunks[-1].cursor.time_stamp == len(keys)


@pytest.mark.parametrize("outcome", [status(404), body(b'{"odd": 1}')], ids=["fetch", "shred"])
@pytest.mark.parametrize("bad", [{0}, {2, 4}, {3, 9, 10}, {9, 17}, set(range(8, 16)), {58, 59}])
@pytest.mark.parametrize("tolerated", [0, 1])
def test_too_many_failures_stop_the_reading_and_leave_whole_chunks(
    outcome: Outcome, bad: set[int], tolerated: int
) -> None:
    server = Server(60, dict.fromkeys(bad, outcome))
    failed = itertools.count(1)

    def judge(failure: Failure | None, times: int = 1) -> None:
        if failure is not None and next(failed) > tolerated:
            raise TooManyFailures("too many")

    chunks, stop = read(server, judge=judge)
    keys = all_keys(chunks)
    assert sorted(keys) == sorted(server.keys[: len(keys)])
    failures = {failure.key for chunk in chunks for failure in chunk.failures}
    assert failures == {server.keys[place] for place in bad} & set(keys)
    if len(bad) > tolerated:
        assert isinstance(stop, TooManyFailures)
        last_straw = sorted(bad)[tolerated]
        assert last_straw < len(keys) <= last_straw + SHREDDED_TOGETHER + 1
    else:
        assert stop is None


def test_every_document_is_counted_once() -> None:
    server = Server(43, dict.fromkeys((1, 12, 42), body(b'{"odd": 1}')) | dict.fromkeys((0, 40), status(404)))
    judged: list[bool] = []
    read(server, judge=lambda failure, times=1: judged.extend([failure is None] * times), chunk_size=20)
    assert Counter(judged) == {True: 38, False: 5}


def test_an_interrupt_comes_after_the_documents_so_far() -> None:
    server = Server(60)
    where = server.reading()
    hanging = threading.Event()

    def interrupts(time_: int) -> httpx2.Response:
        where[0].client._stopping.set()
        hanging.wait(5)
        return httpx2.Response(200, json={})

    server.outcomes[25] = interrupts
    chunks: list[Chunk] = []
    try:
        with pytest.raises(Interrupted):
            chunks.extend(READER.read(*where))
    finally:
        hanging.set()
    keys = all_keys(chunks)
    assert keys == server.keys[: len(keys)]
    assert len(keys) <= 25


@pytest.mark.parametrize("problem", ["refused", "contradicts"])
def test_a_list_that_fails_later_keeps_the_documents_listed_before(problem: str) -> None:
    server = Server(120)

    def meanwhile(number: int) -> None:
        if number == 3 and problem == "refused":
            server.listing.refuses = "timeStamp"
        elif number == 2 and problem == "contradicts":
            server.listing.ignores = frozenset(["gt"])

    server.listing.meanwhile = meanwhile
    chunks, stop = read(server)
    assert isinstance(stop, RequestError if problem == "refused" else PagingError)
    assert all_keys(chunks) == server.keys[: 99 if problem == "refused" else 50]


def test_threads_end_when_the_reading_is_abandoned() -> None:
    chunks = READER.read(*Server(300).reading(chunk_size=5))
    next(chunks)
    chunks.close()


def test_threads_end_after_an_error_even_if_the_error_is_kept() -> None:
    kept: list[BaseException] = []
    try:
        for _ in READER.read(*Server(300, {100: status(401)}).reading(chunk_size=5)):
            continue
    except TokenRefused as error:
        kept.append(error)
    until = time.monotonic() + 5
    while any(thread.name == "wats-extract" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert kept


# ── listed records that do not fit ──────────────────────────────────────────────────────────────


def test_listed_records_without_key_are_failures_and_records_without_number_are_fetched() -> None:
    server = Server(30)
    by_number = {report.time_stamp: report for report in server.listing.reports}
    by_number[5].served = {"timeStamp": 5}
    by_number[9].served = {"uuid": server.keys[8]}
    chunks, stop = read(server)
    assert stop is None
    landed = {key: version for chunk in chunks for key, version in chunk.landed.items()}
    assert list(landed) == [key for place, key in enumerate(server.keys) if place != 4]
    assert landed[server.keys[8]] is None
    [failure] = [failure for chunk in chunks for failure in chunk.failures]
    assert (failure.stage, failure.error_code, failure.payload) == (
        "shred",
        "INVALID_RECORD",
        '{"timeStamp": 5}',
    )


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_documents_come_in_the_order_of_the_keys_with_their_versions() -> None:
    server = Server(100)
    wanted = [*reversed(server.keys[:50]), server.keys[70].upper()]
    chunks = list(read_keys(READER, server.reading(chunk_size=20), wanted))
    assert [key for chunk in chunks for key in chunk.landed] == [key.lower() for key in wanted]
    assert [version for chunk in chunks for version in chunk.landed.values()] == [*range(50, 0, -1), 71]
    assert [len(chunk.landed) for chunk in chunks] == [20, 20, 11]
    assert all(chunk.cursor is None for chunk in chunks)
    assert len(server.listing.asked) == 2
    for chunk in chunks:
        check_consistent(chunk)


NOBODY = str(uuid.UUID(int=1))
BAD_KEYS = [
    "",
    "x",
    "../App/Version",
    "00000000-0000-0000-0000-00000000000",
    "{" + NOBODY + "}",
    "' or 1 eq 1",
]


@pytest.mark.parametrize("bad", BAD_KEYS)
def test_a_key_that_is_not_a_uuid_is_never_sent(bad: str) -> None:
    server = Server(3)
    [chunk] = read_keys(READER, server.reading(), [server.keys[0], bad, server.keys[1]])
    assert list(chunk.landed) == server.keys[:2]
    assert [(failure.key, failure.error_code) for failure in chunk.failures] == [(bad, "NOT_FOUND")]
    assert sum(server.fetched.values()) == 2
    assert bad == "" or bad not in str(server.listing.asked)


def test_a_key_that_the_server_does_not_have_is_a_failure() -> None:
    server = Server(3)
    server.default = lambda time: httpx2.Response(404)
    [chunk] = read_keys(READER, server.reading(), [NOBODY])
    assert [failure.error_code for failure in chunk.failures] == ["NOT_FOUND"]


@pytest.mark.parametrize(
    "outcome", [None, status(404), body(b'{"odd": 1}')], ids=["loaded", "fetch", "shred"]
)
def test_a_repeated_key_is_in_several_chunks(outcome: Outcome | None) -> None:
    server = Server(12, {3: outcome} if outcome else {})
    key = server.keys[3]
    chunks = list(read_keys(READER, server.reading(), [key, server.keys[1], key, server.keys[2], key]))
    assert [sorted(all_keys([chunk])) for chunk in chunks] == [
        sorted([key, server.keys[1]]),
        sorted([key, server.keys[2]]),
        [key],
    ]


def test_documents_are_loaded_without_version_if_the_list_cannot_be_read() -> None:
    server = Server(5)
    server.listing.refuses = "uuid"
    [chunk] = read_keys(READER, server.reading(), server.keys)
    assert chunk.landed == dict.fromkeys(server.keys)


@pytest.mark.parametrize("way", [read_keys, outcomes])
def test_an_endless_generator_of_keys_is_read_only_as_needed(way: Any) -> None:
    server = Server(20)
    taken = itertools.count(1)
    keys = (server.keys[next(taken) % 20] for _ in itertools.repeat(0))
    results = way(READER, server.reading(), keys)
    for _ in range(3):
        next(results)
    results.close()
    assert next(taken) <= 3 * 20 + AHEAD + 2 * 40


def test_each_key_has_an_outcome_in_the_order_of_keys() -> None:
    server = Server(30, {4: status(500), 6: body(b"null"), 8: body(b'{"odd": 1}'), 9: body(b"{")})
    keys = ["nonsense", *server.keys[:12], server.keys[0].upper()]
    found = list(outcomes(READER, server.reading(), iter(keys)))
    assert [outcome.key for outcome in found] == [key.lower() for key in keys]
    codes = {outcome.key: outcome.error_code for outcome in found if isinstance(outcome, Failure)}
    assert codes == {
        "nonsense": "NOT_FOUND",
        server.keys[4]: "API_ERROR",
        server.keys[6]: "NOT_FOUND",
        server.keys[9]: "INVALID_RECORD",
    }
    values = {outcome.key: outcome.value for outcome in found if isinstance(outcome, Success)}
    assert values[server.keys[8]] == {"odd": 1}
    assert server.listing.asked == []


def test_a_refused_token_is_raised_after_the_outcomes_before_it() -> None:
    server = Server(30, {20: status(401)})
    seen: list[Any] = []
    with pytest.raises(TokenRefused):
        seen.extend(outcome.key for outcome in outcomes(READER, server.reading(), server.keys))
    assert seen == server.keys[:20]


# ── against the embedded server ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "code", "stage"),
    [
        ("404", "NOT_FOUND", "fetch"),
        ("500", "API_ERROR", "fetch"),
        ("403", "FORBIDDEN", "fetch"),
        ("garbage", "INVALID_RECORD", "shred"),
        ("truncated", "INVALID_RECORD", "shred"),
        ("wrong-type", "INVALID_RECORD", "shred"),
        ("html", "INVALID_RESPONSE", "fetch"),
        ("drop", "CONNECTION_ERROR", "fetch"),
        ("null", "NOT_FOUND", "fetch"),
    ],
)
def test_each_fault_of_a_report_has_its_error_code(server: Any, kind: str, code: str, stage: str) -> None:
    app, url = server(Plant(40), faults=Faults(broken={17: kind}))
    time_ = Time()
    connection = Connection(url, TOKEN, requests_per_minute=None, timeout=5)
    with Client(connection, stopping=time_, clock=time_) as client:
        where = reading("reports", client, Selection(options={"chunk_size": 15}))
        chunks = list(RESOURCES["reports"].reader.read(*where))
    [failure] = [failure for chunk in chunks for failure in chunk.failures]
    assert (failure.key, failure.error_code, failure.stage) == (app.plant.uuid(17), code, stage)
    landed = [key for chunk in chunks for key in chunk.landed]
    assert landed == [key for key in app.plant.uuids() if key != failure.key]
