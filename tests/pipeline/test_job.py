"""What a run takes from a pipeline file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE, NOW, text_with

from wats_extract.errors import ConfigurationError
from wats_extract.pipeline import loading
from wats_extract.pipeline.job import (
    Overrides,
    backfill_job,
    disposition,
    fingerprint,
    job_of,
    selection,
)
from wats_extract.pipeline.model import Pipeline, ResourceConfig
from wats_extract.pipeline.source import Source
from wats_extract.resources.catalogue import RESOURCES


def test_the_selection_of_a_resource(load: Any) -> None:
    read = load(
        text_with(
            resources="""\
            resources:
              - name: report_headers
                since: 30 days ago
                until: now
                filter: {part_number: [A, B], report_type: UUT}
                expand: [subUnits]
              - name: reports
                filter: " partNumber eq 'A' or partNumber eq 'B' "
                chunk_size: 5
                attachments: content
            """
        )
    )
    headers, reports = (selection(each, CATALOGUE[each.name], now=NOW) for each in read.resources)
    assert (headers.since, headers.until) == (NOW - timedelta(days=30), NOW)
    assert headers.filter == "partNumber in ('A','B') and reportType eq 'T'"
    assert headers.options["expand"] == ("subUnits",)
    assert (reports.since, reports.until, reports.limit) == (None, None, None)
    assert reports.filter == "partNumber eq 'A' or partNumber eq 'B'"
    assert dict(reports.options) == {
        "chunk_size": 5,
        "attachments": "content",
        "charts": True,
        "keep_raw": False,
    }


def test_a_selection_is_checked_after_the_command_line_changed_it() -> None:
    config = ResourceConfig(name="reports", since="2026-01-01")
    turned = config.model_copy(update={"until": "2025-01-01"})
    with pytest.raises(
        ConfigurationError, match=r"until: should be later than since \(2026-01-01\), not 2025-01-01"
    ):
        selection(turned, CATALOGUE["reports"], now=NOW)
    with pytest.raises(ConfigurationError, match="is not a date"):
        selection(config.model_copy(update={"since": "soon"}), CATALOGUE["reports"], now=NOW)


def test_the_fingerprint_has_ages_as_written() -> None:
    one = ResourceConfig(name="reports", since="30 days ago", filter={"result": "P", "part_number": ["A"]})
    other = ResourceConfig(
        name="reports", since="30 days ago", filter={"part_number": ["A"], "result": "P"}, charts=False
    )
    server = Source(url="https://one.wats.com")
    assert fingerprint(one, server) == fingerprint(other, server)
    assert json.loads(fingerprint(one, server)) == {
        "since": "30 days ago",
        "until": None,
        "filter": {"part_number": ["A"], "result": "P"},
        "server": "https://one.wats.com",
    }
    later = one.model_copy(update={"since": "31 days ago"})
    assert fingerprint(one, server) != fingerprint(later, server)


def test_the_fingerprint_depends_on_the_server() -> None:
    config = ResourceConfig(name="reports")
    servers = [
        "demo",
        "demo?reports=5",
        "https://one.wats.com",
        "https://two.wats.com",
        "https://one.wats.com:8443",
        "https://one.wats.com/wats",
        "http://127.0.0.1:80",
        "http://127.0.0.1:81",
    ]
    prints = {fingerprint(config, Source(url=url)) for url in servers}
    assert len(prints) == len(servers)
    assert fingerprint(config, Source(url="https://One.wats.com:443/api/")) in prints
    moved = {fingerprint(config, Source(url=url, id="plant-a")) for url in servers[2:]}
    assert len(moved) == 1, "a server with an id may be reached under any address"


def test_without_a_server_the_fingerprint_is_that_of_the_recorded_one() -> None:
    config, url = ResourceConfig(name="reports"), "https://one.wats.com"
    assert fingerprint(config, Source(), server=url) == fingerprint(config, Source(url=url))


def test_a_job_has_the_identity_of_the_server(pipeline: Pipeline) -> None:
    assert job_of(pipeline, Overrides()).server == "demo"


def test_the_disposition_depends_on_the_key() -> None:
    config = ResourceConfig(name="reports")
    assert disposition(config, CATALOGUE["reports"]) == "merge"
    assert disposition(config, CATALOGUE["yields"]) == "replace"
    chosen = ResourceConfig(name="reports", write_disposition="append")
    assert disposition(chosen, CATALOGUE["reports"]) == "append"


# ── the job of a run ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Reports, which can be selected by time, and products, which cannot."""
    path = tmp_path / "p.yaml"
    path.write_text(text_with(resources="resources: [{name: reports}, {name: products}]\n"), encoding="utf-8")
    return loading.load(path, catalogue=RESOURCES, environ={})


