"""Statistics: each lands as the server itself tells it; measurements equal those of the documents."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import expected
from tests.conftest import TOKEN
from tests.extraction import Extraction

from wats_extract.errors import ConfigurationError
from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes import analytics
from wats_extract.filters.wats_filter import asked
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import TIMESTAMP, Column

Server = Callable[..., tuple[App, str]]
Json = dict[str, Any]

EVER = {"dateFrom": "1990-01-01T00:00:00Z", "dateTo": "2100-01-01T00:00:00Z"}
MANY = {"topCount": 1_000_000}
LAST_DAYS = {"dateGrouping": 4, "periodCount": 30, "includeCurrentPeriod": True, **MANY}
PART, OPERATION = "PCBA-100", "ICT"
RAIL = "MainSequence Callback¶ICT¶Power supplies¶3V3 rail"
OTHER_RAIL = "MainSequence Callback¶ICT¶Power supplies¶5V0 rail"


def told(url: str, route: str, body: Json | None = None) -> Any:
    """What the server itself answers."""
    request = urllib.request.Request(
        f"{url}/api/{route}",
        data=None if body is None else json.dumps(body).encode("utf-8"),
        headers={"Authorization": f"Basic {TOKEN}", "Content-Type": "application/json"},
        method="GET" if body is None else "POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def value(record: Mapping[str, Any], column: Column) -> Any:
    """A column's value in the server's record."""
    found = next((record[name] for name in column.source.split() if record.get(name) is not None), None)
    if found is None:
        return None
    if column.type == TIMESTAMP:
        return expected.moment(found)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if column.kind == "json" else found


def assert_rows(extraction: Extraction, name: str, answers: Mapping[str, Iterable[Json]]) -> None:
    """The table holds these answers: every row of every question, in its place, and nothing else."""
    listed = RESOURCES[name].table
    rows = {(row["question"], row["row_index"]): row for row in extraction.table(listed.name)}
    records = {(key, place): each for key, answer in answers.items() for place, each in enumerate(answer)}
    assert rows.keys() == records.keys()
    assert rows, "the test compares nothing"
    for place, record in records.items():
        for column in listed.columns:
            if column.source:
                assert rows[place][column.name] == value(record, column), (place, column.name)


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
def test_a_statistic_lands_as_the_server_tells_it(
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
    report = extraction.run(asked=asked(filter, RESOURCES[name].filters), **span)
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    answer = told(url, route, body or None)
    assert_rows(extraction, name, {key: answer if isinstance(answer, list) else [answer]})


def test_an_answer_replaces_the_one_before(server: Server, tmp_path: Path) -> None:
    app, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, names=["dynamic_yield"], options={"dimensions": ["revision"]})
    extraction.run()
    for header in list(app.plant.headers())[:250]:
        app.plant.delete(header["uuid"])
    extraction.run()
    body = {**EVER, **MANY, "dateGrouping": 2, "dimensions": "revision"}
    assert_rows(extraction, "dynamic_yield", {"everything": told(url, "App/DynamicYield", body)})


def test_each_combination_is_a_question_and_one_that_fails_disturbs_no_other(
    server: Server, tmp_path: Path
) -> None:
    _, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, names=["step_analysis"], options={})
    wanted = asked(
        {"part_number": [PART, "MODULE-320"], "test_operation": ["ICT", "FCT"]},
        RESOURCES["step_analysis"].filters,
    )
    extraction.run(asked=wanted)
    questions = {row["question"] for row in extraction.table("step_analysis")}
    assert f"{PART}|ICT" in questions
    assert questions <= {f"{part}|{test}" for part in (PART, "MODULE-320") for test in ("ICT", "FCT")}


def test_an_analysis_that_a_server_cuts_is_told(
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
    wanted = asked({"part_number": PART, "test_operation": OPERATION}, RESOURCES["step_analysis"].filters)
    report = extraction.run(asked=wanted)
    assert (report.status, report.exit_code) == ("incomplete", 4)
    (failure,) = extraction.table("_wats_failures")
    assert (failure["error_code"], failure["key"]) == ("WINDOW_SATURATED", f"{PART}|{OPERATION}")
    assert extraction.table("step_analysis"), "what came has landed"


# ── measurements ────────────────────────────────────────────────────────────────────────────────


def measured(app: App, paths: Iterable[str]) -> dict[tuple[str, str], list[float | None]]:
    """The values of some paths in the documents, by report and path."""
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
    """Let the reader's clock show the plant's present, whose reports do not arrive months late."""
    resource = RESOURCES["measurements"]
    listing = replace(resource.reader.listing, now=lambda: expected.moment(clock.utc(app.plant.now)))
    monkeypatch.setitem(
        RESOURCES, "measurements", replace(resource, reader=replace(resource.reader, listing=listing))
    )


QUESTION = {"part_number": PART, "test_operation": OPERATION, "measurement_path": [RAIL, OTHER_RAIL]}


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_measurements_equal_those_of_the_documents_though_the_server_caps_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(analytics, "MAX_MEASUREMENTS", 50)
    app, url = server(Plant(900))
    at_present(monkeypatch, app)
    extraction = Extraction(url, tmp_path, kind, names=["measurements"], options={})
    wanted = asked(QUESTION, RESOURCES["measurements"].filters)
    report = extraction.run(asked=wanted)
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    assert landed(extraction) == (held := measured(app, (RAIL, OTHER_RAIL)))
    assert sum(map(len, held.values())) > 3 * 50
    assert all(window["complete"] for window in extraction.table("_wats_coverage"))
    app.plant.grow(120)
    assert extraction.run(asked=wanted).status == "succeeded"
    assert landed(extraction) == measured(app, (RAIL, OTHER_RAIL))


@pytest.mark.parametrize("quirks", [{"pascal_case": True}, {"omit_nulls": True}])
def test_measurements_are_read_however_a_server_writes_them(
    server: Server, tmp_path: Path, quirks: Json
) -> None:
    app, url = server(Plant(200), **quirks)
    extraction = Extraction(url, tmp_path, names=["measurements", "aggregated_measurements"], options={})
    extraction.run(asked=asked(QUESTION, RESOURCES["measurements"].filters))
    assert landed(extraction) == measured(app, (RAIL, OTHER_RAIL))
    assert len(extraction.table("aggregated_measurements")) == 2


def test_aggregated_measurements_land_by_path_and_period(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(300))
    extraction = Extraction(
        url, tmp_path, names=["aggregated_measurements"], options={"date_grouping": "week"}
    )
    report = extraction.run(asked=asked(QUESTION, RESOURCES["measurements"].filters))
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    answers = {}
    for path in (RAIL, OTHER_RAIL):
        body = {**EVER, "dateGrouping": 3, "partNumber": PART, "testOperation": OPERATION}
        groups = told(url, f"App/AggregatedMeasurements?measurementPaths={urllib.request.quote(path)}", body)
        answers[f"{PART}|{OPERATION}|{path}"] = [
            {"measurementPath": group["measurementPath"], **row}
            for group in groups
            for row in group["measurements"]
        ]
    assert_rows(extraction, "aggregated_measurements", answers)


# ── histories ───────────────────────────────────────────────────────────────────────────────────


def test_a_serial_number_history_holds_all_reports_about_it(server: Server, tmp_path: Path) -> None:
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


def test_a_server_that_fails_at_histories_fails_item_by_item(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20), history_fails=True)
    extraction = Extraction(
        url, tmp_path, names=["serial_number_history", "report_headers"], options={}, stop_at_failures="100%"
    )
    report = extraction.run()
    assert report.exit_code == 3
    assert {row["error_code"] for row in extraction.table("_wats_failures")} == {"API_ERROR"}
    assert len(extraction.table("report_headers")) == 20


# ── what is asked ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filter", "said"),
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
def test_what_cannot_be_asked_is_refused(filter: Any, said: str) -> None:  # noqa: A002
    with pytest.raises(ConfigurationError, match=said):
        asked(filter, RESOURCES["step_analysis"].filters)
