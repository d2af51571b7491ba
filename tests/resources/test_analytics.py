"""Statistics equal the server's own responses; measurements equal those of the documents."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import expected
from tests.conftest import Json, Server
from tests.extraction import Extraction
from tests.resources.served import assert_answers, get

from wats_extract.errors import ConfigurationError
from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes import analytics
from wats_extract.filters.wats_filter import asked
from wats_extract.resources.catalogue import RESOURCES

EVER = {"dateFrom": "1990-01-01T00:00:00Z", "dateTo": "2100-01-01T00:00:00Z"}
MANY = {"topCount": 1_000_000}
LAST_DAYS = {"dateGrouping": 4, "periodCount": 30, "includeCurrentPeriod": True, **MANY}
PART, OPERATION = "PCBA-100", "ICT"
RAIL = "MainSequence Callback¶ICT¶Power supplies¶3V3 rail"
OTHER_RAIL = "MainSequence Callback¶ICT¶Power supplies¶5V0 rail"


YIELD = ("partNumber", "testOperation", "period")
STATISTICS: list[tuple[str, Json, Json, str, str, Json]] = [
    (
        "dynamic_yield",
        {},
        {},
        "everything",
        "App/DynamicYield",
        {**EVER, **MANY, "dateGrouping": 2, "dimensions": ";".join(YIELD)},
    ),
    (
        "dynamic_yield",
        {"part_number": [PART, "MODULE-320"], "level": "Trondheim"},
        {"dimensions": ["station_name", "revision"], "date_grouping": "day"},
        "level=Trondheim&partNumber=PCBA-100&partNumber=MODULE-320",
        "App/DynamicYield",
        {**EVER, **MANY, "dateGrouping": 4, "dimensions": "stationName;revision"}
        | {"partNumber": f"{PART};MODULE-320", "level": "Trondheim"},
    ),
    (
        "dynamic_repair",
        {},
        {"dimensions": ["repair_category", "repair_code", "component_ref"]},
        "everything",
        "App/DynamicRepair",
        {**EVER, **MANY, "dateGrouping": 2, "dimensions": "repairCategory;repairCode;componentRef"},
    ),
    ("volume_yield", {}, {}, "everything", "App/VolumeYield", LAST_DAYS),
    (
        "high_volume",
        {},
        {"period_count": 3, "date_grouping": "week"},
        "everything",
        "App/HighVolume",
        {**LAST_DAYS, "periodCount": 3, "dateGrouping": 3},
    ),
    ("worst_yield", {}, {}, "everything", "App/WorstYield", LAST_DAYS),
    ("high_volume_by_product_group", {}, {}, "everything", "App/HighVolumeByProductGroup", LAST_DAYS),
    ("worst_yield_by_product_group", {}, {}, "everything", "App/WorstYieldByProductGroup", LAST_DAYS),
    ("top_failed_steps", {}, {}, "everything", "App/TopFailed", LAST_DAYS),
    (
        "step_analysis",
        {"part_number": PART, "test_operation": OPERATION},
        {},
        f"{PART}|{OPERATION}",
        "App/TestStepAnalysis",
        {**EVER, "maxCount": 1_000_000, "partNumber": PART, "testOperation": OPERATION},
    ),
    (
        "oee_analysis",
        {"part_number": PART},
        {"available_time": (8, 8, 8, 8, 8, 0, 0)},
        "partNumber=PCBA-100",
        "App/OeeAnalysis?availableTime=8,8,8,8,8,0,0",
        {"dateFrom": "2026-01-01T00:00:00Z", "dateTo": "2026-02-01T00:00:00Z", "partNumber": PART},
    ),
    (
        "related_repairs",
        {"part_number": PART, "revision": "B"},
        {},
        f"{PART}|B",
        f"App/RelatedRepairHistory?partNumber={PART}&revision=B",
        {},
    ),
]


@pytest.mark.parametrize(("name", "filter", "options", "key", "route", "body"), STATISTICS)
def test_a_statistic_equals_the_servers_response(
    server: Server,
    tmp_path: Path,
    name: str,
    filter: Json,  # noqa: A002
    options: Json,
    key: str,
    route: str,
    body: Json,
) -> None:
    _, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, names=[name], options=options)
    span = {
        each: expected.moment(body[field])
        for each, field in (("since", "dateFrom"), ("until", "dateTo"))
        if field in body
    }
    report = extraction.run(filter=filter, **span)
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    answer = get(url, route, body or None)
    assert_answers(extraction, name, {key: answer if isinstance(answer, list) else [answer]})


def test_a_statistic_replaces_the_previous_one(server: Server, tmp_path: Path) -> None:
    app, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, names=["dynamic_yield"], options={"dimensions": ["revision"]})
    extraction.run()
    for header in list(app.plant.headers())[:250]:
        app.plant.delete(header["uuid"])
    extraction.run()
    body = {**EVER, **MANY, "dateGrouping": 2, "dimensions": "revision"}
    assert_answers(extraction, "dynamic_yield", {"everything": get(url, "App/DynamicYield", body)})


def test_each_combination_of_values_is_one_question(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, names=["step_analysis"], options={})
    extraction.run(filter={"part_number": [PART, "MODULE-320"], "test_operation": ["ICT", "FCT"]})
    questions = {row["question"] for row in extraction.table("step_analysis")}
    assert f"{PART}|ICT" in questions
    assert questions <= {f"{part}|{test}" for part in (PART, "MODULE-320") for test in ("ICT", "FCT")}


def test_a_truncated_analysis_is_incomplete(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wats_extract.resources.analytics.MOST_MEASUREMENTS", 100)
    whole = analytics.Selection.count
    monkeypatch.setattr(
        analytics.Selection,
        "count",
        lambda self, name, default: 100 if name == "maxCount" else whole(self, name, default),
    )
    _, url = server(Plant(2500))
    extraction = Extraction(url, tmp_path, names=["step_analysis"], options={})
    report = extraction.run(filter={"part_number": PART, "test_operation": OPERATION})
    assert (report.status, report.exit_code) == ("incomplete", 4)
    (failure,) = extraction.table("_wats_failures")
    assert (failure["error_code"], failure["key"]) == ("WINDOW_SATURATED", f"{PART}|{OPERATION}")
    assert extraction.table("step_analysis"), "the rows that were sent are loaded"


# ── measurements ────────────────────────────────────────────────────────────────────────────────


def measured(app: App, paths: Iterable[str]) -> dict[tuple[str, str], list[float | None]]:
    """Values in the documents, by report and path."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for header in app.plant.headers():
        if (header["partNumber"], header["processName"]) != (PART, OPERATION):
            continue
        document = app.plant.document(header["uuid"])
        for path, step in _steps(document["root"]):
            for each in step.get("numericMeas") or ():
                name = path if each.get("name") is None else f"{path}¶¶{each['name']}"
                if name in paths:
                    number = each["value"] if isinstance(each["value"], int | float) else None
                    found.setdefault((header["uuid"], name), []).append(number)
    return found


