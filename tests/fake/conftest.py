from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]

_SPEC = Path(__file__).resolve().parents[3] / "shared" / "wats" / "openapi_public_v3.json"


@pytest.fixture(scope="session")
def plant() -> Plant:
    """A plant that no test changes."""
    return Plant(600)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Serves an app and returns a client for it. Both are closed after the test."""
    with ExitStack() as stack:

        def connected(app: App, *, token: str = "demo", **options: Any) -> httpx2.Client:
            server = stack.enter_context(serve(app))
            headers = {"Authorization": f"Basic {token}"}
            return stack.enter_context(
                httpx2.Client(base_url=server.url, headers=headers, verify=False, **options)
            )

        yield connected


@pytest.fixture(scope="session")
def client(plant: Plant) -> Iterator[httpx2.Client]:
    """A client of a server that no test changes."""
    with (
        serve(App(plant)) as server,
        httpx2.Client(base_url=server.url, headers={"Authorization": "Basic demo"}, verify=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def openapi() -> dict[str, Any]:
    """The vendor's specification of the public API."""
    if not _SPEC.exists():
        pytest.skip("WATS's API description (../shared/wats) is absent")
    found: dict[str, Any] = json.loads(_SPEC.read_text("utf-8"))
    return found


@pytest.fixture(scope="session")
def spec(openapi: dict[str, Any]) -> Spec:
    """Returns the property names of a schema, found by the end of its name."""

    def properties(name: str) -> set[str]:
        schemas = openapi["components"]["schemas"]
        (found,) = (each for key, each in schemas.items() if key.endswith("." + name))
        return set(found["properties"])

    return properties
