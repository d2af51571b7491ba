"""Routes below `/api/App` that list reports and look into them: measurements, failed steps, step analysis."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from statistics import fmean, variance
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, invalid, json_response
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json, Range
from wats_extract.fake.plant.documents import WORDS
from wats_extract.fake.selection import Found, Selection, period

MAX_MEASUREMENTS = 10_000
DEFAULT_REPORTS = 1000

_LISTED = {
    "uuid": "uuid", "serialNumber": "serialNumber", "partNumber": "partNumber", "revision": "revision",
    "batchNumber": "batchNumber", "stationName": "stationName", "location": "location", "purpose": "purpose",
    "processCode": "processCode", "processName": "processName", "result": "result", "operator": "userName",
    "comment": "comment", "executionTime": "executionTime", "reportType": "reportType", "run": "run",
}  # fmt: skip
"""What the lists of reports show, and the header row's name for it."""


# ------------------------------------------------------------ lists of reports


def uut_reports(call: Call) -> Response:
    """`GET` and `POST /api/App/UutReport`: the newest 1,000 tests, with POST as many as `topCount`.

    The specification is silent on the columns; these are what clients of WATS read. Without dates, all
    reports count.
    """
    return _reports(call, "T")


def uur_reports(call: Call) -> Response:
    """`POST /api/App/UurReport`: the newest 1,000 repairs, or as many as `topCount`."""
    return _reports(call, "R")


def serial_number_history(call: Call) -> Response:
    """`POST /api/App/SerialNumberHistory`: tests and repairs, newest first; some servers fail."""
    if call.quirks.history_fails:
        raise RefusedError(500, "An error has occurred.")
    selection = Selection.of(call)
    return call.json([_listed(found) for found in selection.reports(selection.window(None))])


def _reports(call: Call, kind: str) -> Response:
    selection = Selection.of(call)
    top = DEFAULT_REPORTS if call.request.method == "GET" else selection.count("topCount", DEFAULT_REPORTS)
    found = islice(selection.reports(selection.window(None), kind), top)
    return call.json([_listed(each) for each in found])


def _listed(found: Found) -> Json:
    row = {name: found.fields.get(source) for name, source in _LISTED.items()}
    return row | {"startUtc": clock.utc(found.start)}


# ------------------------------------------------------------ steps of documents


class Place(NamedTuple):
    """A step within a document, and its path from the root."""

    path: str
    step: Json


def _places(step: Json, above: str = "") -> Iterator[Place]:
    """A step and all below it, in the order of the document."""
    path = f"{above}¶{step.get('name')}" if above else str(step.get("name"))
    yield Place(path, step)
    for each in step.get("steps") or ():
        yield from _places(each, path)


def _steps(found: Found) -> Iterator[Place]:
    root = found.document.get("root")
    return _places(root) if root else iter(())


class Taken(NamedTuple):
    """One numeric measurement, and its path: the step's, for one of several with `¶¶` and its name."""

    path: str
    place: Place
    measured: Json
    found: Found

    @property
    def value(self) -> float | None:
        """The value, unless it is something like `"NaN"`."""
        value = self.measured.get("value")
        return float(value) if isinstance(value, int | float) else None


def _taken(found: Found) -> Iterator[Taken]:
    for place in _steps(found):
        for measured in place.step.get("numericMeas") or ():
            name = measured.get("name")
            path = place.path if name is None else f"{place.path}¶¶{name}"
            yield Taken(path, place, measured, found)


# ------------------------------------------------------------ measurements


def measurements(call: Call) -> Response:
    """`POST /api/App/Measurements`: the newest first, 10,000 in all at most, and nothing says so.

    Without `measurementPaths` they are those of the ten steps that failed most; without dates those of the
    last seven days.
    """
    groups: dict[str, list[Json]] = {}
    for taken in islice(_asked(Selection.of(call)), MAX_MEASUREMENTS):
        groups.setdefault(taken.path, []).append(_measurement(taken))
    return call.json([{"measurementPath": path, "measurements": rows} for path, rows in groups.items()])


def aggregated_measurements(call: Call) -> Response:
    """`POST /api/App/AggregatedMeasurements`: a row for each path, and each period if dates are grouped."""
    selection = Selection.of(call)
    groups: dict[tuple[str, str | None], list[Taken]] = {}
    for taken in _asked(selection):
        groups.setdefault((taken.path, period(taken.found.start, selection.grouping)), []).append(taken)
    shown: dict[str, list[Json]] = {}
    for (path, when), all_taken in islice(groups.items(), MAX_MEASUREMENTS):
        shown.setdefault(path, []).append(_aggregate(all_taken) | {"period": when})
    return call.json([{"measurementPath": path, "measurements": rows} for path, rows in shown.items()])


