from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.data import Plant
from wats_extract.fake.server import serve

Connect = Callable[..., httpx2.Client]


@pytest.fixture(scope="session")
def plant() -> Plant:
    """Reports that no test changes."""
    return Plant(600)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Serve an app and get a client for it; both are closed after the test."""
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
