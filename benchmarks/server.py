"""A WATS server that takes so little time that a benchmark measures its client.

``python -m benchmarks.server --reports 100000`` prints its URL and serves until it is killed. A report is
computed from its number: its header is a slice of one long text, and its document is one of a few prepared,
compressed documents with another uuid and serial number. The server has only the routes that the benchmarks
need.
"""

from __future__ import annotations

import argparse
import json
import re
import socketserver
import struct
import threading
import time
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from benchmarks.internals import Plant

HOST = "127.0.0.1"
MOST_ROWS = 10_000
DEFAULT_ROWS = 10
DOCUMENTS = 24
"""Number of prepared documents: enough that no client benefits from repeated strings."""

DOCUMENT_BYTES = 43_000
"""Minimum size of a document, uncompressed."""

FIRST_START = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS_APART = 30
FIRST_TIME_STAMP = 100_000
STAMPS_APART = 3

_SCATTER = 2654435761
"""An odd number, so that a multiplication by it modulo 2^32 has an inverse."""

_ROUTE_HEADERS, _ROUTE_DOCUMENT = "/api/report/query/header", "/api/report/wsjf/"


class Request(NamedTuple):
    """A GET request.

    Attributes:
        path: Path without the query.
        query: Query, still encoded.
        headers: Headers by lower-case name.
    """

    path: str
    query: str
    headers: dict[str, str]


class Reports:
    """The reports by number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._documents = list(_documents())

    @staticmethod
    def uuid(number: int) -> str:
        """A uuid that looks random. Its first eight digits determine the number."""
        return f"{number * _SCATTER % 2**32:08x}-b0a7-4c1d-9e57-{number * 40503 % 2**48:012x}"

    @staticmethod
    def serial(number: int) -> str:
        return f"SN{number:010d}"

    @staticmethod
    def start(number: int) -> str:
        return f"{FIRST_START + timedelta(seconds=number * SECONDS_APART):%Y-%m-%dT%H:%M:%SZ}"

    def number(self, uuid: str) -> int | None:
        """The number of the report with this uuid."""
        try:
            number = int(uuid[:8], 16) * pow(_SCATTER, -1, 2**32) % 2**32
        except ValueError:
            return None
        return number if number < self.count and self.uuid(number) == uuid else None

    def document(self, number: int, *, gzip: bool) -> bytes:
        """A report's WSJF document, optionally compressed."""
        document = self._documents[number % len(self._documents)]
        return document.filled(self.uuid(number), self.serial(number), gzip=gzip)

    @cached_property
    def headers(self) -> Rows:
        """The rows of the list of reports."""
        return Rows(self._row(number) for number in range(self.count))

    @cached_property
    def keys(self) -> Rows:
        """The same rows with only the fields ``uuid,timeStamp,start``."""
        return Rows(
            f'{{"uuid":"{self.uuid(number)}","start":"{self.start(number)}",'
            f'"timeStamp":{FIRST_TIME_STAMP + number * STAMPS_APART}}}'
            for number in range(self.count)
        )

    def _row(self, number: int) -> str:
        failed = number % 9 == 0
        return (
            f'{{"uuid":"{self.uuid(number)}","serialNumber":"{self.serial(number)}",'
            f'"partNumber":"PCBA-{100 + number % 7 * 10}","reportType":"T","start":"{self.start(number)}",'
            f'"revision":"{"ABC"[number % 3]}","result":"{"Failed" if failed else "Passed"}",'
            f'"batchNumber":"{20200000 + number // 500}","userName":"operator-{number % 11}",'
            f'"stationName":"FCT-{number % 5 + 1:02d}","location":"Drammen","purpose":"Production",'
            f'"measuresDeleted":false,"timeStamp":{FIRST_TIME_STAMP + number * STAMPS_APART},'
            f'"processCode":{10 + number % 3 * 10},"processName":"{("ICT", "FCT", "Final")[number % 3]}",'
            f'"comment":null,"executionTime":{41 + number % 1000 / 16},"swFilename":"main_{number % 3}.seq",'
            f'"swVersion":"2.{number // 5000}","testSocketIndex":{number % 4},"fixtureId":"FIX-{number % 3}",'
            f'"errorCode":0,"errorMessage":null,"run":{1 + failed},"receiveCount":1,'
            f'"reportSize":{DOCUMENT_BYTES + number % 4096},'
            f'"causedUutFailure":{json.dumps("Supply 3V3" if failed else None)},'
            f'"causedUutFailurePath":{json.dumps("MainSequence Callback¶Supply 3V3" if failed else None)},'
            f'"passedInRun":{"null" if failed else 1},"referencedUut":null}}'
        )