def _asked(selection: Selection) -> Iterator[Taken]:
    """The measurements that a request is about."""
    _require(selection, "partNumber", "testOperation")
    text = str(selection.given.get("measurementpaths") or "")
    starts = selection.window(7.0)
    paths = {collated(path) for path in text.split(";") if path} or _most_failed(selection, starts)
    by_step = {path.partition("¶¶")[0] for path in paths} if not text else set()
    for found in selection.reports(starts, "T"):
        for taken in _taken(found):
            if collated(taken.path) in paths or collated(taken.place.path) in by_step:
                yield taken


def _require(selection: Selection, *names: str) -> None:
    for name in names:
        if not selection.given.get(name.lower()):
            raise RefusedError(400, f"The filter '{name}' is required.")


def _most_failed(selection: Selection, starts: Range) -> set[str]:
    paths = (found.fields.get("causedUutFailurePath") for found in selection.reports(starts, "T"))
    return {collated(path) for path, _ in Counter(filter(None, paths)).most_common(10)}


def _measurement(taken: Taken) -> Json:
    fields = taken.found.fields
    return {
        "id": taken.found.uuid,
        "startUtc": clock.utc(taken.found.start),
        "value": taken.value,
        "limit1": taken.measured.get("lowLimit"),
        "limit2": taken.measured.get("highLimit"),
        "serialNumber": fields["serialNumber"],
        "partNumber": fields["partNumber"],
        "revision": fields.get("revision"),
        "stepName": taken.place.step.get("name"),
        "stepPath": taken.place.path,
        "unit": taken.measured.get("unit"),
        "status": WORDS.get(str(taken.measured.get("status"))),
    }


def _aggregate(all_taken: Sequence[Taken]) -> Json:
    newest = all_taken[0]
    low, high = newest.measured.get("lowLimit"), newest.measured.get("highLimit")
    return spread([each.value for each in all_taken if each.value is not None], low, high) | {
        "limit1": low,
        "limit2": high,
        "unit": newest.measured.get("unit"),
        "stepName": newest.place.step.get("name"),
        "stepPath": newest.place.path,
        "partNumber": newest.found.fields["partNumber"],
        "revision": newest.found.fields.get("revision"),
    }


def spread(values: Sequence[float], low: float | None, high: float | None) -> Json:
    """Count, extremes, mean, spread of a sample, and its capability where there are limits."""
    average = fmean(values) if values else None
    var = variance(values) if len(values) > 1 else None
    deviation = math.sqrt(var) if var is not None else None
    lower = upper = width = None
    if average is not None and deviation:
        lower = None if low is None else (average - low) / (3 * deviation)
        upper = None if high is None else (high - average) / (3 * deviation)
        width = None if low is None or high is None else (high - low) / (6 * deviation)
    sides = [side for side in (lower, upper) if side is not None]
    return {
        "count": len(values),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "avg": average,
        "stdev": deviation,
        "var": var,
        "cp": width,
        "cpk": min(sides, default=None),
        "cpLower": lower,
        "cpUpper": upper,
    }


# ------------------------------------------------------------ failed steps


def top_failed(call: Call) -> Response:
    """`POST /api/App/TopFailed`: the steps that most often made a test fail; ten, or `topCount`."""
    selection = Selection.of(call)
    return call.json(_failed(selection, selection.window(30.0), selection.count("topCount", 10)))


def top_failed_of_days(call: Call) -> Response:
    """`GET /api/App/TopFailed`: all six parameters have to be said, if only as nothing."""
    for name in ("partNumber", "processCode", "productGroupId", "levelId", "days", "count"):
        call.required(name)
    days, most = call.number("days") or 0, call.number("count") or 0
    starts = call.plant.now + 1 - days * clock.DAY, EVER[1]
    return call.json(_failed(Selection(call, dict(call.query)), starts, most))


def _failed(selection: Selection, starts: Range, most: int) -> list[Json]:
    total, failures = 0, dict[str, list[Found]]()
    for found in selection.reports(starts, "T"):
        total += 1
        if path := found.fields.get("causedUutFailurePath"):
            failures.setdefault(path, []).append(found)
    ordered = sorted(failures.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_failed_step(path, founds, total) for path, founds in ordered[:most]]


