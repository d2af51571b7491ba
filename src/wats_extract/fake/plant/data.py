"""The reports that a server has: generated ones by arithmetic, and those that a test adds or changes.

Every report has a *position*, its place in the order of arrival, from which its `timeStamp` follows. A run of
positions that hold generated reports is a `Stretch`; a single one may hold a `Received` report instead, or be
vacant because the report was deleted, is hidden, or arrived again at a later position. So a plant of a
million reports costs the same as one of ten.
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
from wats_extract.fake.plant.story import Report, Story

FIRST_TIME_STAMP = 1_000_000

Json = dict[str, Any]
Range = tuple[int, int]
"""From the first to before the second."""

EVER: Range = (-(1 << 62), 1 << 62)
"""A range without ends."""

_LETTERS = {word: letter for letter, word in WORDS.items()}
_PLACES: Mapping[str, tuple[str, ...]] = {
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
"""Where a document holds what the header row shows; `uut` stands for `uur` in repairs."""


class Row(Protocol):
    """One visible report, as the queries see it."""

    @property
    def uuid(self) -> str:
        """Its id."""

    @property
    def time_stamp(self) -> int:
        """Its place in the order of arrival."""

    @property
    def start(self) -> int:
        """When it started, in ticks."""

    @property
    def fields(self) -> Json:
        """The header row without expansions."""

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""

    def document(self) -> bytes:
        """The whole WSJF document."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A report of the story at its place."""

    story: Story
    report: Report
    time_stamp: int

    @property
    def uuid(self) -> str:
        """Its id."""
        return self.story.uuid(self.report.number, self.report.dice)

    @property
    def start(self) -> int:
        """When it started, in ticks."""
        return documents.start(self.report)

    @property
    def fields(self) -> Json:
        """The header row without expansions."""
        return _decoded(self.text(()))

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""
        added = documents.expansions(self.report, expand) if expand else ""
        return f"{documents.header(self.story, self.report, self.time_stamp)}{added}}}"

    def document(self) -> bytes:
        """The whole WSJF document."""
        return documents.document(self.story, self.report)


@dataclass(frozen=True)
class Received:
    """A report that a test put in: its header row and whatever the server answers as its document."""

    fields: Json
    body: bytes
    expanded: Json = field(default_factory=dict)

    @property
    def uuid(self) -> str:
        """Its id."""
        return str(self.fields["uuid"])

    @property
    def time_stamp(self) -> int:
        """Its place in the order of arrival."""
        return int(self.fields["timeStamp"])

    @cached_property
    def start(self) -> int:
        """When it started, in ticks."""
        return clock.parse(self.fields["start"])

    def text(self, expand: Collection[str]) -> str:
        """The header row as JSON, with these expansions."""
        added = {name: self.expanded.get(name, []) for name in EXPANSIONS if name in expand}
        return msgspec.json.encode(self.fields | added).decode()

    def document(self) -> bytes:
        """The whole WSJF document, or what stands for it."""
        return self.body


@dataclass(frozen=True, slots=True)
class Stretch:
    """`count` generated reports from number `number` on, which arrived from `position` on."""

    position: int
    number: int
    count: int


