"""Routes below `/api/App`: lists of reports, measurements, failed steps, step analysis, OEE, repairs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from statistics import fmean, variance
from typing import NamedTuple
from xml.sax.saxutils import escape

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, invalid, json_response
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json, Range
from wats_extract.fake.plant.documents import WORDS
from wats_extract.fake.selection import SelectedReport, Selection, period

MAX_MEASUREMENTS = 10_000
DEFAULT_REPORTS = 1000

_LISTED = {
    "uuid": "uuid", "serialNumber": "serialNumber", "partNumber": "partNumber", "revision": "revision",
    "batchNumber": "batchNumber", "stationName": "stationName", "location": "location", "purpose": "purpose",
    "processCode": "processCode", "processName": "processName", "result": "result", "operator": "userName",
    "comment": "comment", "executionTime": "executionTime", "reportType": "reportType", "run": "run",
}  # fmt: skip
"""The fields of the lists of reports, and the header field of each."""


# ------------------------------------------------------------ lists of reports


def uut_reports(call: Call) -> Response:
    """`GET` and `POST /api/App/UutReport`: the newest 1,000 tests, or with POST the newest `topCount`.

    The specification names no columns; these are the columns that clients of WATS read. Without dates the
    list covers all reports.
    """
    return _reports(call, "T")


def uur_reports(call: Call) -> Response:
    """`POST /api/App/UurReport`: the newest 1,000 repairs, or the newest `topCount`."""
    return _reports(call, "R")


def serial_number_history(call: Call) -> Response:
    """`POST /api/App/SerialNumberHistory`: tests and repairs, newest first. Some servers return 500."""
    if call.quirks.history_fails:
        raise RefusedError(500, "An error has occurred.")
    selection = Selection.of(call)
    return call.json([_listed(report) for report in selection.reports(selection.time_range(None))])


def _reports(call: Call, kind: str) -> Response:
    selection = Selection.of(call)
    top = DEFAULT_REPORTS if call.request.method == "GET" else selection.count("topCount", DEFAULT_REPORTS)
    newest = islice(selection.reports(selection.time_range(None), kind), top)
    return call.json([_listed(report) for report in newest])


def _listed(report: SelectedReport) -> Json:
    row = {name: report.fields.get(source) for name, source in _LISTED.items()}
    return row | {"startUtc": clock.utc(report.start)}


# ------------------------------------------------------------ steps of documents


class LocatedStep(NamedTuple):
    """A step of a document, and its path from the root."""

    path: str
    step: Json


def _descend(step: Json, above: str = "") -> Iterator[LocatedStep]:
    """A step and its descendants, in document order."""
    path = f"{above}¶{step.get('name')}" if above else str(step.get("name"))
    yield LocatedStep(path, step)
    for each in step.get("steps") or ():
        yield from _descend(each, path)


def _steps(report: SelectedReport) -> Iterator[LocatedStep]:
    root = report.document.get("root")
    return _descend(root) if root else iter(())


class Measurement(NamedTuple):
    """A numeric measurement. Its path is the step's path, followed by `¶¶` and its name if it has one."""

    path: str
    located: LocatedStep
    measured: Json
    report: SelectedReport

    @property
    def value(self) -> float | None:
        """The value; None for texts such as `"NaN"`."""
        value = self.measured.get("value")
        return float(value) if isinstance(value, int | float) else None


def _measurements(report: SelectedReport) -> Iterator[Measurement]:
    for located in _steps(report):
        for measured in located.step.get("numericMeas") or ():
            name = measured.get("name")
            path = located.path if name is None else f"{located.path}¶¶{name}"
            yield Measurement(path, located, measured, report)


# ------------------------------------------------------------ measurements


def measurements(call: Call) -> Response:
    """`POST /api/App/Measurements`: measurements, newest first, silently cut off at 10,000 in total.

    Without `measurementPaths` they are the measurements of the ten steps that failed most. Without dates they
    are from the last seven days.
    """
    groups: dict[str, list[Json]] = {}
    for each in islice(_requested(Selection.of(call)), MAX_MEASUREMENTS):
        groups.setdefault(each.path, []).append(_measurement_row(each))
    return call.json([{"measurementPath": path, "measurements": rows} for path, rows in groups.items()])


def aggregated_measurements(call: Call) -> Response:
    """`POST /api/App/AggregatedMeasurements`: one row per path, or with `dateGrouping` per period."""
    selection = Selection.of(call)
    groups: dict[tuple[str, str | None], list[Measurement]] = {}
    for each in _requested(selection):
        groups.setdefault((each.path, period(each.report.start, selection.grouping)), []).append(each)
    rows: dict[str, list[Json]] = {}
    for (path, when), group in islice(groups.items(), MAX_MEASUREMENTS):
        rows.setdefault(path, []).append(_aggregate(group) | {"period": when})
    return call.json([{"measurementPath": path, "measurements": each} for path, each in rows.items()])


