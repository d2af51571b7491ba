"""A plan says exactly what the next run does, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.extraction import Extraction

from wats_extract.engine import planning
from wats_extract.engine.planning import Plan, plan
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant

Server = Callable[..., tuple[App, str]]
NAMES = ["processes", "products", "report_headers", "reports"]


@pytest.fixture(params=["duckdb", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def planned(extraction: Extraction, *, max_requests: int | None = None) -> Plan:
    with extraction.client(max_requests=max_requests) as client:
        return plan(extraction.job(), client)


def test_a_plan_predicts_the_next_run(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(130)
    _, url = server(plant, page_cap=50)
    extraction = Extraction(url, tmp_path, kind, NAMES)
    for expected in (130, 0, 7):
        if expected == 7:
            plant.grow(5)
            for uuid in plant.uuids()[10:12]:
                plant.receive_again(uuid)
        before = sorted(tmp_path.rglob("*.parquet"))
        found = planned(extraction).resources
        assert sorted(tmp_path.rglob("*.parquet")) == before
        report = extraction.run()
        for name in ("report_headers", "reports"):
            assert found[name].new == report.resources[name].items == expected
            assert found[name].requests == report.resources[name].requests
        assert found["processes"].requests == report.resources["processes"].requests == 1
        assert (found["products"].requests, found["products"].at_least) == (1, True)
        assert bool(found["reports"].bytes) is bool(expected)
        assert found["report_headers"].bytes is None


def test_a_plan_shows_the_cursor_that_the_run_starts_from(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    extraction = Extraction(url, tmp_path)
    assert planned(extraction).resources["reports"].cursor is None
    assert not list(tmp_path.iterdir())
    report = extraction.run()
    assert planned(extraction).resources["reports"].cursor == report.resources["reports"].cursor
    extraction.disposition = "replace"
    assert planned(extraction).resources["reports"].new == 20, "replace reads everything each time"


def test_open_failures_are_counted_and_left_to_retry(server: Server, tmp_path: Path) -> None:
    plant = Plant(20)
    _, url = server(plant, faults=Faults(broken={plant.uuids()[3]: "404"}))
    extraction = Extraction(url, tmp_path)
    extraction.run()
    found = planned(extraction)
    assert (found.resources["reports"].new, found.open_failures) == (0, 1)


def test_the_duration_follows_from_the_rate_limit(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, names=["reports"])
    with extraction.client(requests_per_minute=60) as client:
        found = plan(extraction.job(), client).resources["reports"]
    assert found.seconds == found.requests == 22
    assert planned(extraction).resources["reports"].seconds is None


def test_planning_reads_a_limited_part_of_a_list(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = server(Plant(200), page_cap=20)
    extraction = Extraction(url, tmp_path, names=["reports"])
    spent = planned(extraction, max_requests=3).resources["reports"]
    assert spent.at_least
    assert 0 < (spent.new or 0) < 200
    monkeypatch.setattr(planning, "MOST_PAGES", 2)
    looked = planned(extraction).resources["reports"]
    assert looked.at_least
    assert 0 < (looked.new or 0) < 200


def test_documents_are_counted_by_their_keys(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(60))
    names = ["unit_verifications", "asset_statuses", "high_volume", "vendors", "assets"]
    extraction = Extraction(url, tmp_path, names=names, options={})
    found = planned(extraction).resources
    report = extraction.run()
    for name in ("unit_verifications", "asset_statuses", "high_volume"):
        done = report.resources[name]
        assert (found[name].new, found[name].requests) == (done.items, done.requests), name
    assert (found["vendors"].requests, found["vendors"].at_least) == (1, False)
    assert (found["assets"].new, found["assets"].requests, found["assets"].at_least) == (None, 1, True)
