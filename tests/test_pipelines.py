"""Every file in ``pipelines/`` runs unchanged against the embedded server."""

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

import wats_extract as wx
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.resources.catalogue import DOMAINS, RESOURCES

PIPELINES = Path(__file__).parents[1] / "pipelines"
FILES = sorted(file.name for file in PIPELINES.glob("*.yaml"))
REPORTS = 80


@pytest.fixture(autouse=True)
def _copy_into_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PIPELINES, tmp_path / "pipelines")
    monkeypatch.chdir(tmp_path)
    for name in ("WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WATS_URL", f"demo?reports={REPORTS}")


REPORTS_ONLY = ["headers_parquet.yaml", "reports.yaml"]
"""Files whose resources have one item per report."""

OTHERS = [file for file in FILES if file not in REPORTS_ONLY]


@pytest.mark.parametrize("name", REPORTS_ONLY)
def test_the_second_run_finds_nothing_new(name: str) -> None:
    file = Path("pipelines", name)
    first, second = wx.run(file), wx.run(file)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert {name: each.items for name, each in first.resources.items()} == dict.fromkeys(
        first.resources, REPORTS
    )
    assert {each.items for each in second.resources.values()} == {0}
    assert second.requests <= 2 * len(second.resources)


@pytest.mark.parametrize("name", OTHERS)
def test_the_second_run_adds_no_rows(name: str) -> None:
    file = Path("pipelines", name)
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
    configs = [each for name in FILES for each in load(PIPELINES / name, catalogue=RESOURCES).resources]
    named = {config.name for config in configs}

    assert {f"{'users' if domain == 'scim' else domain}.yaml" for domain in DOMAINS} <= set(FILES)
    assert set(RESOURCES) - named == {"product_revision_details"}, "that one costs one request per revision"


def test_reports_are_loaded_into_duckdb() -> None:
    wx.run("pipelines/reports.yaml")

    with duckdb.connect("data/wats.duckdb", read_only=True) as database:
        headers, reports, orphans = database.sql(
            "SELECT (SELECT count(*) FROM report_headers), (SELECT count(*) FROM reports), "
            "(SELECT count(*) FROM steps ANTI JOIN reports ON report_uuid = uuid)"
        ).fetchall()[0]
    assert (headers, reports, orphans) == (REPORTS, REPORTS, 0)


def test_headers_are_loaded_into_parquet() -> None:
    wx.run("pipelines/headers_parquet.yaml")

    headers = pl.scan_parquet("data/wats/report_headers/*.parquet").collect()
    misc_infos = pl.scan_parquet("data/wats/header_misc_infos/*.parquet").collect()
    assert headers["uuid"].n_unique() == headers.height == REPORTS
    assert misc_infos.height > 0
    assert set(misc_infos["report_uuid"]) <= set(headers["uuid"])


@pytest.mark.parametrize("name", FILES)
def test_url_and_token_come_from_the_environment(name: str) -> None:
    text = (PIPELINES / name).read_text(encoding="utf-8")
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]

    assert "  url: ${WATS_URL}" in lines
    assert "  token: ${WATS_TOKEN}" in lines
    assert any(line.startswith("  path: ../data/") for line in lines)
    assert not any("requests_per_minute" in line for line in lines)
