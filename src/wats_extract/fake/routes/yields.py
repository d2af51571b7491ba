"""Routes below `/api/App` that count: yield and repairs by dimensions, the lists made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from wats_extract.fake.exchange import Call, RefusedError, Response, Route
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json
from wats_extract.fake.plant.programs import PRODUCTS
from wats_extract.fake.routes.products import groups_of
from wats_extract.fake.routes.system import FAILURE_TYPES
from wats_extract.fake.selection import Found, Selection, levels_of, period

Values = tuple[Any, ...]
Key = tuple[Any, Any, Any]

DEFAULT_TOP = 10
DEFAULT_DAYS = 30.0

_PASSES = ("fp", "sp", "tp", "lp")
_COUNTED = (*(f"{each}Count" for each in _PASSES), "testReportCount", "testYieldCount")
_RATES = ("fpy", "spy", "tpy", "lpy", "testYield")
_TRENDS = tuple(f"{name}Trend" for name in ("unitCount", *_RATES, *_COUNTED))
_SIGNALS = tuple(f"{each}{sign}" for each in (*_PASSES, "ty") for sign in ("Color", "Alarm", "Warning"))
_PREVIOUS = ("previousUnitCount", "previousTestReportCount")
_PPM = tuple(f"ppm{name[0].upper()}{name[1:]}" for name in _RATES)
YIELD_KPIS = (
    "unitCount", *_COUNTED, *_RATES, "firstUtc", "lastUtc", *(f"{each}FailCount" for each in _PASSES),
    "retestCount", *_PPM, *_SIGNALS, *_PREVIOUS, *_TRENDS,
)  # fmt: skip
REPAIR_KPIS = ("repairReportCount", "repairCount")
_UNORDERED = {*_PREVIOUS, *_TRENDS}
_NAMES = {each.part_number: each.name for line in PRODUCTS for each in line}


# ------------------------------------------------------------ dimensions


class Event(NamedTuple):
    """What is counted: a report; for repairs one of its failures, with the unit and the test before it."""

    found: Found
    grouping: int
    failure: Json | None = None
    unit: Json | None = None
    test: Found | None = None


Dimension = Callable[[Event], Iterable[Any]]
"""The values of an event: one, or several where it belongs to several groups."""


def _field(name: str) -> Dimension:
    return lambda event: [event.found.fields.get(name)]


def _misc(name: str) -> Dimension:
    return lambda event: [info[name] for info in event.found.expanded["misc"]] or [None]


def _of_failure(name: str) -> Dimension:
    return lambda event: [event.failure.get(name) if event.failure else None]


def _of_test(name: str) -> Dimension:
    return lambda event: [event.test.fields.get(name) if event.test else None]


def _assets(event: Event) -> list[str | None]:
    return [asset["serialNumber"] for asset in event.found.expanded["assets"]] or [None]


_SHARED: Mapping[str, Dimension] = {
    **{name: _field(name) for name in ("partNumber", "revision", "stationName", "location", "purpose")},
    "productName": lambda event: [_NAMES.get(event.found.fields["partNumber"])],
    "productGroup": lambda event: groups_of(event.found.fields["partNumber"]),
    "level": lambda event: levels_of(event.found.fields)[-1:],
    "period": lambda event: [period(event.found.start, event.grouping)],
    "operator": _field("userName"),
    "miscInfoDescription": _misc("description"),
    "miscInfoString": _misc("value"),
}
YIELD_DIMENSIONS: Mapping[str, Dimension] = {
    **_SHARED,
    **{name: _field(name) for name in ("processCode", "swFilename", "swVersion", "batchNumber", "fixtureId")},
    "testOperation": _field("processName"),
    "socketIndex": _field("testSocketIndex"),
    "errorCode": _field("errorCode"),
    "stepCausedUutFailure": _field("causedUutFailure"),
    "stepPathCausedUutFailure": _field("causedUutFailurePath"),
    "assetSerialNumber": _assets,
    "assetName": _assets,
}
REPAIR_DIMENSIONS: Mapping[str, Dimension] = {
    **_SHARED,
    "unitType": lambda event: [event.unit.get("partType") if event.unit else None],
    "repairOperation": _field("processName"),
    "repairCode": _of_failure("code"),
    "repairCategory": _of_failure("category"),
    "repairType": lambda event: [FAILURE_TYPES.get((event.failure or {}).get("category", ""))],
    "componentRef": _of_failure("comRef"),
    "componentNumber": _of_failure("artNumber"),
    "componentRevision": _of_failure("artRev"),
    "componentVendor": _of_failure("artVendor"),
    "componentDescription": _of_failure("artDescription"),
    "functionBlock": _of_failure("funcBlock"),
    "referencedStep": _of_failure("refStepName"),
    "referencedStepPath": _of_test("causedUutFailurePath"),
    "testOperation": _of_test("processName"),
    "testPeriod": lambda event: [period(event.test.start, event.grouping) if event.test else None],
    "testLevel": lambda event: levels_of(event.test.fields)[-1:] if event.test else [None],
    "testStationName": _of_test("stationName"),
    "testLocation": _of_test("location"),
    "testPurpose": _of_test("purpose"),
    "testOperator": _of_test("userName"),
    "batchNumber": _of_test("batchNumber"),
    "swFilename": _of_test("swFilename"),
    "swVersion": _of_test("swVersion"),
}


class Asked(NamedTuple):
    """What a request wants: dimensions and KPIs, and by what the rows are ordered, descending or not."""

    dimensions: tuple[str, ...]
    kpis: tuple[str, ...]
    order: tuple[tuple[str, bool], ...]


def read(text: str, dimensions: Iterable[str], kpis: Sequence[str]) -> Asked:
    """Read names separated by semicolons, each with an optional `asc` or `desc`.

    Raises:
        RefusedError: a name or direction that doesn't exist, or an order by what can't be ordered by.
    """
    known = {name.lower(): name for name in (*dimensions, *kpis)}
    order = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, direction = (*part.lower().split(), "asc")[:2]
        if name not in known or direction not in ("asc", "desc"):
            raise RefusedError(400, f"Unknown dimension '{part}'.")
        if known[name] in _UNORDERED and " " in part:
            raise RefusedError(400, f"The result can't be ordered by '{name}'.")
        order.append((known[name], direction == "desc"))
    names = [name for name, _ in order]
    wanted = tuple(name for name in names if name in kpis)
    return Asked(tuple(name for name in names if name not in kpis), wanted or tuple(kpis), tuple(order))


def _shown(asked: Asked, groups: Mapping[Values, Json], top: int) -> list[Json]:
    """The rows in the order asked for, with what was asked for."""
    rows = [dict(zip(asked.dimensions, values, strict=True)) | kpis for values, kpis in groups.items()]
    for name, descending in reversed(asked.order):
        if name not in _UNORDERED:
            rows.sort(key=partial(_place, name), reverse=descending)
    names = (*asked.dimensions, *asked.kpis)
    return [{name: row[name] for name in names} for row in rows[:top]]


def _place(name: str, row: Json) -> tuple[bool, Any]:
    return (row[name] is not None, collated(row[name]))


# ------------------------------------------------------------ yield


class _Group:
    """The units and reports of one row."""

    def __init__(self) -> None:
        self.units: set[Key] = set()
        self.starts: list[int] = []
        self.passed = self.retests = 0

    def add(self, found: Found) -> None:
        """Count a report; a unit counts by its first run."""
        self.starts.append(found.start)
        self.passed += found.fields["result"] == "Passed"
        if found.fields.get("run") == 1:
            self.units.add(_unit(found))
        else:
            self.retests += 1

    def kpis(self, runs: Mapping[Key, Mapping[int, bool]], scale: float) -> Json:
        """All KPIs; trends have no earlier period to look at and are 0."""
        units, reports = len(self.units), len(self.starts)
        passed = Counter(name for unit in self.units for name in _passes(runs[unit]))
        counts = {name: passed[name] for name in _PASSES}
        yields = {f"{name}y": _share(counts[name], units) for name in _PASSES}
        yields["testYield"] = _share(self.passed, reports)
        return {
            **dict.fromkeys(_SIGNALS), **dict.fromkeys(_PREVIOUS, 0), **dict.fromkeys(_TRENDS, 0.0),
            "unitCount": units,
            **{f"{name}Count": count for name, count in counts.items()},
            **{f"{name}FailCount": units - count for name, count in counts.items()},
            "testReportCount": reports,
            "testYieldCount": self.passed,
            "retestCount": self.retests,
            **{name: None if share is None else share * scale for name, share in yields.items()},
            **{
                f"ppm{name[0].upper()}{name[1:]}": None if share is None else round((1 - share) * 1e6, 3)
                for name, share in yields.items()
            },
            "firstUtc": clock.utc(min(self.starts)),
            "lastUtc": clock.utc(max(self.starts)),
        }  # fmt: skip


def _unit(found: Found) -> Key:
    fields = found.fields
    return fields["serialNumber"], fields["partNumber"], fields["processCode"]


def _passes(runs: Mapping[int, bool]) -> Iterator[str]:
    """By which of first, second, third and last run a unit has passed."""
    for number, name in enumerate(_PASSES[:3], 1):
        if any(passed for run, passed in runs.items() if run <= number):
            yield name
    if runs[max(runs)]:
        yield "lp"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _yields(selection: Selection, asked: Asked) -> dict[Values, Json]:
    """The KPIs by the dimensions' values; the later runs of a unit count whatever the filter says of them."""
    first, last = selection.window(DEFAULT_DAYS)
    groups: dict[Values, _Group] = {}
    runs: dict[Key, dict[int, bool]] = {}
    for found in selection.everything((first, EVER[1]), "T"):
        runs.setdefault(_unit(found), {})[int(found.fields.get("run") or 1)] = (
            found.fields["result"] == "Passed"
        )
        if found.start < last and selection.passes(found):
            event = Event(found, selection.grouping)
            for values in product(*(YIELD_DIMENSIONS[name](event) for name in asked.dimensions)):
                groups.setdefault(values, _Group()).add(found)
    scale = 1.0 if selection.call.quirks.yield_fractions else 100.0
    return {values: group.kpis(runs, scale) for values, group in groups.items()}


