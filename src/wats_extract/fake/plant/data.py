"""`Plant`: all reports of a server, generated on demand, or added and changed by tests.

Every report has a *position* in the order of arrival, which determines its `timeStamp`. A `Segment` is a run
of positions that hold generated reports. A position outside all segments holds a `Received` report. A
position is vacant if its report was deleted, is hidden, or arrived again at a later position. Generated
reports are computed from their number and not stored, so a million reports cost no more than ten.
"""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock, documents
from wats_extract.fake.plant.documents import EXPANSIONS, WORDS
from wats_extract.fake.plant.scenario import Report, Scenario

FIRST_TIME_STAMP = 1_000_000

Json = dict[str, Any]
Range = tuple[int, int]
"""A half-open range: from the first number to before the second."""

EVER: Range = (-(1 << 62), 1 << 62)
"""The range without limits."""

_LETTERS = {word: letter for letter, word in WORDS.items()}
_DOCUMENT_PATHS: Mapping[str, tuple[str, ...]] = {
    "serialNumber": ("sn",),
    "partNumber": ("pn",),
    "reportType": ("type",),
    "start": ("start",),
    "revision": ("rev",),
    "result": ("result",),
    "batchNumber": ("uut", "batchSN"),
    "userName": ("uut", "user"),
    "stationName": ("machineName",),
    "location": ("location",),
    "purpose": ("purpose",),
    "processCode": ("processCode",),
    "processName": ("processName",),
    "comment": ("uut", "comment"),
    "executionTime": ("uut", "execTime"),
    "testSocketIndex": ("uut", "testSocketIndex"),
    "fixtureId": ("uut", "fixtureId"),
    "errorCode": ("uut", "errorCode"),
    "errorMessage": ("uut", "errorMessage"),
    "referencedUut": ("uur", "refUUT"),
}
"""The path in the document of each header field. `uut` stands for `uur` in repairs."""


class Row(Protocol):
    """One visible report, as queries see it."""

    @property
    def uuid(self) -> str:
        """The report's id."""

    @property
    def time_stamp(self) -> int:
        """The server's processing order."""

    @property
    def start(self) -> int:
        """The start of the test or repair, in ticks."""

    @property
    def fields(self) -> Json:
        """The header row, without expansions."""

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""

    def document(self) -> bytes:
        """The WSJF document."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated report at a position."""

    scenario: Scenario
    report: Report
    time_stamp: int

    @property
    def uuid(self) -> str:
        """The report's id."""
        return self.scenario.uuid(self.report.number, self.report.entropy)

    @property
    def start(self) -> int:
        """The start of the test or repair, in ticks."""
        return documents.start(self.report)

    @property
    def fields(self) -> Json:
        """The header row, without expansions."""
        return _decoded(self.text(()))

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""
        added = documents.expansions(self.report, expand) if expand else ""
        return f"{documents.header(self.scenario, self.report, self.time_stamp)}{added}}}"

    def document(self) -> bytes:
        """The WSJF document."""
        return documents.document(self.scenario, self.report)


