"""The embedded WATS server as a source: started for a run or a session, stopped with it."""

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
    """The address of an embedded server that runs inside; its token is ``TOKEN``.

    Args:
        reports: How many reports it has, 3,000 by default.
        seed: Which ones, 1 by default; the same seed gives the same reports.
    """
    plant = Plant(REPORTS if reports is None else reports, seed=1 if seed is None else seed)
    with serve(App(plant, token=TOKEN)) as server:
        yield server.url
