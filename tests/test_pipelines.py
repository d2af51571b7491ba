"""Every file in ``pipelines/`` runs as it is, against the embedded server."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

import wats_extract as wx

FILES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.yaml"))
REPORTS = 80


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WATS_URL", f"demo?reports={REPORTS}")


WHOLE = ("headers_parquet", "reports")
"""Files whose resources land each report, and nothing else."""


@pytest.mark.parametrize("file", [f for f in FILES if f.stem in WHOLE], ids=lambda file: file.name)
def test_runs_and_then_finds_nothing_new(file: Path) -> None:
    first, second = wx.run(file), wx.run(file)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert {name: each.items for name, each in first.resources.items()} == dict.fromkeys(
        first.resources, REPORTS
    )
    assert {each.items for each in second.resources.values()} == {0}
    assert second.requests <= 2 * len(second.resources)


def test_master_data_lands_whole_each_time_and_nothing_twice() -> None:
    file = next(file for file in FILES if file.name == "master_data.yaml")
    counts = []
    for _ in range(2):
        report = wx.run(file)
        assert report.exit_code == 0
        with duckdb.connect("data/wats_master_data.duckdb", read_only=True) as database:
            tables = [table for each in report.resources.values() for table in each.tables]
            counts.append([database.sql(f'SELECT count(*) FROM "{name}"').fetchall() for name in tables])
    assert counts[0] == counts[1]
    assert report.resources["asset_logs"].items == 0, "only new entries are read"


@pytest.mark.parametrize("name", ["units", "report_files"])
def test_only_what_is_new_is_read(name: str) -> None:
    file = next(file for file in FILES if file.stem == name)
    first, second = wx.run(file), wx.run(file)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert all(each.items > 0 for each in first.resources.values())
    assert {each.items for each in second.resources.values()} == {0}
    assert second.requests <= 2 * len(second.resources)


def test_reports_land_in_duckdb() -> None:
    wx.run(next(file for file in FILES if file.name == "reports.yaml"))

    with duckdb.connect("data/wats.duckdb", read_only=True) as database:
        headers, reports, orphans = database.sql(
            "SELECT (SELECT count(*) FROM report_headers), (SELECT count(*) FROM reports), "
            "(SELECT count(*) FROM steps ANTI JOIN reports ON report_uuid = uuid)"
        ).fetchall()[0]
    assert (headers, reports, orphans) == (REPORTS, REPORTS, 0)


def test_headers_land_in_parquet() -> None:
    wx.run(next(file for file in FILES if file.name == "headers_parquet.yaml"))

    headers = pl.scan_parquet("data/wats/report_headers/*.parquet").collect()
    misc_infos = pl.scan_parquet("data/wats/header_misc_infos/*.parquet").collect()
    assert headers["uuid"].n_unique() == headers.height == REPORTS
    assert misc_infos.height > 0
    assert set(misc_infos["report_uuid"]) <= set(headers["uuid"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_ready_for_a_real_server(file: Path) -> None:
    lines = [line.split("#")[0].rstrip() for line in file.read_text(encoding="utf-8").splitlines()]

    assert "  url: ${WATS_URL:-demo}" in lines
    assert "  token: ${WATS_TOKEN:-}" in lines
    assert not any("requests_per_minute" in line for line in lines)
