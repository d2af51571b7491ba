"""A server that works for a while and then fails every request in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant


class FailingServer(App):
    """An embedded server that fails every request after the first few.

    Args:
        plant: Its reports.
        good: Number of requests that are answered as usual.
        fault: What happens to all further requests: a kind of `Faults`, ``401`` for a token that is no longer
            valid, or ``None`` for nothing.
        options: Of `App`.
    """

    def __init__(self, plant: Plant, *, good: int, fault: str | None, **options: Any) -> None:
        super().__init__(plant, **options)
        self._good, self._fault = good, fault

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        if self._fault and self.total >= self._good:
            if self._fault == "401":
                request = Request(request.method, request.path, request.query, {})
            else:
                self.faults = Faults(rate=1.0, kinds=[self._fault])
        with super().answering(request) as response:
            yield response

    def mend(self) -> None:
        """Answer all further requests as usual."""
        self._fault = None
        self.faults = Faults()
