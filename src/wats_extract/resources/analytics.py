"""Statistics that WATS computes: measurements, yields, repairs, failed steps, equipment effectiveness.

Sources: ``POST /api/App/…``, ``GET /api/App/RelatedRepairHistory`` (api-facts §2.2 to §2.4). The
specification does not list the columns; they are those that clients of WATS read, and other fields go into
``_extra``. A figure that can be computed from ``reports`` is better computed there: yields of two ranges do
not add up, because a unit counts in the range of its first run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wats_extract.flow import Selection
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.questions import QuestionedReader, Questions
from wats_extract.readers.reader import Query
from wats_extract.readers.time_window import TimeWindows
from wats_extract.resources.fields import moment, number, snake, table, text, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.resources.statistics import (
    CONDITIONS,
    MOST_MEASUREMENTS,
    MOST_ROWS,
    SILENT,
    answers,
    between,
    counted,
    dated,
    dynamic,
    fields_of,
    grouped,
    some,
    statistic,
    statistic_table,
)
from wats_extract.shred.documents import Answers
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.grouped import GroupedShredder
from wats_extract.shred.shape import list_or_object
from wats_extract.tables import Column

_ALL_DAY = (24.0,) * 7
_RUN = {
    "yield": Column("yield", pa.int32(), "yield", "the run whose yield is computed"),
    "run": Column("run", pa.int32(), "run", "number of the run, from 1; -1 = last run, -2 = all runs"),
}
_PATH_DOC = "step names joined by ¶; ¶¶ stands before the name of one of several measurements"
_PATH = {
    "measurement_path": Column(
        "measurement_path",
        pa.string(),
        "measurementPaths",
        _PATH_DOC,
    )
}


# ── yields and repairs, by dimensions ───────────────────────────────────────────────────────────

_YIELD_TEXT = (
    "partNumber productName stationName location purpose revision testOperation processCode swFilename "
    "swVersion productGroup level period batchNumber operator fixtureId socketIndex errorCode "
    "miscInfoDescription miscInfoString stepCausedUutFailure stepPathCausedUutFailure assetSerialNumber "
    "assetName"
)
_YIELD_NUMBERS = {"processCode", "socketIndex", "errorCode"}
_REPAIR_TEXT = (
    "partNumber revision productName productGroup unitType repairOperation period level stationName location "
    "purpose operator miscInfoDescription miscInfoString repairCode repairCategory repairType componentRef "
    "componentNumber componentRevision componentVendor componentDescription functionBlock referencedStep "
    "referencedStepPath testOperation testPeriod testLevel testStationName testLocation testPurpose "
    "testOperator batchNumber swFilename swVersion"
)
_COUNTS = {
    "unit_count": "number of units whose first run is selected",
    "fp_count": "number of units that passed in the first run (sp: second, tp: third, lp: last run)",
    "fpy": "share of fp_count: from 0 to 1 or from 0 to 100, as the server has it; the counts are certain",
}


def _dimensions(names: str) -> dict[str, str]:
    return {snake(name): name for name in names.split()}


def _dimension_columns(names: str) -> tuple[Column, ...]:
    columns: list[Column] = []
    for name in names.split():
        columns += whole(name) if name in _YIELD_NUMBERS else text(name)
    return tuple(columns)


_PASSES = "fp sp tp lp"
_YIELDS = statistic_table(
    "dynamic_yield",
    _dimension_columns(_YIELD_TEXT),
    whole("unitCount"),
    whole(" ".join(f"{each}Count" for each in _PASSES.split())),
    number("fpy spy tpy lpy"),
    whole("testReportCount testYieldCount"),
    number("testYield"),
    moment("firstUtc lastUtc"),
    whole(" ".join(f"{each}FailCount" for each in _PASSES.split())),
    whole("retestCount"),
    number("ppmFpy ppmSpy ppmTpy ppmLpy ppmTestYield"),
    doc="one row per combination of dimensions",
    docs=_COUNTS | {"period": "period of the length date_grouping: 2026-01, 2026-W02, …"},
)
_REPAIRS = statistic_table(
    "dynamic_repair",
    _dimension_columns(_REPAIR_TEXT),
    whole("repairReportCount repairCount"),
    doc="one row per combination of dimensions",
)

DYNAMIC_YIELD = statistic(
    _YIELDS,
    "yield by dimensions, as WATS computes it",
    questions=(_ANY_YIELD := Questions("App/DynamicYield")),
    body=dynamic(_ANY_YIELD, _dimensions(_YIELD_TEXT), ("part_number", "test_operation", "period")),
    filters=CONDITIONS | _RUN,
    options="since dimensions date_grouping",
    unproven="the types of the columns",
    dimensions=_dimensions(_YIELD_TEXT),
)
DYNAMIC_REPAIR = statistic(
    _REPAIRS,
    "repairs by dimensions, as WATS counts them",
    questions=(_ANY_REPAIR := Questions("App/DynamicRepair")),
    body=dynamic(_ANY_REPAIR, _dimensions(_REPAIR_TEXT), ("part_number", "repair_operation", "period")),
    filters=CONDITIONS,
    options="since dimensions date_grouping",
    unproven="the types of the columns",
    dimensions=_dimensions(_REPAIR_TEXT),
)


# ── yield lists ─────────────────────────────────────────────────────────────────────────────────


def _yield_list(name: str, route: str, summary: str) -> Resource:
    listed = statistic_table(
        name,
        text("partNumber revision productName productGroup stationName testOperation period"),
        whole("unitCount"),
        whole(" ".join(f"{each}Count" for each in _PASSES.split())),
        number("fpy spy tpy lpy"),
        doc="one row per product or product group and period",
        docs=_COUNTS,
    )
    questions = Questions(route)
    return statistic(
        listed,
        summary,
        questions=questions,
        body=counted(questions),
        filters=some("product_group level part_number"),
        options="date_grouping period_count",
    )


VOLUME_YIELD = _yield_list("volume_yield", "App/VolumeYield", "yield of products, as WATS lists it")
HIGH_VOLUME = _yield_list("high_volume", "App/HighVolume", "the products that are tested most often")
WORST_YIELD = _yield_list("worst_yield", "App/WorstYield", "the products with the worst yield")
HIGH_VOLUME_BY_GROUP = _yield_list(
    "high_volume_by_product_group",
    "App/HighVolumeByProductGroup",
    "the product groups that are tested most often",
)
WORST_YIELD_BY_GROUP = _yield_list(
    "worst_yield_by_product_group", "App/WorstYieldByProductGroup", "the product groups with the worst yield"
)


# ── failed steps ────────────────────────────────────────────────────────────────────────────────

_FAILED = statistic_table(
    "top_failed_steps",
    text("stepName stepPath stepType stepGroup partNumber revision productGroup"),
    whole("failCount totalCount"),
    number("failRate"),
    moment("firstFailDate lastFailDate"),
    text("stepFilters sequenceFilters"),
    doc="one row per step",
    docs={"step_path": "step names joined by ¶", "step_filters": "XML for internal routes"},
)
TOP_FAILED = statistic(
    _FAILED,
    "the steps that failed most often",
    questions=(_ANY_FAILED := Questions("App/TopFailed")),
    body=counted(_ANY_FAILED),
    filters=some("part_number test_operation product_group level") | {"yield": _RUN["yield"]},
    options="date_grouping period_count",
)

_SAMPLE = "measureCount min max avg stdev var cp cpk cpLower cpUpper sigmaHigh3 sigmaLow3"


def _sample(suffix: str = "") -> tuple[Column, ...]:
    names = [f"{name}{suffix}" for name in _SAMPLE.split()]
    return (*whole(names[0]), *number(" ".join(names[1:])))


_ANALYSIS = statistic_table(
    "step_analysis",
    text("stepName stepPath stepType stepGroup"),
    whole("stepCount stepPassedCount stepDoneCount stepSkippedCount stepFailedCount stepErrorCount"),
    whole("stepTerminatedCount stepOtherCount stepFailedErrorTerminatedCount"),
    whole(
        "stepCausedUutFailedErrorTerminated stepCausedUutFailed stepCausedUutError stepCausedUutTerminated"
    ),
    number("stepTimeAvg stepTimeMax stepTimeMin"),
    text("compOperator measureName"),
    number("limit1 limit2"),
    _sample(),
    _sample("Wof"),
    doc="one row per step; for steps with several measurements, one row per measurement",
    docs={
        "step_path": "step names joined by ¶",
        "step_time_avg": "in seconds",
        "measure_count_wof": "columns with the suffix _wof leave out failed measurements",
    },
)


class StepAnswers(Answers):
    """Responses of which the server caps the number of reports, not the number of rows."""

    def saturated(self, records: Any) -> str:
        """Return why there may be more reports than were counted; empty if there are none."""
        most = max((record.stepCount or 0 for record in records), default=0)
        if most in (MOST_MEASUREMENTS, self.cap):
            return f"the analysis covers exactly {most:,} reports, a cap of the server; there may be more"
        return ""


STEP_ANALYSIS = statistic(
    _ANALYSIS,
    "how often each step of a test ran and failed, and statistics of its measurements",
    questions=(_OF_TESTS := Questions("App/TestStepAnalysis", ("partNumber", "testOperation"))),
    body=between(_OF_TESTS, maxCount=MOST_ROWS),
    filters=CONDITIONS | {"run": _RUN["run"]},
    options="since",
    required="part_number test_operation",
    shredder=answers(FlatShredder(_ANALYSIS), kind=StepAnswers),
)


# ── measurements ────────────────────────────────────────────────────────────────────────────────

_MEASUREMENTS = table(
    "measurements",
    "report_uuid measurement_path measurement_index",
    text("=measurement_key"),
    uuid("id=report_uuid"),
    text("measurementPath"),
    whole("measurementIndex"),
    moment("startUtc=start"),
    number("value limit1 limit2"),
    text("serialNumber partNumber revision stepName stepPath unit"),
    (Column("status", pa.string(), "status", kind="result"),),
    doc="one row per measured value",
    docs={
        "report_uuid": "joins report_headers.uuid",
        "measurement_path": _PATH_DOC,
        "measurement_index": "index among the measurements of the same report and path, from 0",
    },
    owner="measurement_key",
)
_MEASURED = "part_number test_operation measurement_path"

MEASUREMENTS = Resource(
    name="measurements",
    summary="measured values of given paths; reports has all measurements for fewer requests",
    route="App/Measurements",
    method="POST",
    reader=QuestionedReader(
        TimeWindows("App/Measurements", cap=MOST_MEASUREMENTS, queried=frozenset({"measurementPaths"})),
        GroupedShredder(
            _MEASUREMENTS, within="measurements", numbered="measurementIndex", same=("id", "measurementPath")
        ),
        Questions("App/Measurements", ("partNumber", "testOperation", "measurementPaths")),
    ),
    tables=(_MEASUREMENTS,),
    key="measurement_key",
    cursor="start",
    filters=CONDITIONS | _PATH,
    filtered_by="fields",
    required=tuple(_MEASURED.split()),
    options=frozenset({"since"}),
    unproven="the columns, and that a range with fewer than 10,000 rows comes completely",
)

_AGGREGATED = statistic_table(
    "aggregated_measurements",
    text("measurementPath period"),
    whole("count"),
    number("min max avg stdev var cp cpk cpLower cpUpper"),
    number("limit1|limitLow=limit1 limit2|limitHigh=limit2"),
    text("unit stepName stepPath partNumber revision"),
    doc="one row per path and period",
    docs={"measurement_path": "as it was requested", "cpk": "null if there are no limits"},
)
_OF_PATHS = Questions("App/AggregatedMeasurements", ("partNumber", "testOperation", "measurementPaths"))


def _of_path(key: str, selection: Selection) -> Query:
    fields = fields_of(_OF_PATHS, key, selection)
    del fields["measurementPaths"]
    return {**fields, **dated(selection), **grouped(selection, "none")}


AGGREGATED_MEASUREMENTS = statistic(
    _AGGREGATED,
    "count, mean, spread and process capability of the measurements at given paths",
    questions=_OF_PATHS,
    body=_of_path,
    filters=CONDITIONS | _PATH,
    options="since date_grouping",
    required=_MEASURED,
    query=lambda key, options: {"measurementPaths": key.split("|", 2)[2]},
    shredder=answers(GroupedShredder(_AGGREGATED, within="measurements"), cap=MOST_MEASUREMENTS),
)


# ── effectiveness, related repairs ──────────────────────────────────────────────────────────────

_OEE = statistic_table(
    "oee_analysis",
    number("oee availability performance quality"),
    number("totalTime runTime downTime plannedProductionTime"),
    whole("totalCount goodCount rejectCount"),
    number("idealCycleTime actualCycleTime"),
    text("period partNumber stationName"),
    doc="one row per question",
    docs={
        "oee": "overall equipment effectiveness, from 0 to 100",
        "run_time": "in minutes",
        "ideal_cycle_time": "in seconds",
    },
)


def _available(key: str, options: Mapping[str, Any]) -> Query:  # noqa: ARG001
    hours = options.get("available_time") or _ALL_DAY
    return {"availableTime": ",".join(f"{hour:g}" for hour in hours)}


OEE_ANALYSIS = statistic(
    _OEE,
    "overall equipment effectiveness",
    questions=(_ANY_OEE := Questions("App/OeeAnalysis")),
    body=between(_ANY_OEE),
    filters=some(
        "product_group level part_number revision station_name test_operation status sw_filename sw_version "
        "socket"
    ),
    options="since available_time",
    query=_available,
    shredder=answers(FlatShredder(_OEE, shape=list_or_object("oee|availability|performance|quality"))),
)

_HISTORY = statistic_table(
    "related_repairs",
    text("serialNumber partNumber revision"),
    uuid("reportId"),
    moment("repairDate"),
    text("failStepName failStepPath failCode repairCode symptom cause action"),
    doc="one row per failure that was repaired",
    docs={"report_id": "joins report_headers.uuid: the repair report"},
)
_OF_REVISIONS = Questions("App/RelatedRepairHistory", ("partNumber", "revision"))

RELATED_REPAIRS = Resource(
    name="related_repairs",
    summary="the repairs of units of one product revision",
    route="App/RelatedRepairHistory",
    reader=ByKeyReader(
        listing=_OF_REVISIONS,
        asked={},
        route="App/RelatedRepairHistory",
        query=lambda key, options: dict(zip(("partNumber", "revision"), key.split("|", 1), strict=True)),
        shredder=answers(FlatShredder(_HISTORY)),
    ),
    tables=(_HISTORY,),
    key="question",
    filters=some("part_number revision"),
    filtered_by="fields",
    required=("part_number", "revision"),
    unproven=SILENT,
)
