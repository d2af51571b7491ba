"""What happens at the plant, by arithmetic: who is tested where, what fails and why, what is repaired.

Three production lines take turns, so report `i` belongs to line `i % 3`. A line works through lots of 40
reports of one product; all that must agree between reports (a unit's retest, the repair of a failure) stays
within its lot. A lot is thrown from (seed, line, lot) and kept in a small cache: no report costs memory.

To be found in the data: products of unlike yield; MODULE-320 fails mostly at one step; fixture trouble at
HORTEN-ICT-2; the gain of MODULE-310 drifts to its limit and is recalibrated, again and again.
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
"""Reports between two recalibrations."""

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
_WORN = "HORTEN-ICT-2"
_SERIAL = re.compile(rf"SN([1-{LINES}])(\d{{5,12}})(\d\d)")
_ODD_PARTS = ("PCBA-100/X", "MODULE'310", "UNIT¶400", "PCBA_2%;0")
_RESULTS: tuple[Result, ...] = ("F",) * 22 + ("E", "E", "T")
_ERRORS = (
    (-17500, "Fixture did not close within 10 s"),
    (-1073807339, "VISA: timeout before operation completed"),
    (-18002, "Instrument «DMM 1» ikke funnet på bussen"),
)


class Event(NamedTuple):
    """One report within its lot. `cause` is the failing leaf, `repairs` the slot of the repaired test."""

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
    """One generated report: its number, lot and event, random bytes for the rest, and whether it is a UUR."""

    number: int
    lot: Lot
    event: Event
    dice: bytes
    is_repair: bool

    @property
    def program(self) -> Program:
        """The test program; for a repair that of the repaired test."""
        return self.lot.product.programs[self.tested.process.code]

    @property
    def tested(self) -> Event:
        """The test event: this one, or the one that it repairs."""
        repairs = self.event.repairs
        return self.event if repairs is None else self.lot.events[repairs]


class Story:
    """All reports of a seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._key = f"wats plant {seed}".encode()
        self._lot = lru_cache(maxsize=192)(self._thrown)

    def report(self, number: int) -> Report:
        """Report `number`, counted from 0 in the order in which the server received them."""
        place, line = divmod(number, LINES)
        lot, slot = divmod(place, LOT)
        found = self._lot(line, lot)
        event = found.events[slot]
        return Report(number, found, event, self.dice(number), event.repairs is not None)

    def about(self, serial: str) -> list[int]:
        """The numbers of the reports about a unit, in the order of their arrival."""
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

    def dice(self, number: int) -> bytes:
        """Forty random bytes of a report's own."""
        return blake2b(self._key + number.to_bytes(8, "big"), digest_size=40).digest()

    # -------------------------------------------------------- identity

    def uuid(self, number: int, dice: bytes | None = None) -> str:
        """The report's id: the first half is random, the last 12 digits hide the number under a key of it."""
        drawn = (dice or self.dice(number))[:9].hex()
        head = f"{drawn[:8]}-{drawn[8:12]}-4{drawn[12:15]}-{'89ab'[int(drawn[15], 16) & 3]}{drawn[15:18]}"
        return f"{head}-{number ^ self._mask(head):012x}"

    def number(self, uuid: str) -> int | None:
        """The number of the report with this id, None if there can't be one."""
        try:
            number = int(uuid[24:], 16) ^ self._mask(uuid[:23])
        except ValueError:
            return None
        return number if self.uuid(number) == uuid else None

    def _mask(self, head: str) -> int:
        return int.from_bytes(blake2b(self._key + head.encode(), digest_size=6).digest(), "big")

    # -------------------------------------------------------- throwing a lot

    def _thrown(self, line: int, number: int) -> Lot:
        chance = random.Random(f"{self._seed}/{line}/{number}").random
        product = PRODUCTS[line][number % len(PRODUCTS[line])]
        first = (number * LOT) * LINES + line
        phase = (first % DRIFT_PERIOD) / DRIFT_PERIOD
        return Lot(
            line=line,
            number=number,
            product=product,
            part_number=_pick(_ODD_PARTS, chance()) if chance() < 0.03 else product.part_number,
            revision=_pick(product.revisions, chance()) + ("     " if chance() < 0.03 else ""),
            batch=f"B{line + 1}-{number:05d}",
            place=PLACES[line],
            software=f"{2 + first // 6000}.{first // 1200 % 5}.{int(3 * chance())}",
            drift=product.drift * phase,
            events=_Throw(chance, line, product, phase).events(),
        )


class _Throw:
    """Throws the events of one lot."""

    def __init__(self, chance: Callable[[], float], line: int, product: Product, phase: float) -> None:
        self._chance, self._line, self._product, self._phase = chance, line, product, phase

    def events(self) -> tuple[Event, ...]:
        """The units' events in the order of their arrival; a unit's next one comes a little later."""
        order: list[tuple[int, int]] = []
        units: list[list[Event]] = []
        due: list[tuple[float, int, int]] = []
        while len(order) < LOT:
            unit = len(units)
            units.append(self._way(unit))
            for step in range(len(units[unit])):
                heappush(due, (unit + 1.7 * step, unit, step))
            while due and due[0][0] < unit + 1:
                order.append(heappop(due)[1:])
        slots = {place: slot for slot, place in enumerate(order)}
        events = ((unit, units[unit][step]) for unit, step in order[:LOT])
        return tuple(
            e if e.repairs is None else e._replace(repairs=slots[unit, e.repairs]) for unit, e in events
        )

    def _way(self, unit: int) -> list[Event]:
        """A unit's way through the line: each process until it passes, often with a repair in between."""
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
        rate = self._product.failing * (4 if station == _WORN else 1) * (1 if run == 1 else 0.5)
        if self._chance() >= rate:
            return Event(unit, process, run, "P", station)
        result: Result = _pick(_RESULTS, self._chance())
        return Event(unit, process, run, result, station, self._cause(process))

    def _cause(self, process: Process) -> Leaf:
        program = self._product.programs[process.code]
        weak = program.marked("weak")
        return weak if weak and self._chance() < 0.7 else _pick(program.causes, self._chance())


def _pick(choices: Sequence[T], chance: float) -> T:
    return choices[int(chance * len(choices))]


def number_of(lot: Lot, slot: int) -> int:
    """The number of the report in a slot of a lot."""
    return (lot.number * LOT + slot) * LINES + lot.line


def outcome(report: Report) -> Outcome:
    """How the report's run went, for its program."""
    event, measured = report.event, not measures_deleted(report)
    if event.result == "P" and measured:
        return PASSED
    error = ""
    if event.result == "E":
        code, message = trouble(report)
        error = f'"errorCode":{code},"errorMessage":{quoted(message)},'
    return Outcome(event.result, event.cause, report.lot.product.stops, error, measured)


def trouble(report: Report) -> tuple[int, str]:
    """Error code and message of a run that ended with an error."""
    return _ERRORS[report.dice[20] % len(_ERRORS)]


def measures_deleted(report: Report) -> bool:
    """Whether data retention has taken the measurements."""
    return report.dice[21] == 7 and not report.is_repair