def _failed_step(path: str, founds: Sequence[Found], total: int) -> Json:
    step = next((place.step for place in _steps(founds[0]) if place.path == path), {})
    *_, name = path.split("¶")
    return {
        "stepName": name,
        "stepPath": path,
        "stepType": step.get("stepType"),
        "stepGroup": step.get("group"),
        "partNumber": founds[0].fields["partNumber"],
        "revision": founds[0].fields.get("revision"),
        "failCount": len(founds),
        "totalCount": total,
        "failRate": len(founds) / total,
        "firstFailDate": clock.utc(founds[-1].start),
        "lastFailDate": clock.utc(founds[0].start),
        "stepFilters": f"<filters><step name='{escape(name)}'/></filters>",
        "sequenceFilters": f"<filters><path>{escape(path)}</path></filters>",
    }


# ------------------------------------------------------------ step analysis

_STATUS_NAMES = {"P": "Passed", "D": "Done", "S": "Skipped", "F": "Failed", "E": "Error", "T": "Terminated"}


@dataclass
class _Tally:
    """What all reports say of one step, or of one of its measurements."""

    place: Place
    measured: Json | None
    statuses: Counter[str] = field(default_factory=Counter)
    caused: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    good: list[float] = field(default_factory=list)

    def add(self, step: Json, taken: Taken | None) -> None:
        """Count one occurrence."""
        status = str(step.get("status"))
        self.statuses[status] += 1
        self.caused[status] += bool(step.get("causedUUTFailure"))
        if step.get("totTime") is not None:
            self.times.append(step["totTime"])
        if taken and taken.value is not None:
            self.values.append(taken.value)
            self.good.extend([taken.value] * (taken.measured.get("status") != "F"))

    def row(self) -> Json:
        """The row that the server shows."""
        step, measured, statuses = self.place.step, self.measured or {}, self.statuses
        counts = {f"step{name}Count": statuses[letter] for letter, name in _STATUS_NAMES.items()}
        caused = {f"stepCausedUut{_STATUS_NAMES[letter]}": self.caused[letter] for letter in "FET"}
        low, high = measured.get("lowLimit"), measured.get("highLimit")
        return {
            "stepName": step.get("name"),
            "stepPath": self.place.path,
            "stepType": step.get("stepType"),
            "stepGroup": step.get("group"),
            "stepCount": statuses.total(),
            **counts,
            "stepOtherCount": statuses.total() - sum(counts.values()),
            "stepFailedErrorTerminatedCount": sum(statuses[letter] for letter in "FET"),
            **caused,
            "stepCausedUutFailedErrorTerminated": sum(caused.values()),
            "stepTimeAvg": fmean(self.times) if self.times else None,
            "stepTimeMax": max(self.times, default=None),
            "stepTimeMin": min(self.times, default=None),
            "compOperator": measured.get("compOp"),
            "measureName": measured.get("name"),
            "limit1": low,
            "limit2": high,
            **_measured(spread(self.values, low, high), ""),
            **_measured(spread(self.good, low, high), "Wof"),
        }


def _measured(sample: Json, suffix: str) -> Json:
    average, deviation = sample["avg"], sample["stdev"]
    known = average is not None and deviation is not None
    sigmas = {
        "sigmaLow3": average - 3 * deviation if known else None,
        "sigmaHigh3": average + 3 * deviation if known else None,
    }
    renamed = {"measureCount" if name == "count" else name: value for name, value in sample.items()}
    return {f"{name}{suffix}": value for name, value in (renamed | sigmas).items()}


def step_analysis(call: Call) -> Response:
    """`POST /api/App/TestStepAnalysis`: a row for each step, of multiple tests one for each measurement.

    Of the newest 10,000 reports, or `maxCount`, that are first runs unless `run` says otherwise. Where a
    multiple test was skipped, or its measurements were deleted, it counts in a row without a name.
    """
    selection = Selection.of(call)
    _require(selection, "partNumber", "testOperation")
    selection = Selection(call, {"run": 1, **selection.given})
    tallies: dict[tuple[str, str | None], _Tally] = {}
    most = selection.count("maxCount", 10_000)
    for found in islice(selection.reports(selection.window(30.0), "T"), most):
        for place in _steps(found):
            for taken in _each(place, found):
                name = taken.measured.get("name") if taken else None
                tally = tallies.setdefault(
                    (place.path, name), _Tally(place, taken.measured if taken else None)
                )
                tally.add(place.step, taken)
    return call.json([tally.row() for tally in tallies.values()])


def _each(place: Place, found: Found) -> Iterable[Taken | None]:
    taken = [Taken("", place, measured, found) for measured in place.step.get("numericMeas") or ()]
    return taken or [None]


# ------------------------------------------------------------ effectiveness, repairs


