"""What all tests share: the embedded server on loopback, destinations in temporary folders, real samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

TOKEN = "bWFya2VyLXRva2Vu"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with WATS's own documents; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "wats"
    if not folder.is_dir():
        pytest.skip("WATS's documents (../shared/wats) are absent")
    return folder


@pytest.fixture(scope="session")
def samples(shared: Path) -> dict[str, dict[str, Any]]:
    """Real WSJF documents by file name."""
    found = sorted((shared / "samples").glob("uu*.json"))
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


@pytest.fixture
def server() -> Iterator[Callable[..., tuple[App, str]]]:
    """Start an embedded server: ``server(plant, **quirks)`` gives the app and its address."""
    with ExitStack() as stack:

        def start(plant: Plant | None = None, **options: Any) -> tuple[App, str]:
            app = App(plant or Plant(60), token=TOKEN, **options)
            return app, stack.enter_context(serve(app)).url

        yield start