def _requested(selection: Selection) -> Iterator[Measurement]:
    _require(selection, "partNumber", "testOperation")
    text = str(selection.given.get("measurementpaths") or "")
    starts = selection.time_range(7.0)
    paths = {collated(path) for path in text.split(";") if path} or _most_failed(selection, starts)
    by_step = {path.partition("¶¶")[0] for path in paths} if not text else set()
    for report in selection.reports(starts, "T"):
        for each in _measurements(report):
            if collated(each.path) in paths or collated(each.located.path) in by_step:
                yield each


def _require(selection: Selection, *names: str) -> None:
    for name in names:
        if not selection.given.get(name.lower()):
            raise RefusedError(400, f"The filter '{name}' is required.")


def _most_failed(selection: Selection, starts: Range) -> set[str]:
    paths = (report.fields.get("causedUutFailurePath") for report in selection.reports(starts, "T"))
    return {collated(path) for path, _ in Counter(filter(None, paths)).most_common(10)}


def _measurement_row(measurement: Measurement) -> Json:
    _, located, measured, report = measurement
    return {
        "id": report.uuid,
        "startUtc": clock.utc(report.start),
        "value": measurement.value,
        "limit1": measured.get("lowLimit"),
        "limit2": measured.get("highLimit"),
        "serialNumber": report.fields["serialNumber"],
        "partNumber": report.fields["partNumber"],
        "revision": report.fields.get("revision"),
        "stepName": located.step.get("name"),
        "stepPath": located.path,
        "unit": measured.get("unit"),
        "status": WORDS.get(str(measured.get("status"))),
    }


def _aggregate(group: Sequence[Measurement]) -> Json:
    _, located, measured, report = group[0]
    low, high = measured.get("lowLimit"), measured.get("highLimit")
    return spread([each.value for each in group if each.value is not None], low, high) | {
        "limit1": low,
        "limit2": high,
        "unit": measured.get("unit"),
        "stepName": located.step.get("name"),
        "stepPath": located.path,
        "partNumber": report.fields["partNumber"],
        "revision": report.fields.get("revision"),
    }


def spread(values: Sequence[float], low: float | None, high: float | None) -> Json:
    """Count, extremes, mean and standard deviation of a sample, and its process capability within limits."""
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
    """`POST /api/App/TopFailed`: the steps that caused the most failures, by default ten (`topCount`)."""
    selection = Selection.of(call)
    return call.json(_failed(selection, selection.time_range(30.0), selection.count("topCount", 10)))


def top_failed_of_days(call: Call) -> Response:
    """`GET /api/App/TopFailed`: the same for the last `days`. All six parameters are required."""
    for name in ("partNumber", "processCode", "productGroupId", "levelId", "days", "count"):
        call.required(name)
    days, most = call.number("days") or 0, call.number("count") or 0
    starts = call.plant.now + 1 - days * clock.DAY, EVER[1]
    return call.json(_failed(Selection(call, dict(call.query)), starts, most))


def _failed(selection: Selection, starts: Range, most: int) -> list[Json]:
    total, failures = 0, dict[str, list[SelectedReport]]()
    for report in selection.reports(starts, "T"):
        total += 1
        if path := report.fields.get("causedUutFailurePath"):
            failures.setdefault(path, []).append(report)
    ordered = sorted(failures.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_failed_step(path, reports, total) for path, reports in ordered[:most]]


def _failed_step(path: str, reports: Sequence[SelectedReport], total: int) -> Json:
    step = next((located.step for located in _steps(reports[0]) if located.path == path), {})
    *_, name = path.split("¶")
    return {
        "stepName": name,
        "stepPath": path,
        "stepType": step.get("stepType"),
        "stepGroup": step.get("group"),
        "partNumber": reports[0].fields["partNumber"],
        "revision": reports[0].fields.get("revision"),
        "failCount": len(reports),
        "totalCount": total,
        "failRate": len(reports) / total,
        "firstFailDate": clock.utc(reports[-1].start),
        "lastFailDate": clock.utc(reports[0].start),
        "stepFilters": f"<filters><step name='{escape(name)}'/></filters>",
        "sequenceFilters": f"<filters><path>{escape(path)}</path></filters>",
    }


# ------------------------------------------------------------ step analysis

_STATUS_NAMES = {"P": "Passed", "D": "Done", "S": "Skipped", "F": "Failed", "E": "Error", "T": "Terminated"}


@dataclass
class _Tally:
    """The statistics of one step, or of one of its measurements, over all reports."""

    located: LocatedStep
    measured: Json | None
    statuses: Counter[str] = field(default_factory=Counter)
    caused: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    good: list[float] = field(default_factory=list)

    def add(self, step: Json, measurement: Measurement | None) -> None:
        """Count one occurrence."""
        status = str(step.get("status"))
        self.statuses[status] += 1
        self.caused[status] += bool(step.get("causedUUTFailure"))
        if step.get("totTime") is not None:
            self.times.append(step["totTime"])
        if measurement and measurement.value is not None:
            self.values.append(measurement.value)
            if measurement.measured.get("status") != "F":
                self.good.append(measurement.value)

    def row(self) -> Json:
        """The row of the response."""
        step, measured, statuses = self.located.step, self.measured or {}, self.statuses
        counts = {f"step{name}Count": statuses[letter] for letter, name in _STATUS_NAMES.items()}
        caused = {f"stepCausedUut{_STATUS_NAMES[letter]}": self.caused[letter] for letter in "FET"}
        low, high = measured.get("lowLimit"), measured.get("highLimit")
        return {
            "stepName": step.get("name"),
            "stepPath": self.located.path,
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
            **_measure_columns(spread(self.values, low, high), ""),
            **_measure_columns(spread(self.good, low, high), "Wof"),
        }


