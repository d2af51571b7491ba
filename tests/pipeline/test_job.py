"""What a run takes from a pipeline file."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE, NOW, text_with

from wats_extract.errors import ConfigurationError
from wats_extract.pipeline.job import disposition, fingerprint, selection
from wats_extract.pipeline.model import ResourceConfig
from wats_extract.pipeline.source import Source


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
        "server": "one.wats.com",
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
        "http://127.0.0.1:80",
    ]
    prints = {fingerprint(config, Source(url=url)) for url in servers}
    assert len(prints) == len(servers)
    again = Source(url="http://127.0.0.1:81/wats")
    assert fingerprint(config, again) in prints, "a tunnel may get another port"


def test_the_disposition_depends_on_the_key() -> None:
    config = ResourceConfig(name="reports")
    assert disposition(config, CATALOGUE["reports"]) == "merge"
    assert disposition(config, CATALOGUE["yields"]) == "replace"
    chosen = ResourceConfig(name="reports", write_disposition="append")
    assert disposition(chosen, CATALOGUE["reports"]) == "append"
