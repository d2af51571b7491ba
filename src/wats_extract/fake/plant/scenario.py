"""The events of the factory: units, stations, tests, failures, retests and repairs.

Three production lines alternate, so report `i` belongs to line `i % 3`. A line processes lots of 40 reports
of one product. Reports that must agree, such as a retest or the repair of a failure, belong to the same lot.
A lot is generated from seed, line and lot number, and kept in a small cache, so reports take no memory.

Patterns to find in the data:

- The yield differs by product.
- MODULE-320 fails mostly at one step.
- HORTEN-ICT-2 has a worn fixture and fails four times as often.
- The gain of MODULE-310 drifts to its limit, is recalibrated, and drifts again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from heapq import heappop, heappush
from typing import NamedTuple, TypeVar

from wats_extract.fake.plant import programs
from wats_extract.fake.plant.programs import PRODUCTS, Process, Product
from wats_extract.fake.plant.steps import PASSED, Leaf, Outcome, Program, Result, quoted

T = TypeVar("T")

LOT = 40
LINES = len(PRODUCTS)
DRIFT_PERIOD = 1600
"""The number of reports between two recalibrations."""

TESTERS = {
    (0, 10): ("HORTEN-ICT-1", "HORTEN-ICT-2"),
    (0, 20): ("HORTEN-FCT-1",),
    (1, 20): ("TRONDHEIM-FCT-1", "TRONDHEIM-FCT-2"),
    (1, 30): ("TRONDHEIM-BURNIN-1",),
    (2, 20): ("GDANSK-FCT-1",),
    (2, 30): ("GDANSK-BURNIN-1",),
}
BENCHES = ("HORTEN-REPAIR", "TRONDHEIM-REPAIR", "GDANSK-REPAIR")
PLACES = ("Horten, Norway", "Trondheim, Norway", "Gdańsk, Poland")
_WORN_STATION = "HORTEN-ICT-2"
_SERIAL = re.compile(rf"SN([1-{LINES}])(\d{{5,12}})(\d\d)")
_UNUSUAL_PART_NUMBERS = ("PCBA-100/X", "MODULE'310", "UNIT¶400", "PCBA_2%;0")
_RESULTS: tuple[Result, ...] = ("F",) * 22 + ("E", "E", "T")
_ERRORS = (
    (-17500, "Fixture did not close within 10 s"),
    (-1073807339, "VISA: timeout before operation completed"),
    (-18002, "Instrument «DMM 1» ikke funnet på bussen"),
)


class Event(NamedTuple):
    """One report within its lot. `cause` is the failed step, `repairs` the slot of the repaired test."""

    unit: int
    process: Process
    run: int
    result: Result
    station: str
    cause: Leaf | None = None
    repairs: int | None = None


@dataclass(frozen=True, slots=True)
class Lot:
    """Forty reports of one line and product."""

    line: int
    number: int
    product: Product
    part_number: str
    revision: str
    batch: str
    place: str
    software: str
    drift: float
    events: tuple[Event, ...]

    def serial(self, unit: int) -> str:
        """The serial number of a unit of this lot."""
        return f"SN{self.line + 1}{self.number:05d}{unit:02d}"


class Report(NamedTuple):
    """One generated report. `entropy` holds the random bytes that determine all further details."""

    number: int
    lot: Lot
    event: Event
    entropy: bytes
    is_repair: bool

    @property
    def program(self) -> Program:
        """The test program of the test, or of the repaired test."""
        return self.lot.product.programs[self.tested.process.code]

    @property
    def tested(self) -> Event:
        """The test: this event, or the event that it repairs."""
        repairs = self.event.repairs
        return self.event if repairs is None else self.lot.events[repairs]


class Scenario:
    """All events of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._key = f"wats plant {seed}".encode()
        self._lot = lru_cache(maxsize=192)(self._generated)

    def report(self, number: int) -> Report:
        """Report `number`, counted from 0 in the order of arrival."""
        place, line = divmod(number, LINES)
        lot, slot = divmod(place, LOT)
        found = self._lot(line, lot)
        event = found.events[slot]
        return Report(number, found, event, self.entropy(number), event.repairs is not None)

    def of_unit(self, serial: str) -> list[int]:
        """The numbers of a unit's reports, in the order of arrival."""
        match = _SERIAL.fullmatch(serial.strip().upper())
        if match is None:
            return []
        line, number, unit = int(match[1]) - 1, int(match[2]), int(match[3])
        lot = self._lot(line, number)
        return [number_of(lot, slot) for slot, event in enumerate(lot.events) if event.unit == unit]

    def repaired(self, report: Report) -> int:
        """The number of the test report that a repair report refers to."""
        slot = report.event.repairs
        assert slot is not None
        return number_of(report.lot, slot)

    def entropy(self, number: int) -> bytes:
        """Forty random bytes per report."""
        return blake2b(self._key + number.to_bytes(8, "big"), digest_size=40).digest()

    # -------------------------------------------------------- identity

    def uuid(self, number: int, entropy: bytes | None = None) -> str:
        """The id of report `number`. The last 12 digits are the number, masked with a hash of the rest."""
        drawn = (entropy or self.entropy(number))[:9].hex()
        head = f"{drawn[:8]}-{drawn[8:12]}-4{drawn[12:15]}-{'89ab'[int(drawn[15], 16) & 3]}{drawn[15:18]}"
        return f"{head}-{number ^ self._mask(head):012x}"

    def number(self, uuid: str) -> int | None:
        """The number of the report with this id; None if the seed has no such id."""
        try:
            number = int(uuid[24:], 16) ^ self._mask(uuid[:23])
        except ValueError:
            return None
        return number if self.uuid(number) == uuid else None

    def _mask(self, head: str) -> int:
        return int.from_bytes(blake2b(self._key + head.encode(), digest_size=6).digest(), "big")

    # -------------------------------------------------------- lots

    def _generated(self, line: int, number: int) -> Lot:
        chance = random.Random(f"{self._seed}/{line}/{number}").random
        product = PRODUCTS[line][number % len(PRODUCTS[line])]
        first = (number * LOT) * LINES + line
        phase = (first % DRIFT_PERIOD) / DRIFT_PERIOD
        return Lot(
            line=line,
            number=number,
            product=product,
            part_number=_pick(_UNUSUAL_PART_NUMBERS, chance()) if chance() < 0.03 else product.part_number,
            revision=_pick(product.revisions, chance()) + ("     " if chance() < 0.03 else ""),
            batch=f"B{line + 1}-{number:05d}",
            place=PLACES[line],
            software=f"{2 + first // 6000}.{first // 1200 % 5}.{int(3 * chance())}",
            drift=product.drift * phase,
            events=_LotEvents(chance, line, product, phase).events(),
        )