class Rows:
    """JSON rows in one text, so that a page is a slice of it."""

    def __init__(self, rows: Iterator[str]) -> None:
        encoded = [f"{row},".encode() for row in rows]
        self._ends = [0, *accumulate(map(len, encoded))]
        self._text = b"".join(encoded)

    def page(self, begin: int, end: int, *, descending: bool = False) -> bytes:
        """The rows of a range, as a JSON list."""
        if begin >= end:
            return b"[]"
        if descending:
            rows = (self._text[self._ends[n] : self._ends[n + 1] - 1] for n in reversed(range(begin, end)))
            return b"[%s]" % b",".join(rows)
        return b"[%s]" % self._text[self._ends[begin] : self._ends[end] - 1]


class Document:
    """A document that is compressed except for its uuid and serial number.

    A full flush of the compressor makes the parts before and after them independent, so that both are
    compressed only once.
    """

    def __init__(self, text: str) -> None:
        head, rest = text.split("<uuid>")
        between, tail = rest.split("<serial>")
        self._plain = head.encode(), between.encode(), tail.encode()
        self._head = _gzip_header() + _deflated(self._plain[0], zlib.Z_FULL_FLUSH)
        self._tail = _deflated(self._plain[2], zlib.Z_FINISH)

    def filled(self, uuid: str, serial: str, *, gzip: bool) -> bytes:
        head, between, tail = self._plain
        middle = b"%s%s%s" % (uuid.encode(), between, serial.encode())
        if not gzip:
            return head + middle + tail
        checksum = zlib.crc32(tail, zlib.crc32(middle, zlib.crc32(head)))
        stored = struct.pack("<BHH", 0, len(middle), ~len(middle) & 0xFFFF)
        size = len(head) + len(middle) + len(tail)
        return b"".join((self._head, stored, middle, self._tail, struct.pack("<II", checksum, size)))


def _gzip_header() -> bytes:
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def _deflated(data: bytes, ending: int) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(ending)


def _documents() -> Iterator[Document]:
    """Documents of a made-up factory, each extended by steps of others until it is large enough."""
    plant = Plant(12 * DOCUMENTS, seed=7)
    found = (plant.document(uuid) for uuid in plant.uuids())
    tests = [each for each in found if each["type"] == "T" and len(_text(each)) < DOCUMENT_BYTES]
    for number in range(DOCUMENTS):
        document = json.loads(json.dumps(tests[number]))
        others = tests[number + 1 :] + tests
        steps = (step for other in others for step in other["root"].get("steps") or ())
        size = len(_text(document))
        while size < DOCUMENT_BYTES:
            step = next(steps)
            if (larger := size + len(_text(step))) < 1.05 * DOCUMENT_BYTES:
                document["root"].setdefault("steps", []).append(step)
                size = larger
        _number_steps(document["root"])
        yield Document(_text(document | {"id": "<uuid>", "sn": "<serial>"}))


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _number_steps(root: dict[str, Any]) -> None:
    number, waiting = 0, [root]
    while waiting:
        number, step = number + 1, waiting.pop()
        step["id"] = number
        waiting += reversed(step.get("steps") or [])


# ── responses ──