def dynamic_yield(call: Call) -> Response:
    """`POST /api/App/DynamicYield`: ten rows unless `topCount` says otherwise, of the last thirty days.

    A unit counts if its first run passes the filter. A server shows yields from 0 to 100, or to 1.
    """
    selection = Selection.of(call)
    text = str(selection.given.get("dimensions") or "unitCount desc;partNumber;testOperation")
    asked = read(text, YIELD_DIMENSIONS, YIELD_KPIS)
    if not selection.given.get("dimensions"):
        asked = asked._replace(kpis=YIELD_KPIS)
    return call.json(_shown(asked, _yields(selection, asked), selection.count("topCount", DEFAULT_TOP)))


# ------------------------------------------------------------ yield lists

_BY_PRODUCT = ("partNumber", "revision", "productName", "testOperation")
_LIST_KPIS = ("unitCount", *(f"{each}Count" for each in _PASSES), *_RATES[:4])


def _list(call: Call, by: tuple[str, ...], order: str) -> Response:
    """Yield by these dimensions, and by period if dates are to be grouped."""
    selection = Selection.of(call)
    if selection.grouping >= 0:
        by = (*by, "period")
    asked = read(";".join((order, *by)), YIELD_DIMENSIONS, YIELD_KPIS)._replace(kpis=_LIST_KPIS)
    least = selection.count("minCount", 0)
    groups = {key: kpis for key, kpis in _yields(selection, asked).items() if kpis["unitCount"] >= least}
    return call.json(_shown(asked, groups, selection.count("topCount", DEFAULT_TOP)))