def _measure_columns(sample: Json, suffix: str) -> Json:
    average, deviation = sample["avg"], sample["stdev"]
    known = average is not None and deviation is not None
    sigmas = {
        "sigmaLow3": average - 3 * deviation if known else None,
        "sigmaHigh3": average + 3 * deviation if known else None,
    }
    columns = {"measureCount" if name == "count" else name: value for name, value in sample.items()}
    return {f"{name}{suffix}": value for name, value in (columns | sigmas).items()}


def step_analysis(call: Call) -> Response:
    """`POST /api/App/TestStepAnalysis`: one row per step, and for multiple tests one row per measurement.

    The analysis covers the newest 10,000 reports (`maxCount`), by default only first runs (`run`). A multiple
    test without measurements, skipped or deleted, counts in a row without a measurement name.
    """
    selection = Selection.of(call)
    _require(selection, "partNumber", "testOperation")
    selection = Selection(call, {"run": 1, **selection.given})
    tallies: dict[tuple[str, str | None], _Tally] = {}
    most = selection.count("maxCount", 10_000)
    for report in islice(selection.reports(selection.time_range(30.0), "T"), most):
        for located in _steps(report):
            for each in _measurements_or_none(located, report):
                measured = each.measured if each else None
                name = measured.get("name") if measured is not None else None
                tally = tallies.setdefault((located.path, name), _Tally(located, measured))
                tally.add(located.step, each)
    return call.json([tally.row() for tally in tallies.values()])


def _measurements_or_none(located: LocatedStep, report: SelectedReport) -> Iterable[Measurement | None]:
    """The measurements of a step; a single None for a step without measurements."""
    found = [Measurement("", located, each, report) for each in located.step.get("numericMeas") or ()]
    return found or [None]


# ------------------------------------------------------------ OEE, repairs


def oee_analysis(call: Call) -> Response:
    """`POST /api/App/OeeAnalysis?availableTime=24,24,24,24,24,24,24`: overall equipment effectiveness.

    `availableTime` is in hours, from Monday to Sunday. The run time is the sum of the execution times, the
    ideal cycle time is the shortest execution time, and passed tests are good.
    """
    hours = _hours(call.required("availableTime"))
    selection = Selection.of(call)
    first, last = selection.time_range(30.0)
    last = min(last, call.plant.now + 1)
    least, most = call.number("minExecutionTime", default=0), call.number("maxExecutionTime", default=10**9)
    every = list(selection.reports((first, last), "T"))
    times = [(float(each.fields.get("executionTime") or 0), each) for each in every]
    counted = [(time, each) for time, each in times if (least or 0) <= time <= (most or 0)]
    return json_response(_oee(counted, 60 * _available(hours, first, last)))


def _oee(counted: Sequence[tuple[float, SelectedReport]], planned: float) -> Json:
    total, running = len(counted), sum(time for time, _ in counted) / 60
    good = sum(report.fields["result"] == "Passed" for _, report in counted)
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
    """The available hours between two ticks, counting started days in full, for at most ten years."""
    days = range(max(first, last - 3650 * clock.DAY) // clock.DAY, -(-last // clock.DAY))
    return sum(hours[datetime.fromtimestamp(day * 86_400, UTC).weekday()] for day in days)


def related_repair_history(call: Call) -> Response:
    """`GET /api/App/RelatedRepairHistory?partNumber=…&revision=…`: one row per failure, newest first."""
    for name in ("partNumber", "revision"):
        call.required(name)
    given: Json = {name: call.query[name] for name in ("partnumber", "revision")}
    if repair := call.query.get("repairoperationcode"):
        given["testoperation"] = repair
    test = call.query.get("testoperationcode")
    repairs = Selection(call, given).reports(EVER, "R")
    return call.json([row for report in repairs for row in _failures(call, report, test)])


def _failures(call: Call, report: SelectedReport, test_code: str | None) -> Iterator[Json]:
    repair = report.document.get("uur") or {}
    if test_code not in (None, "", str(repair.get("processCode"))):
        return
    tested = call.plant.find(str(report.fields.get("referencedUut")))
    for unit in report.document.get("subUnits") or ():
        for failure in unit.get("failures") or ():
            yield {
                "serialNumber": unit.get("sn"),
                "partNumber": unit.get("pn"),
                "revision": unit.get("rev"),
                "reportId": report.uuid,
                "repairDate": clock.utc(report.start),
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