class App:
    """Responds to requests and counts them."""

    def __init__(self, reports: Reports, *, requests_per_minute: int | None, latency: float) -> None:
        self.reports = reports
        self._latency = latency
        self._budget = requests_per_minute
        self._arrivals: deque[float] = deque()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._refused = 0

    def respond(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        path = request.path.lower()
        if path == "/stats":
            counts = {"requests": sum(self._counts.values()), "refused": self._refused}
            return 200, json.dumps(counts | {"by_route": dict(self._counts)}).encode(), {}
        route = _ROUTE_DOCUMENT if path.startswith(_ROUTE_DOCUMENT) else path
        if (wait := self._admitted(route)) is not None:
            return 429, b'{"Message":"Too many requests"}', {"Retry-After": str(int(wait) + 1)}
        if self._latency:
            time.sleep(self._latency)
        if route == _ROUTE_DOCUMENT:
            return self._document(request)
        if route == _ROUTE_HEADERS:
            return 200, self._headers(dict(parse_qsl(request.query))), {}
        if route == "/api/app/version":
            return 200, b'"2026.1.5.324"', {}
        return 404, b"", {}

    def _admitted(self, route: str) -> float | None:
        """Count a request. Returns the seconds to wait if the budget of the last minute is used up."""
        with self._lock:
            self._counts[route] += 1
            if self._budget is None:
                return None
            now = time.monotonic()
            while self._arrivals and self._arrivals[0] <= now - 60:
                self._arrivals.popleft()
            if len(self._arrivals) >= self._budget:
                self._refused += 1
                return self._arrivals[0] + 60 - now
            self._arrivals.append(now)
            return None

    def _document(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        number = self.reports.number(request.path[len(_ROUTE_DOCUMENT) :].lower())
        if number is None:
            return 404, b'{"Message":"No such report"}', {}
        gzip = "gzip" in request.headers.get("accept-encoding", "")
        body = self.reports.document(number, gzip=gzip)
        return 200, body, {"Content-Encoding": "gzip"} if gzip else {}

    def _headers(self, query: dict[str, str]) -> bytes:
        asked = {name.lower(): value for name, value in query.items()}
        top = min(int(asked.get("$top", DEFAULT_ROWS)), MOST_ROWS)
        skip = int(asked.get("$skip", 0))
        rows = self.reports.keys if "$select" in asked else self.reports.headers
        condition = asked.get("$filter", "")
        if found := re.search(r"uuid (?:in|eq) \(?([0-9a-fA-F,\s-]+)", condition):
            numbers = map(self.reports.number, found[1].lower().replace(" ", "").split(","))
            pages = (rows.page(n, n + 1)[1:-1] for n in numbers if n is not None)
            return b"[%s]" % b",".join(list(pages)[:top])
        begin, end = self._range(condition)
        if asked.get("$orderby", "start desc").lower().endswith(" desc"):
            end = max(begin, end - skip)
            return rows.page(max(begin, end - top), end, descending=True)
        return rows.page(begin + skip, min(end, begin + skip + top))

    def _range(self, condition: str) -> tuple[int, int]:
        """The range of reports that a filter on ``timeStamp`` and ``start`` selects; both increase."""
        begin, end = 0, self.reports.count
        places: dict[str, Callable[[int], Any]] = {
            "timestamp": lambda n: FIRST_TIME_STAMP + n * STAMPS_APART,
            "start": self.reports.start,
        }
        for name, word, text in re.findall(r"(timeStamp|start) (gt|ge|lt|le) (\S+?)\)*(?:\s|$)", condition):
            value = int(text) if name == "timeStamp" else _moment(text)
            side = bisect_right if word in ("gt", "le") else bisect_left
            place = side(range(self.reports.count), value, key=places[name.lower()])
            begin, end = (max(begin, place), end) if word in ("gt", "ge") else (begin, min(end, place))
        return begin, end


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# ── HTTP ──


class Server(socketserver.ThreadingTCPServer):
    """An HTTP server with one thread per connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class Connection(socketserver.BaseRequestHandler):
    """Handles the requests of one connection."""

    def __init__(self, *args: Any, app: App) -> None:
        self.app = app
        super().__init__(*args)

    def setup(self) -> None:
        self.request.setsockopt(6, 1, 1)  # TCP_NODELAY

    def handle(self) -> None:
        waiting = b""
        while True:
            while (end := waiting.find(b"\r\n\r\n")) < 0:
                if not (received := self.request.recv(65536)):
                    return
                waiting += received
            request, waiting = _read(waiting[:end]), waiting[end + 4 :]
            status, body, headers = self.app.respond(request)
            more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = (
                f"HTTP/1.1 {status} OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\n{more}\r\n"
            )
            self.request.sendall(head.encode() + body)


def _read(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    _, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    named = (line.partition(":") for line in lines)
    return Request(path, query, {name.lower(): value.strip() for name, _, value in named})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--reports", type=int, default=3000, metavar="N", help="number of reports")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="default: a free one")
    parser.add_argument("--requests-per-minute", type=int, metavar="R", help="refuse more than this")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="S", help="seconds before each response"
    )
    given = parser.parse_args()
    app = App(Reports(given.reports), requests_per_minute=given.requests_per_minute, latency=given.latency)
    with Server((HOST, given.port), partial(Connection, app=app)) as server:
        print(f"http://{HOST}:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