def _last_days(call: Call, by: tuple[str, ...], order: str) -> Response:
    """The same of the last `days`, for a group and a level; all three have to be said, if only as nothing."""
    for name in ("days", "productGroupId", "levelId"):
        call.required(name)
    days = call.number("days") or 0
    first = clock.utc(call.plant.now + 1 - days * clock.DAY)
    return _list(_with(call, dateFrom=first), by, order)


def _with(call: Call, **query: str) -> Call:
    return replace(call, query={**call.query, **{name.lower(): value for name, value in query.items()}})


def volume_yield(call: Call) -> Response:
    """`POST /api/App/VolumeYield`: the most tested first."""
    return _list(call, _BY_PRODUCT, "unitCount desc")


def volume_yield_of_days(call: Call) -> Response:
    """`GET /api/App/VolumeYield`."""
    return _last_days(call, _BY_PRODUCT, "unitCount desc")


def high_volume(call: Call) -> Response:
    """`POST /api/App/HighVolume`: the most tested first."""
    return _list(call, _BY_PRODUCT, "unitCount desc")


def high_volume_of_days(call: Call) -> Response:
    """`GET /api/App/HighVolume`."""
    return _last_days(call, _BY_PRODUCT, "unitCount desc")


def worst_yield(call: Call) -> Response:
    """`POST /api/App/WorstYield`: the lowest first-pass yield first."""
    return _list(call, _BY_PRODUCT, "fpy")


