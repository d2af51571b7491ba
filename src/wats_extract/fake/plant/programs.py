"""Products, processes, and the test programs, defined with the functions of `steps`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wats_extract.fake.plant.steps import (
    Program,
    Step,
    action,
    boolean,
    check,
    grouped,
    loop,
    numeric,
    sequence,
    string,
)


class Process(NamedTuple):
    """A test or repair operation."""

    code: int
    name: str


ICT, FUNCTION, BURN_IN = Process(10, "ICT"), Process(20, "Functional test"), Process(30, "Burn in")
REPAIR = Process(500, "Repair")

REPAIR_CODES: Mapping[str, tuple[str, ...]] = {
    "Component": ("Defect component", "Wrong component", "Missing component"),
    "Solder process": ("Cold joint", "Bridge", "Insufficient solder"),
    "Assembly process": ("Loose connector", "Wrong polarity"),
    "No failure found": ("Contact resistance", "Not reproducible"),
}


@dataclass(frozen=True)
class Product:
    """A product, its failure rate and its tests.

    Attributes:
        part_number: The part number.
        name: The product name; None if it has none.
        revisions: The revisions in production.
        failing: The share of first runs that fail, from 0 to 1.
        route: The processes of a unit, in order.
        stops: The test stops at the first failure.
        drift: The drift of one measurement between recalibrations, in its unit.
        has_sub_units: The units contain sub units.
        programs: The compiled test program by process code.
    """

    part_number: str
    name: str | None
    revisions: tuple[str, ...]
    failing: float
    route: tuple[Process, ...]
    stops: bool = False
    drift: float = 0.0
    has_sub_units: bool = False
    programs: Mapping[int, Program] = field(default_factory=dict)


# ------------------------------------------------------------ parts of programs


def _setup(*more: Step) -> Step:
    steps = (
        action("Open instruments", "Action"),
        action("Read station settings", "ET_A"),
        check("Operator ready", boolean()),
        action("Close fixture", "MessagePopup", messagePopup={"response": None, "button": 1}),
        action("Let the supply settle", "NI_Wait"),
        *more,
    )
    return sequence("Setup", *steps, path="Common.seq")


def _cleanup() -> Step:
    steps = (
        action("Outputs off", "Action"),
        action("Archive log", "CallExecutable", callExe={"exitCode": 0.0}),
        action("Open fixture", "Statement", status="P"),
        Step("Attach log file", "WATS_AttachFile", status="D", role="attach"),
    )
    return sequence("Cleanup", *steps, path="Common.seq", version=None)


def _supplies(prefix: str = "", *, weak: bool = False) -> Step:
    rails = ((3.3, "3V3"), (5.0, "5V0"), (12.0, "12V0"), (1.8, "1V8"), (1.2, "1V2"), (24.0, "24V0"))
    steps = tuple(
        check(
            f"{prefix}{name} rail",
            numeric(None, "V", volts, volts * 0.006, ("GELE", volts * 0.97, volts * 1.03)),
        )
        for volts, name in rails
    )
    inrush = check(
        f"{prefix}Inrush current",
        numeric(None, "A", 1.35, 0.06, ("LE", 1.75, None)),
        role="weak" if weak else "",
    )
    leakage = check(f"{prefix}Leakage", numeric(None, "A", 4.55e-05, 2e-06, ("LT", 9e-05, None)))
    return sequence(f"{prefix}Power supplies", *steps, inrush, leakage)


def _passives(count: int, *, first: int) -> Step:
    steps = (
        check(f"R{n}", numeric(None, "Ohm", 100.0 * n, 0.4 * n, ("GTLT", 98.0 * n, 102.0 * n)))
        for n in range(first, first + count)
    )
    return sequence(f"Resistors {first} to {first + count - 1}", *steps, path="Passives.seq")


def _digital(port: str, count: int) -> Step:
    steps = (
        *(check(f"{port}{n} toggles", boolean()) for n in range(count)),
        check(f"{port} pull-ups", *(boolean(f"bit {n}") for n in range(4))),
        check(
            f"{port} thresholds",
            *(numeric(f"V_{name}", "V", v, 0.02, op) for name, v, op in (
                ("IL", 0.9, ("LE", 1.1, None)),
                ("IH", 2.1, ("GE", 1.9, None)),
                ("hysteresis", 1.2, ("GT", 0.8, None)),
            )),
        ),
    )  # fmt: skip
    return sequence(f"Port {port}", *steps, path="Digital.seq")


def _identity() -> Step:
    return sequence(
        "Identity",
        check("Firmware version", string(None, "IGNORECASE", "fw-2.4.1", "FW-2.4.1")),
        check("Boot loader", string(None, "EQ", "BL 1.09", "BL 1.09")),
        check("MAC address", string(None, "Log", "00:1B:C5:0A:41:7E", None)),
        check(
            "Identification block",
            string("vendor", "CASESENSIT", "Fjordtest AS", "Fjordtest AS"),
            string("family", "NE", "gateway", "unprogrammed"),
            string("æøå", "LOG", "målt på nytt ✓", None),
        ),
        action("Heater option", "NI_Flow_If", status="P"),
        Step("Heater test", "ET_NLT", (numeric(None, "W", 40.0, 1.0, ("GE", 35.0, None)),), status="S"),
        action("End of option", "NI_Flow_End", status="P"),
    )


def _reference() -> Step:
    """One step for each operator that no other step uses."""
    rows = (
        ("EQ", 500.0, 0.0, 500.0, None), ("NE", 3.0, 0.05, 0.0, None),
        ("GTLE", 20.0, 0.3, 18.0, 22.0), ("GELT", 21.0, 0.3, 19.0, 23.0),
        ("LTGT", 7.0, 0.2, -5.0, 5.0), ("LTGE", -7.0, 0.2, -5.0, 5.0),
        ("LEGT", 8.0, 0.2, -5.0, 5.0), ("LEGE", -8.0, 0.2, -5.0, 5.0),
    )  # fmt: skip
    steps = (
        check(f"Reference {op}", numeric(None, "mV", v, s, (op, low, high))) for op, v, s, low, high in rows
    )
    odd = check("Offset", numeric(None, "mV", -0.788997, 0.000052), role="odd")
    return sequence("Reference", *steps, odd, path="Reference.seq")


def _link() -> Step:
    ping = check("Ping", numeric(None, "ms", 12.0, 1.2, ("LT", 40.0, None)))
    error_rate = check("Bit errors", numeric("up", "1", 3e-07, 2e-08), numeric("down", "1", 2.6e-07, 2e-08))
    return sequence(
        "Link", *loop(ping, 3, summary=False), *loop(error_rate, 2, summary=True), path="Link.seq"
    )


def _radio(*, weak: bool) -> Step:
    channels = tuple(
        sequence(
            f"Channel {n}",
            check("Output power", numeric(None, "dBm", 14.0 + n / 10, 0.2, ("GELE", 12.5, 17.5)),
                 role="weak" if weak and n == 1 else ""),
            check("Frequency error", numeric(None, "ppm", 0.4, 0.5, ("GELE", -5.0, 5.0))),
            check("Spectrum", numeric("H2", "dBc", -42.0, 1.0, ("LE", -30.0, None)),
                 numeric("H3", "dBc", -51.0, 1.0, ("LE", -35.0, None)), numeric("ACP", "dBc", -47.0, 1.0)),
            path="Radio.seq",
        )
        for n in range(1, 5)
    )  # fmt: skip
    return sequence(
        "Radio", sequence("Transmitter", *channels, path="Radio.seq"), _sweep("Frequency response")
    )


def _sweep(name: str) -> Step:
    x = ";".join(str(hertz) for hertz in range(100, 2100, 50))
    gain = ";".join(f"{-0.02 * (n - 20) ** 2 / 9:.6G}" for n in range(40))
    phase = ";".join(f"{-2.25 * n:.6G}" for n in range(40))
    series = [
        {"dataType": "XYG", "name": "Gain", "xdata": x, "ydata": gain},
        {"dataType": "XYG", "name": "Phase", "xdata": x, "ydata": phase},
    ]
    axes = {"xLabel": "Frequency", "xUnit": "Hz", "yLabel": "Response", "yUnit": None}
    step = action(
        name,
        "WATS_XYGMNLT",
        status="P",
        chart={"chartType": "LineLogX", "label": name, **axes, "series": series},
    )
    flat = numeric(None, "dB", 0.8, 0.05, ("LE", 1.5, None))
    return Step(step.name, step.kind, (flat,), tail=step.tail)


def _property(kind: str, value: str | None, name: str = "") -> dict[str, object]:
    return {"name": name, "type": kind, "flags": 0, "value": value}


def _calibration(*, drifts: bool) -> Step:
    gain = check(
        "Gain", numeric(None, "V/V", 0.985, 0.002, ("GELE", 0.95, 1.05)), role="drift" if drifts else ""
    )
    points = [{"text": f"[{n}]", "indexes": [n], "value": _property("Number", f"{n / 8}")} for n in range(3)]
    table = [
        {
            **_property("Array", None, "points"),
            "array": {"dimension": 1, "type": "Number", "indexes": points},
        },
        {**_property("String", "two-point", "method"), "comment": "siste kalibrering"},
    ]
    write = action(
        "Write coefficients", "Action", additionalResults=[{"name": "Calibration", "props": table}]
    )
    offsets = check(
        "Offsets", *(numeric(f"ch{n}", "mV", 0.1 * n, 0.05, ("GELE", -2.0, 2.0)) for n in range(4))
    )
    return sequence("Calibration", gain, offsets, write, path="Calibration.seq")


def _soak(cycles: int) -> Step:
    steps = (
        check(f"Cycle {n}", numeric("temperature", "°C", 60 + n / 16, 0.7, ("GELE", 50.0, 75.0)),
             numeric("supply current", "A", 0.71, 0.01, ("LT", 0.95, None)),
             numeric("errors", "1", 0.0, 0.0, ("EQ", 0.0, None)))
        for n in range(1, cycles + 1)
    )  # fmt: skip
    return sequence("Soak", *steps, path="Soak.seq")


def _program(name: str, *main: Step) -> Program:
    setup, cleanup = grouped("S", _setup())[0], grouped("C", _cleanup())[0]
    return Program(
        sequence(
            "MainSequence Callback",
            setup,
            sequence(name, *main),
            cleanup,
            path=f"{name}.seq",
            version="3.2.0",
        )
    )


# ------------------------------------------------------------ products by line


def _small_board() -> Program:
    return _program("ICT", _supplies(), _passives(22, first=1))


def _power_board_ict() -> Program:
    return _program("ICT", _supplies(), _passives(30, first=1), _passives(30, first=31), _digital("A", 8))


def _power_board() -> Program:
    return _program(
        "Functional test",
        _identity(),
        _supplies("A "),
        _supplies("B "),
        _digital("A", 8),
        _digital("B", 8),
        _reference(),
        _link(),
    )


def _module(*, drifts: bool, weak: bool) -> Program:
    parts = (_supplies(), _identity(), _calibration(drifts=drifts), _link(), _reference())
    return _program(
        "Functional test", *parts, _digital("A", 8), _digital("B", 8), _digital("C", 8), _radio(weak=weak)
    )


def _burn_in(cycles: int) -> Program:
    return _program("Burn in", _identity(), _supplies(), _soak(cycles), _link(), _sweep("Thermal response"))


def _unit(ports: str) -> Program:
    parts = (
        _identity(),
        _supplies("A ", weak=True),
        _supplies("B "),
        _calibration(drifts=False),
        _reference(),
        _link(),
    )
    return _program("Functional test", *parts, *(_digital(port, 10) for port in ports), _radio(weak=False))


PRODUCTS: tuple[tuple[Product, ...], ...] = (
    (
        Product("PCBA-100", "Sensor board", ("A", "B"), 0.01, (ICT,), programs={10: _small_board()}),
        Product(
            "PCBA-200", "Power board", ("1.0", "1.1"), 0.03, (ICT, FUNCTION),
            programs={10: _power_board_ict(), 20: _power_board()},
        ),
    ),
    (
        Product(
            "MODULE-310", "Measuring module", ("01", "02"), 0.04, (FUNCTION, BURN_IN), drift=0.062,
            programs={20: _module(drifts=True, weak=False), 30: _burn_in(20)},
        ),
        Product(
            "MODULE-320", "Radio module", ("A", "B", "C"), 0.12, (FUNCTION, BURN_IN), stops=True,
            programs={20: _module(drifts=False, weak=True), 30: _burn_in(28)},
        ),
    ),
    (
        Product(
            "UNIT-400", None, ("Rev1",), 0.05, (FUNCTION, BURN_IN), has_sub_units=True,
            programs={20: _unit("ABCDE"), 30: _burn_in(36)},
        ),
        Product(
            "UNIT-410", "Kontrollenhet, utendørs", ("Rev1", "Rev2"), 0.07, (FUNCTION, BURN_IN), stops=True,
            has_sub_units=True, programs={20: _unit("ABCDEFGH"), 30: _burn_in(64)},
        ),
    ),
)  # fmt: skip
"""The products of each production line."""