@dataclass(frozen=True)
class Received:
    """A report that a test added: its header row, and the body that the server returns as its document."""

    fields: Json
    body: bytes
    expanded: Json = field(default_factory=dict)

    @property
    def uuid(self) -> str:
        """The report's id."""
        return str(self.fields["uuid"])

    @property
    def time_stamp(self) -> int:
        """The server's processing order."""
        return int(self.fields["timeStamp"])

    @cached_property
    def start(self) -> int:
        """The start of the test or repair, in ticks."""
        return clock.parse(self.fields["start"])

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""
        added = {name: self.expanded.get(name, []) for name in EXPANSIONS if name in expand}
        return msgspec.json.encode(self.fields | added).decode()

    def document(self) -> bytes:
        """The WSJF document, or the bytes that a test gave in its place."""
        return self.body


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` generated reports, from report `number` at `position`."""

    position: int
    number: int
    count: int


class Plant:
    """All reports of a server. Thread-safe.

    Args:
        reports: The number of reports to generate.
        seed: The same seed gives the same reports on every machine.
        ties: The number of consecutive reports that share a `timeStamp`.

    Attributes:
        seed: The seed.
    """

    def __init__(self, reports: int = 3000, *, seed: int = 1, ties: int = 1) -> None:
        self.seed = seed
        self._scenario = Scenario(seed)
        self._ties = ties
        self._lock = threading.RLock()
        self._segments: tuple[Segment, ...] = ()
        self._received: dict[int, Received] = {}
        self._received_at: dict[str, int] = {}
        self._vacant: set[int] = set()
        self._hidden: dict[str, int] = {}
        self._end = 0
        self.grow(reports)

    def __len__(self) -> int:
        """The number of visible reports."""
        return self._end - len(self._vacant)

    # -------------------------------------------------------- reading

    def headers(self) -> Iterator[Json]:
        """The header rows as the server sends them, in the order of `timeStamp`."""
        return (row.fields for row in self.arrived())

    def uuids(self) -> list[str]:
        """The ids of all visible reports, in the order of `timeStamp`."""
        return [row.uuid for row in self.arrived()]

    def uuid(self, number: int) -> str:
        """The id of generated report `number`, counted from 0."""
        return self._scenario.uuid(number)

    def document(self, uuid: str) -> Json:
        """The document of a report in full detail.

        Raises:
            KeyError: There is no such report.
            msgspec.DecodeError: A test added a document that is not JSON.
        """
        row = self.find(uuid)
        if row is None:
            raise KeyError(uuid)
        return _decoded(row.document())

    @property
    def now(self) -> int:
        """The server's present: the tick at which the latest generated report arrived."""
        return clock.arrival(max(0, sum(segment.count for segment in self._segments) - 1))

    def find(self, uuid: str) -> Row | None:
        """The visible report with this id; None if there is none."""
        position = self._position(uuid.lower())
        return None if position is None or position in self._vacant else self._row(position)

    def of_unit(self, serial: str) -> list[Row]:
        """The visible reports of a serial number, in the order of `timeStamp`. Case does not matter."""
        wanted = collated(serial)
        with self._lock:
            added = [
                row for row in self._received.values() if collated(row.fields.get("serialNumber")) == wanted
            ]
        rows = [
            *map(self.find, map(self._scenario.uuid, self._scenario.of_unit(serial))),
            *map(self.find, (r.uuid for r in added)),
        ]
        found = {row.uuid: row for row in rows if row and collated(row.fields.get("serialNumber")) == wanted}
        return sorted(found.values(), key=lambda row: row.time_stamp)

    def positions(self, time_stamps: Range) -> Range:
        """The positions whose `timeStamp` lies within the range."""
        return self._first_position(time_stamps[0]), min(self._end, self._first_position(time_stamps[1]))

    def arrived(
        self, positions: Range | None = None, starts: Range = EVER, *, newest_first: bool = False
    ) -> Iterator[Row]:
        """The visible reports within both ranges, by `timeStamp`. Generates reports as they are consumed."""
        spans = sorted(self._spans(positions or (0, self._end), starts), reverse=newest_first)
        places = (
            place for span in spans for place in (reversed(range(*span)) if newest_first else range(*span))
        )
        rows = (self._row(place) for place in places if place not in self._vacant)
        return rows if starts == EVER else (row for row in rows if starts[0] <= row.start < starts[1])

    def started(self, positions: Range, starts: Range, *, newest_first: bool = False) -> Iterator[Row]:
        """The visible reports within both ranges, by `start`. Generates reports as they are consumed."""
        sign = -1 if newest_first else 1
        streams = [
            self._generated(segment, positions, starts, newest_first=newest_first)
            for segment in self._segments
        ]
        first, last = positions
        added = [
            row
            for place, row in list(self._received.items())
            if first <= place < last and place not in self._vacant
        ]
        streams.append(iter(sorted(added, key=lambda row: sign * row.start)))
        merged = heapq.merge(*streams, key=lambda row: sign * row.start)
        return (row for row in merged if starts[0] <= row.start < starts[1])

    # -------------------------------------------------------- changing

    def grow(self, count: int) -> None:
        """Add `count` generated reports."""
        with self._lock:
            number = sum(segment.count for segment in self._segments)
            last = self._segments[-1] if self._segments else Segment(0, 0, 0)
            if last.position + last.count == self._end:
                grown = (*self._segments[:-1], Segment(last.position, last.number, last.count + count))
            else:
                grown = (*self._segments, Segment(self._end, number, count))
            self._segments = grown
            self._end += count

    def receive(self, document: Json | bytes | str, **header: Any) -> str:
        """Add a report, and return its id.

        Args:
            document: A WSJF document, or bytes or text that the server returns unchanged, valid or not.
            header: Fields of the header row, by their names in the API. The document supplies the others.
        """
        known = document if isinstance(document, dict) else {}
        uuid = str(header.pop("uuid", None) or known.get("id") or uuid4()).lower()
        fields = _header_of(known) | header
        with self._lock:
            old = self.find(uuid)
            count = int(old.fields.get("receiveCount") or 0) + 1 if old else 1
            fields = (
                {"uuid": uuid}
                | fields
                | {"timeStamp": self._time_stamp(self._end), "receiveCount": count}
                | header
            )
            self._arrive(Received(fields, _encoded(document), _expanded_of(known)))
        return uuid

    def receive_again(self, uuid: str, document: Json | bytes | str | None = None, **header: Any) -> None:
        """Replace a report: same id, new `timeStamp`, higher `receiveCount`, other content.

        Args:
            uuid: The report.
            document: The new document. By default the old document, with the changes of the header row.
            header: Fields of the header row to change, by their names in the API. By default the comment.

        Raises:
            KeyError: There is no such report.
        """
        with self._lock:
            row = self.find(uuid)
            if row is None:
                raise KeyError(uuid)
            count = int(row.fields.get("receiveCount") or 1) + 1
            changes = header or {"comment": f"received {count} times"}
            fields = (
                row.fields | {"receiveCount": count} | changes | {"timeStamp": self._time_stamp(self._end)}
            )
            changed = _changed(_decoded(row.document()), changes) if document is None else document
            expanded = _decoded(row.text(EXPANSIONS))
            self._arrive(Received(fields, _encoded(changed), {name: expanded[name] for name in EXPANSIONS}))

    def delete(self, uuid: str) -> None:
        """Delete a report.

        Raises:
            KeyError: There is no such report.
        """
        with self._lock:
            self._vacant.add(self._visible_position(uuid))

    def hide(self, uuid: str) -> None:
        """Make a report invisible until `show`, as if the server were still processing it.

        Raises:
            KeyError: There is no such report.
        """
        with self._lock:
            position = self._hidden[uuid.lower()] = self._visible_position(uuid)
            self._vacant.add(position)

    def show(self, uuid: str) -> None:
        """Make a hidden report visible, with its old `timeStamp`.

        Raises:
            KeyError: It is not hidden.
        """
        with self._lock:
            self._vacant.discard(self._hidden.pop(uuid.lower()))

    # -------------------------------------------------------- positions

    def _time_stamp(self, position: int) -> int:
        group = position // self._ties
        return FIRST_TIME_STAMP + 10 * group + group * 7919 // 8 % 10

    def _first_position(self, time_stamp: int) -> int:
        """The first position with this `timeStamp` or a later one. Each group of ties takes ten numbers."""
        group = max(0, (time_stamp - FIRST_TIME_STAMP) // 10)
        if self._time_stamp(group * self._ties) < time_stamp:
            group += 1
        return min(self._end, group * self._ties)

    def _position(self, uuid: str) -> int | None:
        if uuid in self._received_at:
            return self._received_at[uuid]
        number = self._scenario.number(uuid)
        if number is None:
            return None
        places = (
            s.position + number - s.number for s in self._segments if s.number <= number < s.number + s.count
        )
        return next(places, None)

    def _visible_position(self, uuid: str) -> int:
        position = self._position(uuid.lower())
        if position is None or position in self._vacant:
            raise KeyError(uuid)
        return position

    def _row(self, position: int) -> Row:
        received = self._received.get(position)
        if received is not None:
            return received
        place = bisect_right(self._segments, position, key=lambda segment: segment.position) - 1
        segment = self._segments[place]
        report = self._scenario.report(segment.number + position - segment.position)
        return Generated(self._scenario, report, self._time_stamp(position))

    def _arrive(self, report: Received) -> None:
        old = self._position(report.uuid)
        position, self._end = self._end, self._end + 1
        self._received[position] = report
        self._received_at[report.uuid] = position
        if old is not None:
            self._vacant.add(old)
            self._received.pop(old, None)

    def _spans(self, positions: Range, starts: Range) -> Iterator[Range]:
        """The positions that may hold a report within both ranges."""
        yield from (self._span(segment, positions, starts) for segment in self._segments)
        yield from (
            (place, place + 1) for place in list(self._received) if positions[0] <= place < positions[1]
        )

    def _span(self, segment: Segment, positions: Range, starts: Range) -> Range:
        shift = segment.position - segment.number
        first = max(segment.position, positions[0], clock.first_arrival_from(starts[0]) + shift)
        last = min(segment.position + segment.count, positions[1])
        return first, min(last, clock.first_arrival_from(starts[1] + clock.MAX_ARRIVAL_DELAY) + shift)

    def _generated(
        self, segment: Segment, positions: Range, starts: Range, *, newest_first: bool
    ) -> Iterator[Row]:
        """The reports of a segment by `start`. A heap holds each report until no later one can precede it."""
        pending: list[tuple[int, int, Row]] = []
        span = range(*self._span(segment, positions, starts))
        for place in reversed(span) if newest_first else span:
            arrival = clock.arrival(segment.number + place - segment.position)
            bound = -arrival if newest_first else arrival - clock.MAX_ARRIVAL_DELAY
            while pending and pending[0][0] <= bound:
                yield heapq.heappop(pending)[2]
            if place not in self._vacant:
                row = self._row(place)
                heapq.heappush(pending, (-row.start if newest_first else row.start, place, row))
        while pending:
            yield heapq.heappop(pending)[2]


# ------------------------------------------------------------ header and document


def _decoded(text: str | bytes) -> Json:
    decoded: Json = msgspec.json.decode(text)
    return decoded


def _encoded(document: Json | bytes | str) -> bytes:
    if isinstance(document, bytes):
        return document
    return document.encode() if isinstance(document, str) else msgspec.json.encode(document)


def _header_of(document: Json) -> Json:
    """The header row of a document, as far as the document supplies it."""
    fields = {name: _value_at(document, path) for name, path in _DOCUMENT_PATHS.items()}
    fields["result"] = WORDS.get(fields["result"], fields["result"])
    start = fields["start"]
    if not isinstance(start, str) or not _is_time(start):
        fields["start"] = clock.local(clock.arrival(0))
    defaults = {"reportType": "T", "result": "Passed", "processCode": 0, "measuresDeleted": False, "run": 1}
    size = len(msgspec.json.encode(document)) // 1024 + 1
    return defaults | {k: v for k, v in fields.items() if v is not None} | {"reportSize": size}


def _is_time(text: str) -> bool:
    try:
        clock.parse(text)
    except ValueError:
        return False
    return True


def _resolved(path: tuple[str, ...], document: Json) -> tuple[str, ...]:
    return ("uur", *path[1:]) if path[0] == "uut" and document.get("type") == "R" else path


def _value_at(document: Json, path: tuple[str, ...]) -> Any:
    value: Any = document
    for key in _resolved(path, document):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str | int | float) else None


def _changed(document: Json, changes: Json) -> Json:
    """The document, changed in place, with these header fields at their paths."""
    for name in changes.keys() & _DOCUMENT_PATHS.keys():
        *above, key = _resolved(_DOCUMENT_PATHS[name], document)
        part = document
        for each in above:
            part = part.setdefault(each, {})
        part[key] = _LETTERS.get(changes[name], changes[name]) if name == "result" else changes[name]
    return document


def _expanded_of(document: Json) -> Json:
    """The `$expand` collections of a document."""
    lists = {
        name: [each for each in document.get(name) or [] if isinstance(each, dict)]
        for name in ("subUnits", "miscInfos")
    }
    prefix = "uur" if document.get("type") == "R" else ""
    names = {"partType": "partType", "serialNumber": "sn", "partNumber": "pn", "revision": "rev"}
    units = [{name: unit.get(key) for name, key in names.items()} for unit in lists["subUnits"]]
    infos = [
        {"description": i.get("description"), "value": str(i.get("text") or i.get("numeric"))}
        for i in lists["miscInfos"]
    ]
    return {"uurSubUnits": units, "uurMiscInfo": infos} if prefix else {"subUnits": units, "miscInfo": infos}
