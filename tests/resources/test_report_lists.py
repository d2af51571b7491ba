"""Lists of reports that are read in time windows equal the server's records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests import expected
from tests.conftest import Server
from tests.extraction import Extraction

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.time_window import TimeWindows
from wats_extract.resources.catalogue import RESOURCES

NAMES = {"uut_reports": "T", "uur_reports": "R"}


def capped(monkeypatch: pytest.MonkeyPatch, name: str, cap: int) -> None:
    """Set the number of rows that one request can return."""
    resource = RESOURCES[name]
    assert isinstance(resource.reader, PagedReader)
    assert isinstance(resource.reader.listing, TimeWindows)
    reader = replace(resource.reader, listing=replace(resource.reader.listing, cap=cap))
    monkeypatch.setitem(RESOURCES, name, replace(resource, reader=reader))


def served(app: App, kind: str) -> dict[str, dict[str, Any]]:
    """The server's reports of one kind as rows of ``report_headers``, by uuid."""
    rows = (expected.header_row(header) for header in app.plant.headers() if header["reportType"] == kind)
    return {row["uuid"]: row for row in rows}


def assert_equal(extraction: Extraction, name: str, reports: dict[str, dict[str, Any]]) -> None:
    rows = extraction.table(name)
    assert len(rows) == len(reports)
    for row in rows:
        report = reports[row["uuid"]]
        for column in RESOURCES[name].table.columns:
            assert row[column.name] == report[column.name], column.name


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize(("name", "cap"), [("uut_reports", 100), ("uur_reports", 7), ("uut_reports", 10_000)])
def test_everything_is_loaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cap: int, kind: str
) -> None:
    capped(monkeypatch, name, cap)
    app, url = server(Plant(300))
    extraction = Extraction(url, tmp_path, kind, names=[name], options={})
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    reports = served(app, NAMES[name])
    assert len(reports) > min(cap, 20)
    assert_equal(extraction, name, reports)
    [covered] = extraction.table("_wats_coverage")
    assert (covered["complete"], covered["rows"]) == (True, len(reports)), "all windows are one range"
    assert extraction.run().exit_code == 0
    assert_equal(extraction, name, reports)
    assert not app.state_changes
    assert {request.method for request in app.requests} == {"POST"}


def test_since_and_until_hold(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capped(monkeypatch, "uut_reports", 50)
    app, url = server(Plant(500))
    since, until = datetime(2026, 1, 6, 8, 30, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)
    extraction = Extraction(url, tmp_path, names=["uut_reports"], options={})
    assert extraction.run(since=since, until=until).exit_code == 0
    reports = {key: row for key, row in served(app, "T").items() if since <= row["start"] < until}
    assert len(reports) > 50
    assert_equal(extraction, "uut_reports", reports)


def test_a_truncated_second_is_a_failure_until_it_can_be_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capped(monkeypatch, "uut_reports", 2)
    app, url = server(Plant(40))
    moment = {"start": "2026-03-01T12:00:00.5Z", "startUTC": "2026-03-01T12:00:00.5Z"}
    for document in map(app.plant.document, sorted(served(app, "T"))[:3]):
        app.plant.receive(document | {"id": str(uuid4())} | moment)
    extraction = Extraction(url, tmp_path, names=["uut_reports"], options={})
    report = extraction.run()
    assert (report.status, report.exit_code) == ("incomplete", 4)
    (failure,) = extraction.table("_wats_failures")
    assert failure["error_code"] == "WINDOW_SATURATED"
    assert failure["key"] == "2026-03-01T12:00:00Z/2026-03-01T12:00:01Z"
    coverage = extraction.table("_wats_coverage")
    assert [row["range_end"] for row in coverage if not row["complete"]] == ["2026-03-01T12:00:01Z"]
    assert extraction.retry().exit_code == 4
    capped(monkeypatch, "uut_reports", 1000)
    assert extraction.retry().exit_code == 0
    assert all(window["complete"] for window in extraction.table("_wats_coverage"))
    assert len(extraction.table("uut_reports")) == len(served(app, "T"))