def worst_yield_of_days(call: Call) -> Response:
    """`GET /api/App/WorstYield`."""
    return _last_days(call, _BY_PRODUCT, "fpy")


def high_volume_by_group(call: Call) -> Response:
    """`POST /api/App/HighVolumeByProductGroup`: a unit counts in every group that its product is in."""
    return _list(call, ("productGroup",), "unitCount desc")


def worst_yield_by_group(call: Call) -> Response:
    """`POST /api/App/WorstYieldByProductGroup`."""
    return _list(call, ("productGroup",), "fpy")


# ------------------------------------------------------------ repairs


def dynamic_repair(call: Call) -> Response:
    """`POST /api/App/DynamicRepair`: repairs are failures, of which a report may have several."""
    selection = Selection.of(call)
    default = "repairCount desc;repairReportCount desc;partNumber;repairOperation"
    asked = read(str(selection.given.get("dimensions") or default), REPAIR_DIMENSIONS, REPAIR_KPIS)
    groups: dict[Values, list[str]] = {}
    for event in _repairs(selection):
        for values in product(*(REPAIR_DIMENSIONS[name](event) for name in asked.dimensions)):
            groups.setdefault(values, []).append(event.found.uuid)
    counted = {
        values: {"repairCount": len(uuids), "repairReportCount": len(set(uuids))}
        for values, uuids in groups.items()
    }
    return call.json(_shown(asked, counted, selection.count("topCount", DEFAULT_TOP)))


def _repairs(selection: Selection) -> Iterator[Event]:
    for found in selection.reports(selection.window(DEFAULT_DAYS), "R"):
        row = selection.call.plant.find(str(found.fields.get("referencedUut")))
        test = Found(row) if row else None
        for unit in found.document.get("subUnits") or ():
            for failure in unit.get("failures") or ():
                yield Event(found, selection.grouping, failure, unit, test)


ROUTES = (
    Route("POST", "/api/App/DynamicYield", dynamic_yield),
    Route("POST", "/api/App/DynamicRepair", dynamic_repair),
    Route("GET", "/api/App/VolumeYield", volume_yield_of_days),
    Route("POST", "/api/App/VolumeYield", volume_yield),
    Route("GET", "/api/App/HighVolume", high_volume_of_days),
    Route("POST", "/api/App/HighVolume", high_volume),
    Route("GET", "/api/App/WorstYield", worst_yield_of_days),
    Route("POST", "/api/App/WorstYield", worst_yield),
    Route("POST", "/api/App/HighVolumeByProductGroup", high_volume_by_group),
    Route("POST", "/api/App/WorstYieldByProductGroup", worst_yield_by_group),
)