def test_only_names_resources_of_the_file(pipeline: Pipeline) -> None:
    assert [task.resource.name for task in job_of(pipeline, Overrides(["products"])).tasks] == ["products"]
    assert [task.resource.name for task in job_of(pipeline, Overrides("products")).tasks] == ["products"]
    assert [task.resource.name for task in job_of(pipeline, Overrides()).tasks] == ["reports", "products"]
    with pytest.raises(
        ConfigurationError, match=r"--only report: .* \(did you mean 'reports'\?\)"
    ) as refused:
        job_of(pipeline, Overrides(["report"]))
    assert refused.value.hint == "It has reports, products."


def test_since_applies_to_the_resources_that_can_be_selected_by_time(pipeline: Pipeline) -> None:
    plain, dated = (job_of(pipeline, Overrides(since=since)).tasks for since in (None, "2026-01-01"))
    assert dated[0].selection.since == datetime(2026, 1, 1, tzinfo=UTC)
    assert json.loads(dated[0].fingerprint)["since"] == "2026-01-01"
    assert dated[1] == plain[1], "the cursor of products stays where it is"
    with pytest.raises(ConfigurationError, match="since cannot be used: no resource of this run can be"):
        job_of(pipeline, Overrides(["products"], since="2026-01-01"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(limit=0), "limit: should be a whole number from 1, not 0"),
        (Overrides(since="soon"), "since: 'soon' is not a date"),
        (Overrides(since="2026-01-02", until="2026-01-01"), "until: should be later than since"),
    ],
)
def test_overrides_are_checked_like_the_file(pipeline: Pipeline, overrides: Overrides, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        job_of(pipeline, overrides)


def test_a_backfill_has_cursors_of_its_own(pipeline: Pipeline) -> None:
    (task,) = backfill_job(pipeline, since="2026-01-01", until="2026-02-01T00:00:00.5").tasks
    assert task.resource.name == "reports"
    assert json.loads(task.fingerprint) == {
        "backfill": True,
        "since": "2026-01-01T00:00:00+00:00",
        "until": "2026-02-01T00:00:00.500000+00:00",
        "filter": None,
        "server": "demo",
    }


@pytest.mark.parametrize(
    ("only", "since", "until", "message"),
    [
        ("products", "2026-01-01", "now", "products cannot be selected by time, so it cannot be backfilled"),
        ("report", "2026-01-01", "now", r"--only report: .* \(did you mean 'reports'\?\)"),
        ((), "2026-01-01", "2026-01-01", r"--to \(2026-01-01\) should be later than --from \(2026-01-01\)"),
        ((), "soon", "now", "'soon' is not a date"),
    ],
)
def test_a_wrong_backfill_is_refused(
    pipeline: Pipeline, only: Any, since: str, until: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        backfill_job(pipeline, since=since, until=until, only=only)


def test_a_pipeline_without_times_cannot_be_backfilled(pipeline: Pipeline) -> None:
    products = pipeline.model_copy(update={"resources": pipeline.resources[1:]})
    with pytest.raises(ConfigurationError, match="the pipeline has no resource that can be selected by time"):
        backfill_job(products, since="2026-01-01", until="now")