def oee_analysis(call: Call) -> Response:
    """`POST /api/App/OeeAnalysis?availableTime=24,24,24,24,24,24,24`: hours from Monday to Sunday.

    A plain reckoning: runs are what takes time, the quickest is the ideal, and what passes is good.
    """
    hours = _hours(call.required("availableTime"))
    selection = Selection.of(call)
    first, last = selection.window(30.0)
    last = min(last, call.plant.now + 1)
    least, most = call.number("minExecutionTime", default=0), call.number("maxExecutionTime", default=10**9)
    every = list(selection.reports((first, last), "T"))
    times = [(float(each.fields.get("executionTime") or 0), each) for each in every]
    counted = [(time, each) for time, each in times if (least or 0) <= time <= (most or 0)]
    return json_response(_oee(counted, 60 * _available(hours, first, last)))


def _oee(counted: Sequence[tuple[float, Found]], planned: float) -> Json:
    total, running = len(counted), sum(time for time, _ in counted) / 60
    good = sum(found.fields["result"] == "Passed" for _, found in counted)
    ideal = min((time for time, _ in counted if time), default=0.0)
    availability = min(1.0, running / planned) if planned else 0.0
    performance = ideal * total / 60 / running if running else 0.0
    quality = good / total if total else 0.0
    return {
        "oee": 100 * availability * performance * quality,
        "availability": 100 * availability,
        "performance": 100 * performance,
        "quality": 100 * quality,
        "totalTime": planned,
        "runTime": running,
        "downTime": max(0.0, planned - running),
        "plannedProductionTime": planned,
        "totalCount": total,
        "goodCount": good,
        "rejectCount": total - good,
        "idealCycleTime": ideal,
        "actualCycleTime": 60 * running / total if total else None,
    }


def _hours(text: str) -> list[float]:
    try:
        hours = [float(part) for part in text.split(",")]
    except ValueError:
        raise invalid("availableTime", text) from None
    if len(hours) != 7:
        raise invalid("availableTime", text)
    return hours


def _available(hours: Sequence[float], first: int, last: int) -> float:
    """Hours available between two ticks, a day that has begun counting whole; at most ten years' worth."""
    days = range(max(first, last - 3650 * clock.DAY) // clock.DAY, -(-last // clock.DAY))
    return sum(hours[datetime.fromtimestamp(day * 86_400, UTC).weekday()] for day in days)


def related_repair_history(call: Call) -> Response:
    """`GET /api/App/RelatedRepairHistory?partNumber=…&revision=…`: a row for each failure, newest first."""
    for name in ("partNumber", "revision"):
        call.required(name)
    asked = {name: call.query[name] for name in ("partnumber", "revision")}
    if repair := call.query.get("repairoperationcode"):
        asked["testoperation"] = repair
    test = call.query.get("testoperationcode")
    found = Selection(call, dict[str, Any](asked)).reports(EVER, "R")
    return call.json([row for each in found for row in _failures(call, each, test)])


def _failures(call: Call, found: Found, test_code: str | None) -> Iterator[Json]:
    repair = found.document.get("uur") or {}
    if test_code not in (None, "", str(repair.get("processCode"))):
        return
    tested = call.plant.find(str(found.fields.get("referencedUut")))
    for unit in found.document.get("subUnits") or ():
        for failure in unit.get("failures") or ():
            yield {
                "serialNumber": unit.get("sn"),
                "partNumber": unit.get("pn"),
                "revision": unit.get("rev"),
                "reportId": found.uuid,
                "repairDate": clock.utc(found.start),
                "failStepName": failure.get("refStepName"),
                "failStepPath": tested.fields.get("causedUutFailurePath") if tested else None,
                "failCode": failure.get("category"),
                "repairCode": failure.get("code"),
                "symptom": None,
                "cause": failure.get("comment"),
                "action": repair.get("comment"),
            }


ROUTES = (
    Route("GET", "/api/App/UutReport", uut_reports),
    Route("POST", "/api/App/UutReport", uut_reports),
    Route("POST", "/api/App/UurReport", uur_reports),
    Route("POST", "/api/App/SerialNumberHistory", serial_number_history),
    Route("POST", "/api/App/Measurements", measurements),
    Route("POST", "/api/App/AggregatedMeasurements", aggregated_measurements),
    Route("GET", "/api/App/TopFailed", top_failed_of_days),
    Route("POST", "/api/App/TopFailed", top_failed),
    Route("POST", "/api/App/TestStepAnalysis", step_analysis),
    Route("POST", "/api/App/OeeAnalysis", oee_analysis),
    Route("GET", "/api/App/RelatedRepairHistory", related_repair_history),
)
