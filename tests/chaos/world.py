"""A server that outlives its clients and whose data changes while they read."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any, Self

from tests import expected
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.products import Products
from wats_extract.fake.server import serve

TOKEN = "Y2hhb3MtdG9rZW4"
PAGE_CAP = 30


class CountedFaults(Faults):
    """Faults that are counted by kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.counts: Counter[str] = Counter()

    def draw(self) -> str | None:
        kind = super().draw()
        if kind:
            self.counts[kind] += 1
        return kind


class World:
    """A plant and its server, which always has the same port.

    Args:
        seed: Seed of the plant and of its changes.
        reports: Number of reports at first.
        faults: Faults of the server.
        quirks: Further options of the server.
    """

    def __init__(
        self, seed: int, *, reports: int = 60, faults: CountedFaults | None = None, **quirks: Any
    ) -> None:
        self.seed = seed
        self.plant = Plant(reports, seed=seed)
        self.faults = faults or CountedFaults()
        self.app = App(
            self.plant,
            token=TOKEN,
            stores=[Products(self.plant, count=45)],
            faults=self.faults,
            **{"page_cap": PAGE_CAP, **quirks},
        )
        self.chance = random.Random(seed)
        self.deleted: set[str] = set()
        self.odd: set[str] = set()
        self._hidden: list[str] = []
        self._port = 0
        self._serving = ExitStack()
        self._lock = threading.Lock()
        self._steps: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Start the server, at the same port as last time."""
        self._port = self._serving.enter_context(serve(self.app, self._port)).server_address[1]

    def down(self) -> None:
        """Stop the server and break its connections."""
        self._serving.close()

    # ── changes ──

    def grow(self) -> None:
        """Add reports."""
        self.plant.grow(self.chance.randrange(8, 16))

    def receive(self, uuid: str, document: bytes) -> None:
        """Add a document that may be invalid."""
        self.plant.receive(document, uuid=uuid)
        self.odd.add(uuid)

    def change(self) -> None:
        """Add reports, receive some again, let one become visible late, and perhaps delete one."""
        with self._lock:
            self.grow()
            present = self.plant.uuids()
            for uuid in self.chance.sample(present, 3):
                self.plant.receive_again(uuid, comment=f"again {self.chance.random()}")
            if self._hidden:
                self.plant.show(self._hidden.pop())
            self._hide(self.plant.uuids()[-2])
            if self.chance.random() < 0.5:
                self._delete(self.chance.choice(present[-20:]))
            products = self.app.store(Products).products
            products.change(self.chance.choice(products.rows())["partNumber"], name=str(self.chance.random()))

    def show_everything(self) -> None:
        """Make all reports visible."""
        while self._hidden:
            self.plant.show(self._hidden.pop())

    def _hide(self, uuid: str) -> None:
        self.plant.hide(uuid)
        self._hidden.append(uuid)

    def _delete(self, uuid: str) -> None:
        if uuid not in self._hidden:
            self.plant.delete(uuid)
            self.deleted.add(uuid)

    # ── facts ──

    def version(self, uuid: str) -> int | None:
        """The current ``timeStamp`` of a report."""
        row = self.plant.find(uuid)
        return row.time_stamp if row else None

    def steps(self, uuid: str, version: int) -> int | None:
        """The number of steps of a report, if this version is the current one and the document is valid."""
        if uuid in self.odd:
            return None
        if (uuid, version) not in self._steps:
            row = self.plant.find(uuid)
            if row is None or row.time_stamp != version:
                return None
            document = self.plant.document(uuid)
            self._steps[uuid, version] = len(expected.report_rows(document, version)["steps"])
        return self._steps[uuid, version]

    def requested_documents(self) -> list[str]:
        """The uuids of all documents that were requested, in order."""
        return [
            request.path.rsplit("/", 1)[1]
            for request in self.app.requests
            if request.path.lower().startswith("/api/report/wsjf/")
        ]
