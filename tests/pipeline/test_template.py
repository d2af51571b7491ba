"""The files that `init` writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import NOW, SECRET

from wats_extract.pipeline import loading
from wats_extract.pipeline.job import selection
from wats_extract.pipeline.schema import json_schema
from wats_extract.pipeline.template import ENV_EXAMPLE, GITIGNORE, template


def test_the_template_is_valid(load: Any) -> None:
    read = load(template())
    assert (read.source.demo is not None, [each.name for each in read.resources]) == (
        True,
        ["report_headers", "reports"],
    )


def test_the_commented_lines_of_the_template_are_valid(load: Any) -> None:
    text = re.sub(r"(?m)^( *)# ?(\w+: )", r"\1\2", template())
    read = load(text, WATS_URL="https://acme.wats.com", WATS_TOKEN=SECRET)
    assert read.source.max_requests == 20000
    assert read.resources[0].filter == {"part_number": ["PCBA-100", "PCBA-200"], "result": "Failed"}


def test_the_env_example_has_every_variable_of_the_template() -> None:
    names = set(re.findall(r"\$\{(WATS_\w+)", template()))
    assert names == set(re.findall(r"(?m)^(\w+)=$", ENV_EXAMPLE))
    assert ".env" in GITIGNORE.splitlines()


def test_the_resources_of_the_template_exist(tmp_path: Path) -> None:
    catalogue = pytest.importorskip("wats_extract.resources.catalogue").RESOURCES
    path = tmp_path / "reports.yaml"
    path.write_text(template(), encoding="utf-8")
    read = loading.load(path, catalogue=catalogue, environ={})
    for each in read.resources:
        assert selection(each, catalogue[each.name], now=NOW).since == datetime(2026, 1, 1, tzinfo=UTC)
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(json_schema(catalogue))
