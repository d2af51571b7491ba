"""The WATS filter, lists of reports, measurements, failed steps, step analysis, OEE, repair history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.analytics import MAX_MEASUREMENTS, spread
from wats_extract.fake.selection import matching, period

Connect = Callable[..., httpx2.Client]
Row = dict[str, Any]
ALWAYS = {"dateFrom": "2020-01-01T00:00:00", "dateTo": "2040-01-01T00:00:00"}
RAIL = "MainSequence Callback¶Functional test¶Power supplies¶3V3 rail"


def post(client: httpx2.Client, route: str, body: dict[str, object] | None = None, **query: str) -> Any:
    response = client.post(f"/api/App/{route}", json=body, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def truth(plant: Plant, kind: str = "T") -> list[Row]:
    """The header rows of a report type, newest first."""
    rows = [row for row in plant.headers() if row["reportType"] == kind]
    return sorted(rows, key=lambda row: clock.parse(row["start"]), reverse=True)


def ids(rows: list[Row]) -> list[str]:
    return [row["uuid"] for row in rows]


# ------------------------------------------------------------ the filter

FILTERS: dict[str, tuple[dict[str, object], Callable[[Row], bool]]] = {
    "nothing": ({}, lambda row: True),
    "empty": ({"partNumber": "", "level": None}, lambda row: True),
    "text": ({"PartNumber": "pcba-100"}, lambda row: row["partNumber"] == "PCBA-100"),
    "percent": ({"partNumber": "UNIT%"}, lambda row: row["partNumber"].startswith("UNIT")),
    "star": ({"serialNumber": "*01"}, lambda row: row["serialNumber"].endswith("01")),
    "one sign": ({"partNumber": "PCBA_?00"}, lambda row: row["partNumber"] in ("PCBA-100", "PCBA-200")),
    "alternatives": (
        {"partNumber": "PCBA-100;UNIT-41_"},
        lambda row: row["partNumber"] in ("PCBA-100", "UNIT-410"),
    ),
    "operation by name": ({"testOperation": "burn in"}, lambda row: row["processCode"] == 30),
    "operation by code": ({"testOperation": "10"}, lambda row: row["processCode"] == 10),
    "status": ({"status": "Failed;Error"}, lambda row: row["result"] in ("Failed", "Error")),
    "station": ({"stationName": "%-ICT-%"}, lambda row: "-ICT-" in row["stationName"]),
    "socket": ({"socket": "2"}, lambda row: row["testSocketIndex"] == 2),
    "run": ({"run": 2}, lambda row: row["run"] == 2),
    "every run": ({"run": -2}, lambda row: True),
    "group": ({"productGroup": "Boards"}, lambda row: row["partNumber"].startswith("PCBA")),
    "groups by id": (
        {"productGroup": "2;4"},
        lambda row: row["partNumber"].startswith(("PCBA", "UNIT")),
    ),
    "level": ({"level": "Horten"}, lambda row: row["location"] == "Horten, Norway"),
    "levels by id": ({"level": "2;4"}, lambda row: not row["location"].startswith("Trondheim")),
    "top level": ({"level": "Fjordtest"}, lambda row: True),
    "start": (
        {"dateFrom": "2026-01-06T08:00:00", "dateTo": "2026-01-06T12:00:00+01:00"},
        lambda row: "2026-01-06T08:00" <= clock.utc(clock.parse(row["start"])) < "2026-01-06T11:00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_filter_returns_the_matching_reports(client: httpx2.Client, plant: Plant, name: str) -> None:
    body, passes = FILTERS[name]
    rows = post(client, "UutReport", body)
    expected = [row for row in truth(plant) if passes(row)]
    assert expected
    assert set(ids(rows)) == set(ids(expected))
    assert len(rows) == len(expected)


def test_filter_by_misc_info(client: httpx2.Client) -> None:
    rows = post(client, "UutReport", {"miscDescription": "firmware", "miscValue": "FW-2%"})
    assert rows
    assert {row["processCode"] for row in rows} == {20}
    assert post(client, "UutReport", {"miscValue": "no such value"}) == []


def test_time_range_is_half_open(client: httpx2.Client, plant: Plant) -> None:
    one, other = truth(plant)[20], truth(plant)[10]
    rows = post(client, "UutReport", {"dateFrom": one["start"], "dateTo": other["start"]})
    assert ids(rows) == ids(truth(plant)[11:21])


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"'])
def test_filter_must_be_an_object(client: httpx2.Client, body: bytes) -> None:
    assert client.post("/api/App/UutReport", content=body).status_code == 400


@pytest.mark.parametrize("wrong", [{"dateFrom": "yesterday"}, {"topCount": -1}, {"topCount": "many"}])
def test_invalid_filter_values_are_refused(client: httpx2.Client, wrong: dict[str, object]) -> None:
    assert client.post("/api/App/UutReport", json=wrong).status_code == 400


def test_period_names() -> None:
    tick = clock.parse("2026-01-05T06:30Z")
    assert [period(tick, each) for each in range(-1, 6)] == [
        None, "2026", "2026-Q1", "2026-01", "2026-W02", "2026-01-05", "2026-01-05T06",
    ]  # fmt: skip
    assert matching("a.c")("abc") is False


# ------------------------------------------------------------ lists of reports


@pytest.mark.parametrize(("count", "default"), [(1000, 1000), (1001, 1000)])
def test_default_is_the_thousand_newest(connect: Connect, count: int, default: int) -> None:
    plant = Plant(0)
    for number in range(count):
        plant.receive({"type": "T", "sn": str(number), "pn": "p", "start": clock.utc(clock.arrival(number))})
    client = connect(App(plant))
    expected = [str(number) for number in reversed(range(count))]
    assert [row["serialNumber"] for row in post(client, "UutReport")] == expected[:default]
    assert [row["serialNumber"] for row in post(client, "UutReport", {"topCount": 5000})] == expected
    assert len(post(client, "UutReport", {"topCount": 3})) == 3
    assert len(client.get("/api/App/UutReport", params={"topCount": "5000"}).json()) == default


def test_rows_agree_with_the_headers(client: httpx2.Client, plant: Plant) -> None:
    rows = client.get("/api/App/UutReport", params={"partNumber": "UNIT-400", "levelId": "4"}).json()
    expected = [row for row in truth(plant) if row["partNumber"] == "UNIT-400"]
    assert ids(rows) == ids(expected)
    assert [row["operator"] for row in rows] == [row["userName"] for row in expected]
    assert all(row["startUtc"].endswith("Z") for row in rows)
    repairs = post(client, "UurReport")
    assert ids(repairs) == ids(truth(plant, "R"))


def test_history_of_a_serial_number(client: httpx2.Client, plant: Plant, connect: Connect) -> None:
    serial = truth(plant, "R")[0]["serialNumber"]
    rows = post(client, "SerialNumberHistory", {"serialNumber": serial})
    assert set(ids(rows)) == {row.uuid for row in plant.of_unit(serial)}
    assert {row["reportType"] for row in rows} == {"T", "R"}
    failing = connect(App(plant, history_fails=True))
    assert failing.post("/api/App/SerialNumberHistory", json={}).status_code == 500


def test_queries_are_not_state_changes(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    client = connect(app)
    for route in ("UutReport", "UurReport", "SerialNumberHistory", "TopFailed", "DynamicYield", "WorstYield"):
        post(client, route, {})
    assert not app.state_changes


def test_scoped_token_reads_fewer_reports(plant: Plant, connect: Connect) -> None:
    app = App(plant, scopes={"horten": "startswith(location, 'Horten')"})
    rows = post(connect(app, token="horten"), "UutReport")
    assert {row["location"] for row in rows} == {"Horten, Norway"}


# ------------------------------------------------------------ measurements


def test_measurements_agree_with_the_documents(client: httpx2.Client, plant: Plant) -> None:
    body = {"partNumber": "MODULE-310", "testOperation": "20", **ALWAYS}
    one, other = RAIL, "MainSequence Callback¶Functional test¶Calibration¶Offsets¶¶ch2"
    groups = post(client, "Measurements", body, measurementPaths=f"{one};{other};nothing¶such")
    assert {group["measurementPath"] for group in groups} == {one, other}
    for group in groups:
        for row in group["measurements"]:
            step = _step(plant.document(row["id"])["root"], row["stepPath"])
            measured = [(each["value"], each["lowLimit"]) for each in step["numericMeas"]]
            assert (row["value"], row["limit1"]) in measured
            assert set(row) >= {"id", "startUtc", "value", "limit1", "limit2", "unit", "status"}
    count = sum(row["partNumber"] == "MODULE-310" and row["processCode"] == 20 for row in truth(plant))
    assert 0.8 * count < len(groups[0]["measurements"]) <= count


def _step(step: Row, path: str) -> Row:
    for name in path.split("¶")[1:]:
        step = next(each for each in step["steps"] if each["name"] == name)
    return step


@pytest.mark.parametrize("missing", ["partNumber", "testOperation"])
@pytest.mark.parametrize("route", ["Measurements", "AggregatedMeasurements", "TestStepAnalysis"])
def test_part_number_and_operation_are_required(client: httpx2.Client, route: str, missing: str) -> None:
    body = {"partNumber": "MODULE-310", "testOperation": "20"}
    del body[missing]
    assert client.post(f"/api/App/{route}", json=body).status_code == 400


def test_default_paths_are_the_most_failed_steps(client: httpx2.Client, plant: Plant) -> None:
    body = {"partNumber": "MODULE-320", "testOperation": "Functional test", **ALWAYS}
    groups = post(client, "Measurements", body)
    failed = {row["causedUutFailurePath"] for row in truth(plant) if row["partNumber"] == "MODULE-320"}
    assert groups
    assert {group["measurementPath"].split("¶¶")[0] for group in groups} <= failed


@pytest.mark.parametrize(("per_report", "reports"), [(100, 100), (10001, 1), (73, 137)])
def test_measurements_are_cut_off_silently(connect: Connect, per_report: int, reports: int) -> None:
    plant = Plant(0)
    steps = [{"name": "s", "numericMeas": [{"name": str(n), "value": n} for n in range(per_report)]}]
    for number in range(reports):
        start = clock.utc(clock.arrival(number))
        plant.receive({"type": "T", "sn": str(number), "pn": "p", "processCode": 1, "start": start,
                       "root": {"name": "r", "steps": steps}})  # fmt: skip
    paths = ";".join(f"r¶s¶¶{n}" for n in range(per_report))
    body = {"partNumber": "p", "testOperation": "1", **ALWAYS, "measurementPaths": paths}
    client = connect(App(plant))
    groups = post(client, "Measurements", body)
    rows = [row for group in groups for row in group["measurements"]]
    assert len(rows) == min(MAX_MEASUREMENTS, per_report * reports)
    newest = max(rows, key=lambda row: clock.parse(row["startUtc"]))
    assert newest["serialNumber"] == str(reports - 1)
    groups = post(client, "AggregatedMeasurements", body)
    assert sum(len(group["measurements"]) for group in groups) == min(MAX_MEASUREMENTS, per_report)
    assert (
        sum(row["count"] for group in groups for row in group["measurements"])
        == min(per_report, MAX_MEASUREMENTS) * reports
    )


def test_aggregates_agree_with_the_measurements(client: httpx2.Client) -> None:
    body = {"partNumber": "MODULE-310", "testOperation": "20", **ALWAYS, "measurementPaths": RAIL}
    values = [row["value"] for row in post(client, "Measurements", body)[0]["measurements"]]
    (row,) = post(client, "AggregatedMeasurements", body)[0]["measurements"]
    assert (row["count"], row["min"], row["max"]) == (len(values), min(values), max(values))
    assert row["avg"] == pytest.approx(sum(values) / len(values))
    assert row["cpk"] == min(row["cpLower"], row["cpUpper"])
    by_day = post(client, "AggregatedMeasurements", body | {"dateGrouping": 4})[0]["measurements"]
    assert sum(each["count"] for each in by_day) == len(values)
    assert len({each["period"] for each in by_day}) == len(by_day) > 1


def test_spread_of_small_samples() -> None:
    assert spread([], 0.0, 1.0)["avg"] is None
    assert spread([5.0], 0.0, 1.0)["stdev"] is None
    assert spread([5.0, 5.0], 0.0, 1.0)["cp"] is None
    one_sided = spread([1.0, 2.0, 3.0], 0.0, None)
    assert (one_sided["cp"], one_sided["cpUpper"], one_sided["cpk"]) == (None, None, pytest.approx(2 / 3))


# ------------------------------------------------------------ failed steps and step analysis


def test_most_failed_steps(client: httpx2.Client, plant: Plant) -> None:
    body = {"partNumber": "MODULE-320", "testOperation": "20", **ALWAYS, "topCount": 1000}
    rows = post(client, "TopFailed", body)
    tests = [row for row in truth(plant) if (row["partNumber"], row["processCode"]) == ("MODULE-320", 20)]
    failed = Counter(row["causedUutFailurePath"] for row in tests if row["causedUutFailurePath"])
    assert {row["stepPath"]: row["failCount"] for row in rows} == dict(failed)
    assert {row["totalCount"] for row in rows} == {len(tests)}
    assert [row["failCount"] for row in rows] == sorted(failed.values(), reverse=True)
    assert all(row["stepType"] and row["stepGroup"] == "M" for row in rows)
    assert len(post(client, "TopFailed", ALWAYS)) == 10


def test_failed_steps_of_the_last_days(client: httpx2.Client) -> None:
    query = {
        "partNumber": "",
        "processCode": "20",
        "productGroupId": "",
        "levelId": "",
        "days": "1000",
        "count": "4",
    }
    assert len(client.get("/api/App/TopFailed", params=query).json()) == 4
    assert client.get("/api/App/TopFailed", params=query | {"days": "0"}).json() == []
    for name in query:
        left = {key: value for key, value in query.items() if key != name}
        assert client.get("/api/App/TopFailed", params=left).status_code == 400


def test_step_analysis_agrees_with_the_documents(client: httpx2.Client, plant: Plant) -> None:
    body = {"partNumber": "MODULE-310", "testOperation": "20", **ALWAYS}
    rows = post(client, "TestStepAnalysis", body)
    tests = [row for row in truth(plant) if (row["partNumber"], row["processCode"]) == ("MODULE-310", 20)]
    firsts = [row for row in tests if row["run"] == 1]
    assert rows[0]["stepPath"] == "MainSequence Callback"
    assert rows[0]["stepCount"] == len(firsts) < len(tests)
    assert rows[0]["stepPassedCount"] == sum(row["result"] == "Passed" for row in firsts)
    caused = sum(row["stepCausedUutFailed"] for row in {each["stepPath"]: each for each in rows}.values())
    assert caused == sum(row["result"] == "Failed" for row in firsts)
    rail = next(row for row in rows if row["stepPath"] == RAIL)
    assert rail["measureCount"] <= rail["stepCount"]
    assert rail["measureCountWof"] <= rail["measureCount"]
    assert (rail["compOperator"], rail["limit1"]) == ("GELE", pytest.approx(3.3 * 0.97))
    offsets = {row["measureName"] for row in rows if row["stepName"] == "Offsets"}
    assert offsets >= {"ch0", "ch1", "ch2", "ch3"}
    every = post(client, "TestStepAnalysis", body | {"run": -2})
    assert every[0]["stepCount"] == len(tests)
    assert post(client, "TestStepAnalysis", body | {"maxCount": 3})[0]["stepCount"] == 3


# ------------------------------------------------------------ effectiveness and repairs


def test_equipment_effectiveness(client: httpx2.Client, plant: Plant) -> None:
    found = post(client, "OeeAnalysis", {"partNumber": "PCBA-100"}, availableTime="16,16,16,16,16,0,0")
    tests = [row for row in truth(plant) if row["partNumber"] == "PCBA-100"]
    assert found["totalCount"] == len(tests)
    assert found["goodCount"] == sum(row["result"] == "Passed" for row in tests)
    assert found["oee"] == pytest.approx(
        found["availability"] * found["performance"] * found["quality"] / 10_000
    )
    day = {"dateFrom": "2026-01-05", "dateTo": "2026-01-06"}
    found = post(client, "OeeAnalysis", day, availableTime="16,0,0,0,0,0,0")
    assert found["plannedProductionTime"] == 16 * 60
    for wrong in ("", "24", "a,b,c,d,e,f,g"):
        response = client.post("/api/App/OeeAnalysis", json={}, params={"availableTime": wrong})
        assert response.status_code == 400
    assert client.post("/api/App/OeeAnalysis", json={}).status_code == 400


def test_repairs_of_a_product(client: httpx2.Client, plant: Plant) -> None:
    repair = truth(plant, "R")[0]
    query = {"partNumber": repair["partNumber"], "revision": repair["revision"]}
    rows = client.get("/api/App/RelatedRepairHistory", params=query).json()
    same = [r for r in truth(plant, "R") if all(r[name] == value for name, value in query.items())]
    assert [row["reportId"] for row in rows] == ids(same)
    assert all(row["failStepPath"] and row["repairCode"] for row in rows)
    path = "/api/App/RelatedRepairHistory"
    assert client.get(path, params=query | {"testOperationCode": "77"}).json() == []
    assert client.get(path, params=query | {"repairOperationCode": "500"}).json() == rows
    assert client.get(path, params={"partNumber": "x"}).status_code == 400
