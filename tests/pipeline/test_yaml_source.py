"""Files that cannot be read, and YAML that is not a pipeline file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE

from wats_extract.errors import PipelineFileError
from wats_extract.pipeline import loading


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "reports.yaml").touch()
    with pytest.raises(
        PipelineFileError, match=r"report\.yaml: there is no such file \(did you mean .*reports\.yaml"
    ):
        loading.load(tmp_path / "report.yaml", catalogue=CATALOGUE, environ={})
    with pytest.raises(PipelineFileError, match="`wats-extract init` writes one"):
        loading.load(tmp_path / "missing" / "zzz", catalogue=CATALOGUE, environ={})


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match="is a folder; name the file in it"):
        loading.load(tmp_path, catalogue=CATALOGUE, environ={})


@pytest.mark.skipif(sys.platform == "win32" or getattr(os, "geteuid", lambda: 1)() == 0, reason="permissions")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reports.yaml"
    path.touch(mode=0)
    with pytest.raises(PipelineFileError, match="cannot be read: Permission denied"):
        loading.load(path, catalogue=CATALOGUE, environ={})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("version: 1\nname: Prüfling\n".encode("latin-1"), r"yaml:2: is not UTF-8 text"),
        ("version: 1\n".encode("utf-16"), r"yaml:1: is not UTF-8 text"),
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", r"yaml:1: should hold keys such as version"),
        (b"hello", r"yaml:1: should hold keys such as version"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: &a [*a]", "contains an alias"),
    ],
)
def test_text_that_is_not_a_pipeline_file_is_refused(load: Any, data: bytes, message: str) -> None:
    with pytest.raises(PipelineFileError, match=message):
        load(data)
