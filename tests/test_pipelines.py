"""Every file in ``pipelines/`` runs unchanged against the embedded server."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

import wats_extract as wx
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.resources.catalogue import DOMAINS, RESOURCES

FILES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.yaml"))
REPORTS = 80


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WATS_URL", f"demo?reports={REPORTS}")


REPORTS_ONLY = [file for file in FILES if file.stem in ("headers_parquet", "reports")]
"""Files whose resources have one item per report."""

OTHERS = [file for file in FILES if file not in REPORTS_ONLY]


@pytest.mark.parametrize("file", REPORTS_ONLY, ids=lambda file: file.name)
def test_the_second_run_finds_nothing_new(file: Path) -> None:
    first, second = wx.run(file), wx.run(file)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert {name: each.items for name, each in first.resources.items()} == dict.fromkeys(
        first.resources, REPORTS
    )
    assert {each.items for each in second.resources.values()} == {0}
    assert second.requests <= 2 * len(second.resources)


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.name)
def test_the_second_run_adds_no_rows(file: Path) -> None:
    first = wx.run(file)
    landed = rows_of(file)
    assert first.exit_code == 0, first.message
    assert all(each.items > 0 for each in first.resources.values())
    assert set(landed) == {table for each in first.resources.values() for table in each.tables}

    second = wx.run(file)
    assert second.exit_code == 0, second.message
    assert rows_of(file) == landed
    cursors = [name for name in second.resources if RESOURCES[name].cursor]
    assert [name for name in cursors if second.resources[name].items] == []
    assert sum(second.resources[name].requests for name in cursors) <= 3 * len(cursors)


def rows_of(file: Path) -> dict[str, int]:
    """The number of rows of each table that is not empty."""
    pipeline = load(file, catalogue=RESOURCES)
    tables = [table for config in pipeline.resources for table in RESOURCES[config.name].tables]
    destination = destination_of(pipeline)
    destination.open(read_only=True)
    try:
        return {name: rows for name, rows in destination.count(tables).items() if rows}
    finally:
        destination.close()


def test_the_files_cover_every_domain_and_resource() -> None:
    stems = {file.stem for file in FILES}
    named = {config.name for file in FILES for config in load(file, catalogue=RESOURCES).resources}

    assert {"users" if domain == "scim" else domain for domain in DOMAINS} <= stems
    assert set(RESOURCES) - named == {"product_revision_details"}, "that one costs one request per revision"


def test_reports_are_loaded_into_duckdb() -> None:
    wx.run(next(file for file in FILES if file.name == "reports.yaml"))

    with duckdb.connect("data/wats.duckdb", read_only=True) as database:
        headers, reports, orphans = database.sql(
            "SELECT (SELECT count(*) FROM report_headers), (SELECT count(*) FROM reports), "
            "(SELECT count(*) FROM steps ANTI JOIN reports ON report_uuid = uuid)"
        ).fetchall()[0]
    assert (headers, reports, orphans) == (REPORTS, REPORTS, 0)


def test_headers_are_loaded_into_parquet() -> None:
    wx.run(next(file for file in FILES if file.name == "headers_parquet.yaml"))

    headers = pl.scan_parquet("data/wats/report_headers/*.parquet").collect()
    misc_infos = pl.scan_parquet("data/wats/header_misc_infos/*.parquet").collect()
    assert headers["uuid"].n_unique() == headers.height == REPORTS
    assert misc_infos.height > 0
    assert set(misc_infos["report_uuid"]) <= set(headers["uuid"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_url_and_token_come_from_the_environment(file: Path) -> None:
    lines = [line.split("#")[0].rstrip() for line in file.read_text(encoding="utf-8").splitlines()]

    assert "  url: ${WATS_URL:-demo}" in lines
    assert "  token: ${WATS_TOKEN:-}" in lines
    assert not any("requests_per_minute" in line for line in lines)