class Plant:
    """All reports of a server. Safe to use and to change from several threads.

    Args:
        reports: how many to generate.
        seed: the same seed gives the same reports, on every machine.
        ties: so many reports, one after another, share a `timeStamp`.

    Attributes:
        seed: as given.
    """

    def __init__(self, reports: int = 3000, *, seed: int = 1, ties: int = 1) -> None:
        self.seed = seed
        self._story = Story(seed)
        self._ties = ties
        self._lock = threading.RLock()
        self._stretches: tuple[Stretch, ...] = ()
        self._received: dict[int, Received] = {}
        self._moved: dict[str, int] = {}
        self._vacant: set[int] = set()
        self._hidden: dict[str, int] = {}
        self._end = 0
        self.grow(reports)

    def __len__(self) -> int:
        """How many reports are visible."""
        return self._end - len(self._vacant)

    # -------------------------------------------------------- looking

    def headers(self) -> Iterator[Json]:
        """The header rows as served, in the order of their `timeStamp`."""
        return (row.fields for row in self.arrived())

    def uuids(self) -> list[str]:
        """The ids of all visible reports, in the order of their `timeStamp`."""
        return [row.uuid for row in self.arrived()]

    def uuid(self, number: int) -> str:
        """The id of generated report `number`, counted from 0."""
        return self._story.uuid(number)

    def document(self, uuid: str) -> Json:
        """The report's document as served in full detail.

        Raises:
            KeyError: there is no such report.
            msgspec.DecodeError: a test planted something that is not JSON.
        """
        row = self.find(uuid)
        if row is None:
            raise KeyError(uuid)
        return _decoded(row.document())

    @property
    def now(self) -> int:
        """The tick at which the latest generated report arrived: the server's idea of the present."""
        return clock.turn(max(0, sum(stretch.count for stretch in self._stretches) - 1))

    def find(self, uuid: str) -> Row | None:
        """The visible report with this id."""
        position = self._position(uuid.lower())
        return None if position is None or position in self._vacant else self._row(position)

    def about(self, serial: str) -> list[Row]:
        """The visible reports of a serial number, in any case, in the order of their `timeStamp`."""
        wanted = collated(serial)
        with self._lock:
            added = [
                row for row in self._received.values() if collated(row.fields.get("serialNumber")) == wanted
            ]
        rows = [
            *map(self.find, map(self._story.uuid, self._story.about(serial))),
            *map(self.find, (r.uuid for r in added)),
        ]
        found = {row.uuid: row for row in rows if row and collated(row.fields.get("serialNumber")) == wanted}
        return sorted(found.values(), key=lambda row: row.time_stamp)

    def positions(self, time_stamps: Range) -> Range:
        """The positions whose `timeStamp` lies in the range."""
        return self._first_position(time_stamps[0]), min(self._end, self._first_position(time_stamps[1]))

    def arrived(
        self, positions: Range | None = None, starts: Range = EVER, *, newest_first: bool = False
    ) -> Iterator[Row]:
        """The visible reports within both ranges, by `timeStamp`; costs little more than what is taken."""
        spans = sorted(self._spans(positions or (0, self._end), starts), reverse=newest_first)
        places = (
            place for span in spans for place in (reversed(range(*span)) if newest_first else range(*span))
        )
        rows = (self._row(place) for place in places if place not in self._vacant)
        return rows if starts == EVER else (row for row in rows if starts[0] <= row.start < starts[1])

    def started(self, positions: Range, starts: Range, *, newest_first: bool = False) -> Iterator[Row]:
        """The visible reports within both ranges, by `start`; costs little more than what is taken of it."""
        sign = -1 if newest_first else 1
        streams = [
            self._generated(stretch, positions, starts, newest_first=newest_first)
            for stretch in self._stretches
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
        """Let `count` more generated reports arrive."""
        with self._lock:
            number = sum(stretch.count for stretch in self._stretches)
            last = self._stretches[-1] if self._stretches else Stretch(0, 0, 0)
            if last.position + last.count == self._end:
                grown = (*self._stretches[:-1], Stretch(last.position, last.number, last.count + count))
            else:
                grown = (*self._stretches, Stretch(self._end, number, count))
            self._stretches = grown
            self._end += count

    def receive(self, document: Json | bytes | str, **header: Any) -> str:
        """Let a report arrive that the caller made up, and return its id.

        Args:
            document: a WSJF document, or bytes or text served as they are, broken or not.
            header: fields of the header row, by their names in the API; the document tells the others.
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
        """Let a known report arrive again: same id, new `timeStamp`, a higher `receiveCount`, other content.

        Args:
            uuid: the report.
            document: takes the place of the document; without it the old one is changed as the header is.
            header: fields of the header row to change, by their names in the API; by default the comment.

        Raises:
            KeyError: there is no such report.
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
        """Remove a report for good.

        Raises:
            KeyError: there is no such report.
        """
        with self._lock:
            self._vacant.add(self._known(uuid))

    def hide(self, uuid: str) -> None:
        """Make a report invisible until `show`, as if it were still being processed.

        Raises:
            KeyError: there is no such report.
        """
        with self._lock:
            position = self._hidden[uuid.lower()] = self._known(uuid)
            self._vacant.add(position)

    def show(self, uuid: str) -> None:
        """Make a hidden report visible, at its old place in the order.

        Raises:
            KeyError: it is not hidden.
        """
        with self._lock:
            self._vacant.discard(self._hidden.pop(uuid.lower()))

    # -------------------------------------------------------- places

    def _time_stamp(self, position: int) -> int:
        group = position // self._ties
        return FIRST_TIME_STAMP + 10 * group + group * 7919 // 8 % 10

    def _first_position(self, time_stamp: int) -> int:
        """The first position whose `timeStamp` isn't below; ten numbers belong to each group of ties."""
        group = max(0, (time_stamp - FIRST_TIME_STAMP) // 10)
        if self._time_stamp(group * self._ties) < time_stamp:
            group += 1
        return min(self._end, group * self._ties)

    def _position(self, uuid: str) -> int | None:
        if uuid in self._moved:
            return self._moved[uuid]
        number = self._story.number(uuid)
        if number is None:
            return None
        places = (
            s.position + number - s.number for s in self._stretches if s.number <= number < s.number + s.count
        )
        return next(places, None)

    def _known(self, uuid: str) -> int:
        position = self._position(uuid.lower())
        if position is None or position in self._vacant:
            raise KeyError(uuid)
        return position

    def _row(self, position: int) -> Row:
        received = self._received.get(position)
        if received is not None:
            return received
        place = bisect_right(self._stretches, position, key=lambda stretch: stretch.position) - 1
        stretch = self._stretches[place]
        report = self._story.report(stretch.number + position - stretch.position)
        return Generated(self._story, report, self._time_stamp(position))

    def _arrive(self, report: Received) -> None:
        old = self._position(report.uuid)
        position, self._end = self._end, self._end + 1
        self._received[position] = report
        self._moved[report.uuid] = position
        if old is not None:
            self._vacant.add(old)
            self._received.pop(old, None)

    def _spans(self, positions: Range, starts: Range) -> Iterator[Range]:
        """The positions where a report may be that lies in both ranges."""
        yield from (self._span(stretch, positions, starts) for stretch in self._stretches)
        yield from (
            (place, place + 1) for place in list(self._received) if positions[0] <= place < positions[1]
        )

    def _span(self, stretch: Stretch, positions: Range, starts: Range) -> Range:
        shift = stretch.position - stretch.number
        first = max(stretch.position, positions[0], clock.first_turn_from(starts[0]) + shift)
        last = min(stretch.position + stretch.count, positions[1])
        return first, min(last, clock.first_turn_from(starts[1] + clock.LATEST_ARRIVAL) + shift)

    def _generated(
        self, stretch: Stretch, positions: Range, starts: Range, *, newest_first: bool
    ) -> Iterator[Row]:
        """The stretch's reports by `start`: each waits in a heap until none can follow that precedes it."""
        waiting: list[tuple[int, int, Row]] = []
        span = range(*self._span(stretch, positions, starts))
        for place in reversed(span) if newest_first else span:
            turn = clock.turn(stretch.number + place - stretch.position)
            bound = -turn if newest_first else turn - clock.LATEST_ARRIVAL
            while waiting and waiting[0][0] <= bound:
                yield heapq.heappop(waiting)[2]
            if place not in self._vacant:
                row = self._row(place)
                heapq.heappush(waiting, (-row.start if newest_first else row.start, place, row))
        while waiting:
            yield heapq.heappop(waiting)[2]


# ------------------------------------------------------------ header and document


def _decoded(text: str | bytes) -> Json:
    decoded: Json = msgspec.json.decode(text)
    return decoded


def _encoded(document: Json | bytes | str) -> bytes:
    if isinstance(document, bytes):
        return document
    return document.encode() if isinstance(document, str) else msgspec.json.encode(document)


def _header_of(document: Json) -> Json:
    """A header row from a document, as far as the document can tell."""
    fields = {name: _looked_up(document, path) for name, path in _PLACES.items()}
    fields["result"] = WORDS.get(fields["result"], fields["result"])
    start = fields["start"]
    if not isinstance(start, str) or not _is_time(start):
        fields["start"] = clock.local(clock.turn(0))
    defaults = {"reportType": "T", "result": "Passed", "processCode": 0, "measuresDeleted": False, "run": 1}
    size = len(msgspec.json.encode(document)) // 1024 + 1
    return defaults | {k: v for k, v in fields.items() if v is not None} | {"reportSize": size}


def _is_time(text: str) -> bool:
    try:
        clock.parse(text)
    except ValueError:
        return False
    return True


def _own(path: tuple[str, ...], document: Json) -> tuple[str, ...]:
    return ("uur", *path[1:]) if path[0] == "uut" and document.get("type") == "R" else path


def _looked_up(document: Json, path: tuple[str, ...]) -> Any:
    value: Any = document
    for key in _own(path, document):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str | int | float) else None


def _changed(document: Json, changes: Json) -> Json:
    """The document with these header fields written to where it holds them."""
    for name in changes.keys() & _PLACES.keys():
        *above, key = _own(_PLACES[name], document)
        part = document
        for each in above:
            part = part.setdefault(each, {})
        part[key] = _LETTERS.get(changes[name], changes[name]) if name == "result" else changes[name]
    return document


def _expanded_of(document: Json) -> Json:
    """What `$expand` shows of a document."""
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