class _LotEvents:
    """Generates the events of one lot."""

    def __init__(self, chance: Callable[[], float], line: int, product: Product, phase: float) -> None:
        self._chance, self._line, self._product, self._phase = chance, line, product, phase

    def events(self) -> tuple[Event, ...]:
        """The events in the order of arrival. The events of neighbouring units overlap."""
        order: list[tuple[int, int]] = []
        units: list[list[Event]] = []
        due: list[tuple[float, int, int]] = []
        while len(order) < LOT:
            unit = len(units)
            units.append(self._unit_events(unit))
            for step in range(len(units[unit])):
                heappush(due, (unit + 1.7 * step, unit, step))
            while due and due[0][0] < unit + 1:
                order.append(heappop(due)[1:])
        slots = {place: slot for slot, place in enumerate(order)}
        events = ((unit, units[unit][step]) for unit, step in order[:LOT])
        return tuple(
            e if e.repairs is None else e._replace(repairs=slots[unit, e.repairs]) for unit, e in events
        )

    def _unit_events(self, unit: int) -> list[Event]:
        """The events of one unit: up to three runs per process until it passes, with repairs between."""
        events: list[Event] = []
        for process in self._product.route:
            for run in (1, 2, 3):
                event = self._test(unit, process, run)
                events.append(event)
                if event.result == "P":
                    break
                if event.result == "F" and self._chance() < 0.72:
                    bench = BENCHES[self._line]
                    events.append(Event(unit, programs.REPAIR, 0, "P", bench, event.cause, len(events) - 1))
        return events

    def _test(self, unit: int, process: Process, run: int) -> Event:
        station = _pick(TESTERS[self._line, process.code], self._chance())
        drifting = self._product.programs[process.code].drifting
        if drifting and self._chance() < self._phase - 0.8:
            return Event(unit, process, run, "F", station, drifting)
        rate = self._product.failing * (4 if station == _WORN_STATION else 1) * (1 if run == 1 else 0.5)
        if self._chance() >= rate:
            return Event(unit, process, run, "P", station)
        result: Result = _pick(_RESULTS, self._chance())
        return Event(unit, process, run, result, station, self._cause(process))

    def _cause(self, process: Process) -> Leaf:
        program = self._product.programs[process.code]
        weak = program.leaf_with_role("weak")
        return weak if weak and self._chance() < 0.7 else _pick(program.causes, self._chance())


def _pick(choices: Sequence[T], chance: float) -> T:
    return choices[int(chance * len(choices))]


def number_of(lot: Lot, slot: int) -> int:
    """The number of the report in a slot of a lot."""
    return (lot.number * LOT + slot) * LINES + lot.line


def outcome(report: Report) -> Outcome:
    """The outcome of a report's test run, for `Program.render`."""
    event, measured = report.event, not measures_deleted(report)
    if event.result == "P" and measured:
        return PASSED
    error = ""
    if event.result == "E":
        code, message = trouble(report)
        error = f'"errorCode":{code},"errorMessage":{quoted(message)},'
    return Outcome(event.result, event.cause, report.lot.product.stops, error, measured)


def trouble(report: Report) -> tuple[int, str]:
    """The error code and message of a run with the result Error."""
    return _ERRORS[report.entropy[20] % len(_ERRORS)]


def measures_deleted(report: Report) -> bool:
    """Whether data retention has deleted the measurements."""
    return report.entropy[21] == 7 and not report.is_repair
