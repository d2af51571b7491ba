"""Yield and repairs by dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.yields import REPAIR_DIMENSIONS, YIELD_DIMENSIONS, YIELD_KPIS

Connect = Callable[..., httpx2.Client]
Row = dict[str, Any]
ALWAYS = {"dateFrom": "2020-01-01T00:00:00", "dateTo": "2040-01-01T00:00:00", "topCount": 100_000}


def post(client: httpx2.Client, route: str, body: dict[str, object] | None = None, **query: str) -> list[Row]:
    response = client.post(f"/api/App/{route}", json=body, params=query)
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def uut_rows(plant: Plant) -> list[Row]:
    return [row for row in plant.headers() if row["reportType"] == "T"]


def test_yield_agrees_with_the_reports(client: httpx2.Client, plant: Plant) -> None:
    rows = post(client, "DynamicYield", ALWAYS, dimensions="partNumber;testOperation")
    runs: dict[tuple[str, str], dict[str, dict[int, bool]]] = {}
    for row in uut_rows(plant):
        units = runs.setdefault((row["partNumber"], row["processName"]), {})
        units.setdefault(row["serialNumber"], {})[row["run"]] = row["result"] == "Passed"
    assert {(row["partNumber"], row["testOperation"]) for row in rows} == set(runs)
    for row in rows:
        units = [each for each in runs[row["partNumber"], row["testOperation"]].values() if 1 in each]
        assert row["unitCount"] == len(units)
        assert row["fpCount"] == sum(each[1] for each in units)
        assert row["spCount"] == sum(each[1] or each.get(2, False) for each in units)
        assert row["lpCount"] == sum(each[max(each)] for each in units)
        assert row["fpFailCount"] == row["unitCount"] - row["fpCount"]
        assert row["fpy"] == pytest.approx(100 * row["fpCount"] / row["unitCount"])
        assert row["ppmFpy"] == pytest.approx(1e6 * (1 - row["fpCount"] / row["unitCount"]), abs=1)
    assert sum(row["testReportCount"] for row in rows) == len(uut_rows(plant))


def test_response_has_only_the_requested_kpis(client: httpx2.Client) -> None:
    (row, *_) = post(client, "DynamicYield", ALWAYS, dimensions="PARTNUMBER;unitcount desc;fpy")
    assert list(row) == ["partNumber", "unitCount", "fpy"]
    (row, *_) = post(client, "DynamicYield", ALWAYS, dimensions="partNumber")
    assert set(row) == {"partNumber", *YIELD_KPIS}
    (row, *_) = post(client, "DynamicYield", ALWAYS)
    assert set(row) == {"partNumber", "testOperation", *YIELD_KPIS}


def test_every_dimension_counts_every_report(client: httpx2.Client, plant: Plant) -> None:
    total = len(uut_rows(plant))
    for name in YIELD_DIMENSIONS:
        rows = post(
            client, "DynamicYield", ALWAYS | {"dimensions": f"{name};testReportCount", "dateGrouping": 4}
        )
        values = [row[name] for row in rows]
        assert len(values) == len(set(values))
        counted = sum(row["testReportCount"] for row in rows)
        several = name in (
            "productGroup",
            "miscInfoDescription",
            "miscInfoString",
            "assetSerialNumber",
            "assetName",
        )
        assert counted > total if several else counted == total


def test_default_is_ten_rows(client: httpx2.Client) -> None:
    body = {"dateFrom": "2020-01-01", "dateTo": "2040-01-01"}
    assert len(post(client, "DynamicYield", body, dimensions="batchNumber")) == 10
    assert len(post(client, "DynamicYield", body | {"topCount": 11}, dimensions="batchNumber")) == 11


def test_order(client: httpx2.Client) -> None:
    rows = post(client, "DynamicYield", ALWAYS, dimensions="unitCount desc;stationName;testReportCount")
    keys = [(-row["unitCount"], row["stationName"].casefold()) for row in rows]
    assert keys == sorted(keys)
    rows = post(client, "DynamicYield", ALWAYS, dimensions="stationName desc")
    assert [row["stationName"] for row in rows] == sorted((r["stationName"] for r in rows), reverse=True)


@pytest.mark.parametrize("text", ["colour", "partNumber down", "fpyTrend desc", "repairCode"])
def test_invalid_dimensions_are_refused(client: httpx2.Client, text: str) -> None:
    assert client.post("/api/App/DynamicYield", json={}, params={"dimensions": text}).status_code == 400


def test_unit_counts_by_its_first_run(connect: Connect) -> None:
    plant = Plant(0)
    for run, (day, station, result) in enumerate([("05", "A", "F"), ("07", "B", "F"), ("09", "B", "P")], 1):
        plant.receive({"type": "T", "sn": "1", "pn": "p", "result": result, "machineName": station,
                       "start": f"2026-01-{day}T10:00:00Z"}, run=run)  # fmt: skip
    client = connect(App(plant))

    def counts(**body: object) -> tuple[int, ...]:
        (row,) = post(client, "DynamicYield", ALWAYS | body, dimensions="partNumber")
        return tuple(
            row[name] for name in ("unitCount", "fpCount", "spCount", "tpCount", "lpCount", "testReportCount")
        )

    assert counts() == (1, 0, 0, 1, 1, 3)
    assert counts(dateTo="2026-01-06") == (1, 0, 0, 1, 1, 1)
    assert counts(stationName="B") == (0, 0, 0, 0, 0, 2)
    assert counts(dateFrom="2026-01-06")[0] == 0


def test_time_ranges(client: httpx2.Client, plant: Plant) -> None:
    def reports(**body: object) -> int:
        rows = post(client, "DynamicYield", body, dimensions="testReportCount")
        return sum(row["testReportCount"] for row in rows)

    assert reports() == len(uut_rows(plant))
    assert reports(periodCount=3) == 0
    day = reports(periodCount=1, includeCurrentPeriod=True, dateGrouping=4)
    since = plant.now + 1 - clock.DAY
    assert day == sum(clock.parse(row["start"]) >= since for row in uut_rows(plant)) > 0


def test_periods_add_up(client: httpx2.Client, plant: Plant) -> None:
    body = ALWAYS | {"dateGrouping": 4}
    rows = post(client, "DynamicYield", body, dimensions="period;testReportCount")
    days = Counter(clock.utc(clock.parse(row["start"]))[:10] for row in uut_rows(plant))
    assert {row["period"]: row["testReportCount"] for row in rows} == dict(days)
    (row,) = post(client, "DynamicYield", ALWAYS | {"dateGrouping": -1}, dimensions="period")
    assert row["period"] is None
    assert client.post("/api/App/DynamicYield", json={"dateGrouping": 9}).status_code == 400


def test_yields_can_be_fractions(plant: Plant, connect: Connect) -> None:
    rows = post(connect(App(plant, yield_fractions=True)), "DynamicYield", ALWAYS)
    assert max(row["fpy"] for row in rows) == 1.0


# ------------------------------------------------------------ lists


@pytest.mark.parametrize("route", ["VolumeYield", "HighVolume", "WorstYield"])
def test_lists_of_the_last_days(client: httpx2.Client, route: str) -> None:
    path, query = f"/api/App/{route}", {"days": "30", "productGroupId": "", "levelId": ""}
    rows = client.get(path, params=query).json()
    assert rows == post(client, route, {})
    by, descending = ("fpy", False) if route == "WorstYield" else ("unitCount", True)
    assert [row[by] for row in rows] == sorted((row[by] for row in rows), reverse=descending)
    boards = client.get(path, params=query | {"productGroupId": "2"}).json()
    assert {row["partNumber"][:4] for row in boards} == {"PCBA"}
    for name in query:
        left = {key: value for key, value in query.items() if key != name}
        assert client.get(path, params=left).status_code == 400


def test_min_count_and_top_count(client: httpx2.Client) -> None:
    every = post(client, "HighVolume", ALWAYS)
    large = post(client, "HighVolume", ALWAYS | {"minCount": 20})
    assert 0 < len(large) < len(every)
    assert all(row["unitCount"] >= 20 for row in large)
    assert post(client, "HighVolume", {"topCount": 2}) == every[:2]
    assert "period" in post(client, "VolumeYield", ALWAYS | {"grouping": 3})[0]


@pytest.mark.parametrize("route", ["HighVolumeByProductGroup", "WorstYieldByProductGroup"])
def test_lists_by_product_group(client: httpx2.Client, route: str) -> None:
    rows = post(client, route, ALWAYS)
    assert {row["productGroup"] for row in rows} == {"All products", "Boards", "Modules", "Units"}
    counts = {row["productGroup"]: row["unitCount"] for row in rows}
    assert counts["All products"] >= counts["Boards"] + counts["Modules"] + counts["Units"]


# ------------------------------------------------------------ repairs


def test_repairs_agree_with_the_documents(client: httpx2.Client, plant: Plant) -> None:
    documents = [plant.document(row["uuid"]) for row in plant.headers() if row["reportType"] == "R"]
    codes = Counter(
        failure["code"]
        for each in documents
        for unit in each["subUnits"]
        for failure in unit.get("failures", ())
    )
    rows = post(client, "DynamicRepair", ALWAYS, dimensions="repairCode;repairCount desc")
    assert {row["repairCode"]: row["repairCount"] for row in rows} == dict(codes)
    assert list(rows[0]) == ["repairCode", "repairCount"]
    (total,) = post(client, "DynamicRepair", ALWAYS, dimensions="repairReportCount")
    assert total == {"repairReportCount": len(documents)}


def test_every_dimension_of_repairs(client: httpx2.Client, plant: Plant) -> None:
    for name in REPAIR_DIMENSIONS:
        rows = post(client, "DynamicRepair", ALWAYS | {"dateGrouping": 4}, dimensions=name)
        assert rows
        assert list(rows[0]) == [name, "repairReportCount", "repairCount"]
    tested = post(client, "DynamicRepair", ALWAYS, dimensions="testOperation;referencedStepPath")
    assert all(row["testOperation"] and row["referencedStepPath"] for row in tested)
    (row, *_) = post(client, "DynamicRepair", ALWAYS)
    assert set(row) == {"partNumber", "repairOperation", "repairCount", "repairReportCount"}