def _steps(step: Json, above: str = "") -> Iterable[tuple[str, Json]]:
    path = f"{above}¶{step['name']}" if above else step["name"]
    yield path, step
    for each in step.get("steps") or ():
        yield from _steps(each, path)


def landed(extraction: Extraction) -> dict[tuple[str, str], list[float | None]]:
    found: dict[tuple[str, str], list[float | None]] = {}
    rows = extraction.table("measurements")
    for row in sorted(rows, key=lambda row: row["measurement_index"]):
        found.setdefault((row["report_uuid"], row["measurement_path"]), []).append(row["value"])
    return found


def at_present(monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    """Set the reader's clock to the time of the plant, so that its reports do not arrive months late."""
    resource = RESOURCES["measurements"]
    listing = replace(resource.reader.listing, now=lambda: expected.moment(clock.utc(app.plant.now)))
    monkeypatch.setitem(
        RESOURCES, "measurements", replace(resource, reader=replace(resource.reader, listing=listing))
    )


QUESTION = {"part_number": PART, "test_operation": OPERATION, "measurement_path": [RAIL, OTHER_RAIL]}


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_measurements_equal_those_of_the_documents_despite_the_servers_cap(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(analytics, "MAX_MEASUREMENTS", 50)
    app, url = server(Plant(900))
    at_present(monkeypatch, app)
    extraction = Extraction(url, tmp_path, kind, names=["measurements"], options={})
    report = extraction.run(filter=QUESTION)
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    assert landed(extraction) == (held := measured(app, (RAIL, OTHER_RAIL)))
    assert sum(map(len, held.values())) > 3 * 50
    assert all(window["complete"] for window in extraction.table("_wats_coverage"))
    app.plant.grow(120)
    assert extraction.run(filter=QUESTION).status == "succeeded"
    assert landed(extraction) == measured(app, (RAIL, OTHER_RAIL))


@pytest.mark.parametrize("quirks", [{"pascal_case": True}, {"omit_nulls": True}])
def test_measurements_are_read_from_servers_that_write_json_differently(
    server: Server, tmp_path: Path, quirks: Json
) -> None:
    app, url = server(Plant(200), **quirks)
    extraction = Extraction(url, tmp_path, names=["measurements", "aggregated_measurements"], options={})
    extraction.run(filter=QUESTION)
    assert landed(extraction) == measured(app, (RAIL, OTHER_RAIL))
    assert len(extraction.table("aggregated_measurements")) == 2


def test_aggregated_measurements_are_loaded_by_path_and_period(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(300))
    extraction = Extraction(
        url, tmp_path, names=["aggregated_measurements"], options={"date_grouping": "week"}
    )
    report = extraction.run(filter=QUESTION)
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    answers = {}
    for path in (RAIL, OTHER_RAIL):
        body = {**EVER, "dateGrouping": 3, "partNumber": PART, "testOperation": OPERATION}
        groups = get(url, f"App/AggregatedMeasurements?measurementPaths={urllib.request.quote(path)}", body)
        answers[f"{PART}|{OPERATION}|{path}"] = [
            {"measurementPath": group["measurementPath"], **row}
            for group in groups
            for row in group["measurements"]
        ]
    assert_answers(extraction, "aggregated_measurements", answers)


# ── histories ───────────────────────────────────────────────────────────────────────────────────


def test_a_serial_number_history_has_all_its_reports(server: Server, tmp_path: Path) -> None:
    app, url = server(Plant(120))
    extraction = Extraction(url, tmp_path, names=["serial_number_history"], options={})
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    rows = {(row["serial_number"], row["uuid"]) for row in extraction.table("serial_number_history")}
    assert rows == {(each["serialNumber"], each["uuid"]) for each in app.plant.headers()}
    app.plant.grow(10)
    again = extraction.run()
    rows = {(row["serial_number"], row["uuid"]) for row in extraction.table("serial_number_history")}
    assert rows == {(each["serialNumber"], each["uuid"]) for each in app.plant.headers()}
    assert again.resources["serial_number_history"].requests < 30


def test_histories_fail_item_by_item(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20), history_fails=True)
    extraction = Extraction(
        url, tmp_path, names=["serial_number_history", "report_headers"], options={}, stop_at_failures="100%"
    )
    report = extraction.run()
    assert report.exit_code == 3
    assert {row["error_code"] for row in extraction.table("_wats_failures")} == {"API_ERROR"}
    assert len(extraction.table("report_headers")) == 20


# ── invalid filters ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("partNumber eq 'A'", "not OData text"),
        ({"part_nmber": "A"}, "did you mean 'part_number'"),
        ({"part_number": []}, "empty list"),
        ({"part_number": True}, "not True"),
        ({"part_number": "A;B"}, "write several values as a list"),
        ({"part_number": "  "}, "is empty"),
        ({"run": "first"}, "takes a whole number"),
    ],
)
def test_invalid_filters_are_refused(filter: Any, message: str) -> None:  # noqa: A002
    with pytest.raises(ConfigurationError, match=message):
        asked(filter, RESOURCES["step_analysis"].filters)
