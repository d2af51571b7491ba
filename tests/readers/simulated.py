"""A simulated list of reports, so that readers are not tested against the embedded server only."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from tests.http.fakes import mock

from wats_extract.cursor import Cursor
from wats_extract.flow import Chunk, Known, Result, Row, Selection, Window
from wats_extract.http.client import Client, Connection
from wats_extract.readers.reader import Reader, Source

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Time(threading.Event):
    """A clock and a stop event: waiting for the event takes no time, but advances the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self.now += timeout or 0.0
        return self.is_set()


@dataclass
class Report:
    """A report on the simulated server. ``served`` replaces its JSON."""

    uuid: str
    time_stamp: int
    start: datetime = BEGINNING
    served: dict[str, Any] | None = None

    def json(self) -> str:
        if self.served is not None:
            return json.dumps(self.served)
        start = self.start.isoformat().replace("+00:00", "Z")
        return f'{{"uuid":"{self.uuid}","timeStamp":{self.time_stamp},"start":"{start}"}}'


@dataclass
class Listing:
    """``Report/Query/Header`` as an HTTP transport sees it.

    Attributes:
        reports: The reports on the server.
        cap: The largest number of rows per page, whatever is requested.
        ignores: Query options or operators that have no effect.
        refuses: A text in the query for which the server responds with 400.
        meanwhile: Called before each response, with the number of the request from 1.
        asked: The queries so far.
    """

    reports: list[Report]
    cap: int = 10_000
    ignores: frozenset[str] = frozenset()
    refuses: str = ""
    meanwhile: Callable[[int], None] = lambda number: None
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        query = dict(request.url.params)
        self.asked.append(query)
        self.meanwhile(len(self.asked))
        if self.refuses and self.refuses in " ".join(query.values()):
            return httpx2.Response(400, json={"Message": "The query specified in the URI is not valid."})
        rows = [report for report in self.reports if self._passes(report, query.get("$filter", ""))]
        for field_ in reversed(query["$orderby"].split(",")) if "$orderby" in query else ():
            if "$orderby" not in self.ignores:
                rows.sort(key=_PLACES[field_.removesuffix(" asc")])
        skip = 0 if "$skip" in self.ignores else int(query.get("$skip", "0"))
        page = rows[skip : skip + min(int(query["$top"]), self.cap)]
        return httpx2.Response(200, text="[" + ",".join(report.json() for report in page) + "]")

    def _passes(self, report: Report, text: str) -> bool:
        return all(self._holds(report, *term.split(" ", 2)) for term in text.split(" and ") if term)

    def _holds(self, report: Report, name: str, operator: str, literal: str) -> bool:
        if operator in self.ignores:
            return True
        if name == "uuid":
            return report.uuid in literal.strip("()").split(",")
        if name == "timeStamp":
            return report.time_stamp > int(literal) if operator == "gt" else report.time_stamp <= int(literal)
        bound = datetime.fromisoformat(literal)
        return report.start >= bound if operator == "ge" else report.start < bound

    def client(self, **limits: Any) -> Client:
        """A client of this server that waits in simulated time only."""
        time = Time()
        connection = Connection("http://wats.test", "dG9rZW4=", requests_per_minute=None, **limits)
        return Client(connection, transport=mock(self), stopping=time, clock=time)


_PLACES: dict[str, Callable[[Report], Any]] = {
    "timeStamp": lambda report: report.time_stamp,
    "uuid": lambda report: report.uuid,
    "start": lambda report: report.start,
}


def reports(time_stamps: Iterable[int], *, apart: timedelta = timedelta(hours=1)) -> list[Report]:
    """One report per number, in an order that is unrelated to the numbers."""
    made = [
        Report(str(uuid.uuid5(uuid.NAMESPACE_URL, str(place))), number, BEGINNING + place * apart)
        for place, number in enumerate(time_stamps)
    ]
    return sorted(made, key=lambda report: report.uuid)


def rows(body: bytes) -> list[Row]:
    """Decode a page; a record without key or number does not fit."""
    return [_row(record, place) for place, record in enumerate(json.loads(body))]


def _row(record: dict[str, Any], place: int) -> Row:
    key, version = record.get("uuid") or f"row {place}", record.get("timeStamp")
    version = version if isinstance(version, int) else None
    if "uuid" in record and version is not None:
        return Row(key, version, record)
    return Row(key, version, problem="it does not fit", raw=json.dumps(record).encode())


def reading(
    resource: str,
    client: Client,
    selection: Selection | None = None,
    *,
    cursor: Cursor | None = None,
    known: Known | None = None,
    **options: Any,
) -> tuple[Source, Window]:
    """A source, and the window with everything after a cursor."""
    source = Source(resource, client, known=known or Known(), **options)
    return source, Window(resource, selection or Selection(), cursor=cursor)


def read_keys(reader: Reader, where: tuple[Source, Window], keys: Iterable[str]) -> Iterator[Chunk]:
    """Plan and read some keys."""
    source, window = where
    for each in reader.plan(source, window.selection, keys=keys):
        yield from reader.read(source, each)


def outcomes(
    reader: Reader, where: tuple[Source, Window], keys: Iterable[str]
) -> Iterator[Result[dict[str, Any]]]:
    """The outcome of each key."""
    source, window = where
    return reader.outcomes(source, window.selection, keys)


def in_order(given: Sequence[Row], found: Sequence[Report]) -> bool:
    """Whether the rows are exactly the reports, in the order of their numbers."""
    numbers = [row.version for row in given]
    expected = sorted((report.uuid, report.time_stamp) for report in found)
    return numbers == sorted(numbers) and sorted((row.key, row.version) for row in given) == expected
