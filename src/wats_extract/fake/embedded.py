"""The embedded server as the source `url: demo`: it starts and stops with a run or a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

TOKEN = "demo"  # noqa: S105
REPORTS = 3000


@contextmanager
def serving(reports: int | None = None, seed: int | None = None) -> Iterator[str]:
    """Serve generated reports while the block runs, and yield the address. The token is `TOKEN`.

    Args:
        reports: The number of reports; 3,000 by default.
        seed: Selects the reports, 1 by default. The same seed gives the same reports.
    """
    plant = Plant(REPORTS if reports is None else reports, seed=1 if seed is None else seed)
    with serve(App(plant, token=TOKEN)) as server:
        yield server.url
