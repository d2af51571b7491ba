"""The code in CONTRIBUTING.md adds a new endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server
from tests.extraction import Extraction
from wats_extract.fake import app
from wats_extract.resources.catalogue import RESOURCES

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_a_new_endpoint_takes_one_declaration_and_one_fixture(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration, fixture, test = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {"Extraction": Extraction}
    for code in (declaration, fixture, test):
        exec(compile(code, PAGE.name, "exec"), names)
    monkeypatch.setitem(RESOURCES, names["LINES"].name, names["LINES"])
    monkeypatch.setattr(app, "ROUTES", (*app.ROUTES, *names["ROUTES"]))

    names["test_lines"](server, tmp_path)
