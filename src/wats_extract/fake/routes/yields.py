"""Routes below `/api/App`: yield and repairs by dimensions, and the predefined yield lists."""

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
from wats_extract.fake.selection import SelectedReport, Selection, levels_of, period

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
    """A counted event: a test, or one failure of a repair with its unit and the failed test."""

    report: SelectedReport
    grouping: int
    failure: Json | None = None
    unit: Json | None = None
    test: SelectedReport | None = None


Dimension = Callable[[Event], Iterable[Any]]
"""The values of an event; several if the event belongs to several groups."""


def _field(name: str) -> Dimension:
    return lambda event: [event.report.fields.get(name)]


def _misc(name: str) -> Dimension:
    return lambda event: [info[name] for info in event.report.expanded["misc"]] or [None]


def _of_failure(name: str) -> Dimension:
    return lambda event: [event.failure.get(name) if event.failure else None]


def _of_test(name: str) -> Dimension:
    return lambda event: [event.test.fields.get(name) if event.test else None]


def _assets(event: Event) -> list[str | None]:
    return [asset["serialNumber"] for asset in event.report.expanded["assets"]] or [None]


_SHARED: Mapping[str, Dimension] = {
    **{name: _field(name) for name in ("partNumber", "revision", "stationName", "location", "purpose")},
    "productName": lambda event: [_NAMES.get(event.report.fields["partNumber"])],
    "productGroup": lambda event: groups_of(event.report.fields["partNumber"]),
    "level": lambda event: levels_of(event.report.fields)[-1:],
    "period": lambda event: [period(event.report.start, event.grouping)],
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


class Columns(NamedTuple):
    """The requested dimensions and KPIs, and the order: names, each descending or not."""

    dimensions: tuple[str, ...]
    kpis: tuple[str, ...]
    order: tuple[tuple[str, bool], ...]


def parse_columns(text: str, dimensions: Iterable[str], kpis: Sequence[str]) -> Columns:
    """Parse names separated by semicolons, each with an optional `asc` or `desc`.

    Raises:
        RefusedError: A name or direction is unknown, or the rows cannot be ordered by a name.
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
    requested_kpis = tuple(name for name in names if name in kpis) or tuple(kpis)
    return Columns(tuple(name for name in names if name not in kpis), requested_kpis, tuple(order))


def _rows(columns: Columns, groups: Mapping[Values, Json], top: int) -> list[Json]:
    """The requested columns of the first `top` rows, in the requested order."""
    rows = [dict(zip(columns.dimensions, values, strict=True)) | kpis for values, kpis in groups.items()]
    for name, descending in reversed(columns.order):
        if name not in _UNORDERED:
            rows.sort(key=partial(_sort_key, name), reverse=descending)
    names = (*columns.dimensions, *columns.kpis)
    return [{name: row[name] for name in names} for row in rows[:top]]


def _sort_key(name: str, row: Json) -> tuple[bool, Any]:
    return (row[name] is not None, collated(row[name]))


# ------------------------------------------------------------ yield


class _Group:
    """The units and reports of one row."""

    def __init__(self) -> None:
        self.units: set[Key] = set()
        self.starts: list[int] = []
        self.passed = self.retests = 0

    def add(self, report: SelectedReport) -> None:
        """Count a report. A unit counts in the group of its first run."""
        self.starts.append(report.start)
        self.passed += report.fields["result"] == "Passed"
        if report.fields.get("run") == 1:
            self.units.add(_unit(report))
        else:
            self.retests += 1

    def kpis(self, runs: Mapping[Key, Mapping[int, bool]], scale: float) -> Json:
        """All KPIs. Trends and previous counts are 0, because there is no earlier period."""
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


def _unit(report: SelectedReport) -> Key:
    fields = report.fields
    return fields["serialNumber"], fields["partNumber"], fields["processCode"]


def _passes(runs: Mapping[int, bool]) -> Iterator[str]:
    """The KPIs that a unit counts for: passed by its first, second, third or last run."""
    for number, name in enumerate(_PASSES[:3], 1):
        if any(passed for run, passed in runs.items() if run <= number):
            yield name
    if runs[max(runs)]:
        yield "lp"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _yields(selection: Selection, columns: Columns) -> dict[Values, Json]:
    """The KPIs by dimension values. Later runs of a unit count even if the filter excludes them."""
    first, last = selection.time_range(DEFAULT_DAYS)
    groups: dict[Values, _Group] = {}
    runs: dict[Key, dict[int, bool]] = {}
    for report in selection.everything((first, EVER[1]), "T"):
        passed = report.fields["result"] == "Passed"
        runs.setdefault(_unit(report), {})[int(report.fields.get("run") or 1)] = passed
        if report.start < last and selection.matches(report):
            event = Event(report, selection.grouping)
            for values in product(*(YIELD_DIMENSIONS[name](event) for name in columns.dimensions)):
                groups.setdefault(values, _Group()).add(report)
    scale = 1.0 if selection.call.quirks.yield_fractions else 100.0
    return {values: group.kpis(runs, scale) for values, group in groups.items()}


def dynamic_yield(call: Call) -> Response:
    """`POST /api/App/DynamicYield`: yield of the last thirty days, by default ten rows (`topCount`).

    A unit counts if its first run matches the filter. Servers return yields from 0 to 100, or from 0 to 1.
    """
    selection = Selection.of(call)
    text = str(selection.given.get("dimensions") or "unitCount desc;partNumber;testOperation")
    columns = parse_columns(text, YIELD_DIMENSIONS, YIELD_KPIS)
    if not selection.given.get("dimensions"):
        columns = columns._replace(kpis=YIELD_KPIS)
    return call.json(_rows(columns, _yields(selection, columns), selection.count("topCount", DEFAULT_TOP)))


# ------------------------------------------------------------ yield lists

_BY_PRODUCT = ("partNumber", "revision", "productName", "testOperation")
_BY_GROUP = ("productGroup",)
_LIST_KPIS = ("unitCount", *(f"{each}Count" for each in _PASSES), *_RATES[:4])
_MOST_UNITS_FIRST = "unitCount desc"
_LOWEST_YIELD_FIRST = "fpy"


def _yield_list(call: Call, *, by: tuple[str, ...], order: str) -> Response:
    """Yield by these dimensions, and by period if the filter groups dates."""
    selection = Selection.of(call)
    if selection.grouping >= 0:
        by = (*by, "period")
    columns = parse_columns(";".join((order, *by)), YIELD_DIMENSIONS, YIELD_KPIS)._replace(kpis=_LIST_KPIS)
    least = selection.count("minCount", 0)
    groups = {key: kpis for key, kpis in _yields(selection, columns).items() if kpis["unitCount"] >= least}
    return call.json(_rows(columns, groups, selection.count("topCount", DEFAULT_TOP)))


def _yield_list_of_days(call: Call, *, by: tuple[str, ...], order: str) -> Response:
    """A yield list for the last `days`, a group and a level. All three are required, but may be empty."""
    for name in ("days", "productGroupId", "levelId"):
        call.required(name)
    days = call.number("days") or 0
    first = clock.utc(call.plant.now + 1 - days * clock.DAY)
    return _yield_list(replace(call, query={**call.query, "datefrom": first}), by=by, order=order)


def _yield_list_routes(name: str, order: str) -> tuple[Route, Route]:
    """The routes of a yield list by product: `GET` for the last days, `POST` for a filter."""
    path = f"/api/App/{name}"
    return (
        Route("GET", path, partial(_yield_list_of_days, by=_BY_PRODUCT, order=order)),
        Route("POST", path, partial(_yield_list, by=_BY_PRODUCT, order=order)),
    )


def high_volume_by_group(call: Call) -> Response:
    """`POST /api/App/HighVolumeByProductGroup`: a unit counts in every group of its product."""
    return _yield_list(call, by=_BY_GROUP, order=_MOST_UNITS_FIRST)


def worst_yield_by_group(call: Call) -> Response:
    """`POST /api/App/WorstYieldByProductGroup`: the same, lowest first-pass yield first."""
    return _yield_list(call, by=_BY_GROUP, order=_LOWEST_YIELD_FIRST)


# ------------------------------------------------------------ repairs


def dynamic_repair(call: Call) -> Response:
    """`POST /api/App/DynamicRepair`: repairs by dimensions. Each failure of a report counts as one repair."""
    selection = Selection.of(call)
    default = "repairCount desc;repairReportCount desc;partNumber;repairOperation"
    text = str(selection.given.get("dimensions") or default)
    columns = parse_columns(text, REPAIR_DIMENSIONS, REPAIR_KPIS)
    groups: dict[Values, list[str]] = {}
    for event in _repairs(selection):
        for values in product(*(REPAIR_DIMENSIONS[name](event) for name in columns.dimensions)):
            groups.setdefault(values, []).append(event.report.uuid)
    counted = {
        values: {"repairCount": len(uuids), "repairReportCount": len(set(uuids))}
        for values, uuids in groups.items()
    }
    return call.json(_rows(columns, counted, selection.count("topCount", DEFAULT_TOP)))


def _repairs(selection: Selection) -> Iterator[Event]:
    for report in selection.reports(selection.time_range(DEFAULT_DAYS), "R"):
        row = selection.call.plant.find(str(report.fields.get("referencedUut")))
        test = SelectedReport(row) if row else None
        for unit in report.document.get("subUnits") or ():
            for failure in unit.get("failures") or ():
                yield Event(report, selection.grouping, failure, unit, test)


ROUTES = (
    Route("POST", "/api/App/DynamicYield", dynamic_yield),
    Route("POST", "/api/App/DynamicRepair", dynamic_repair),
    *_yield_list_routes("VolumeYield", _MOST_UNITS_FIRST),
    *_yield_list_routes("HighVolume", _MOST_UNITS_FIRST),
    *_yield_list_routes("WorstYield", _LOWEST_YIELD_FIRST),
    Route("POST", "/api/App/HighVolumeByProductGroup", high_volume_by_group),
    Route("POST", "/api/App/WorstYieldByProductGroup", worst_yield_by_group),
)
