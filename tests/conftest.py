"""Fixtures and hypothesis profiles for all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, settings

from tests.command_line import CommandLine
from tests.retrying import IMPATIENT
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

TOKEN = "bWFya2VyLXRva2Vu"

DESTINATIONS = ("duckdb", "parquet")

Server: TypeAlias = Callable[..., tuple[App, str]]
"""Starts an embedded server and returns it with its address; see the fixture `server`."""

Json: TypeAlias = dict[str, Any]

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile(
    "thorough", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quick")  # --hypothesis-profile is read later, so it wins


def fewer_examples(divisor: int) -> settings:
    """Settings for a property test with slow examples: a fraction of the usual number, but at least two."""
    return settings(max_examples=max(2, settings().max_examples // divisor))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with WATS's own documents. Tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "wats"
    if not folder.is_dir():
        pytest.skip("WATS's documents (../shared/wats) are absent")
    return folder


@pytest.fixture(scope="session")
def samples(shared: Path) -> dict[str, Json]:
    """Real WSJF documents by file name."""
    found = sorted((shared / "samples").glob("uu*.json"))
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


@pytest.fixture
def server() -> Iterator[Server]:
    """Start embedded servers: ``server(plant, **quirks)`` returns the app and its address."""
    with ExitStack() as stack:

        def start(plant: Plant | None = None, **options: Any) -> tuple[App, str]:
            app = App(plant or Plant(60), token=TOKEN, **options)
            return app, stack.enter_context(serve(app)).url

        yield start


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line in an empty folder."""
    with CommandLine.inside(tmp_path) as made:
        yield made


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all clients that a test creates retry at once."""
    monkeypatch.setattr("wats_extract.http.client.RetryPolicy", lambda: IMPATIENT)


@pytest.fixture(params=DESTINATIONS)
def kind(request: pytest.FixtureRequest) -> str:
    """The type of a destination; the test runs once for each."""
    return str(request.param)
