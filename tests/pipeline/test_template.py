"""The files that `init` writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import NOW, SECRET, SERVER

from wats_extract.pipeline import loading
from wats_extract.pipeline.job import selection
from wats_extract.pipeline.schema import json_schema
from wats_extract.pipeline.template import ENV_EXAMPLE, GITIGNORE, template


def test_the_template_is_valid(load: Any, tmp_path: Path) -> None:
    read = load(template(), WATS_TOKEN=SECRET)
    assert (read.source.url, [each.name for each in read.resources]) == (
        SERVER,
        ["report_headers", "reports"],
    )
    assert read.destination.path == tmp_path.parent / "data" / "wats.duckdb"


def test_the_commented_lines_of_the_template_are_valid(load: Any) -> None:
    text = re.sub(r"(?m)^( *)# ?(\w+: )", r"\1\2", template())
    read = load(text, WATS_URL="https://acme.wats.com", WATS_TOKEN=SECRET)
    assert (read.source.max_requests, read.source.id) == (20000, "plant-a")
    assert read.resources[0].filter == {"part_number": ["PCBA-100", "PCBA-200"], "result": "Failed"}


def test_the_env_example_has_every_variable_of_the_template() -> None:
    names = set(re.findall(r"\$\{(WATS_\w+)", template()))
    assert names == set(re.findall(r"(?m)^(\w+)=$", ENV_EXAMPLE))
    assert ".env" in GITIGNORE.splitlines()


def test_the_resources_of_the_template_exist(tmp_path: Path) -> None:
    catalogue = pytest.importorskip("wats_extract.resources.catalogue").RESOURCES
    path = tmp_path / "reports.yaml"
    path.write_text(template(), encoding="utf-8")
    read = loading.load(path, catalogue=catalogue, environ={}, demo=True)
    for each in read.resources:
        assert selection(each, catalogue[each.name], now=NOW).since == datetime(2026, 1, 1, tzinfo=UTC)
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(json_schema(catalogue))
