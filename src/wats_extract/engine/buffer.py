"""Interim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from wats_extract.flow import Commit, Destination
from wats_extract.tables import Table

T = TypeVar("T")


class WriteBuffer(Generic[T]):
    """Interim."""

    def __init__(self, destination: Destination, *, on_durable: Callable[[Sequence[T]], None]) -> None:
        self._d, self._f = destination, on_durable

    def add(self, commit: Commit, receipt: T) -> None:
        """Interim."""
        self._d.commit(commit)
        self._f([receipt])

    def flush(self) -> None:
        """Interim."""

    def flush_if_idle(self) -> None:
        """Interim."""

    def landed(
        self, table: Table, keys: Sequence[str], *, versions: tuple[int, int] | None = None
    ) -> Mapping[str, int | None]:
        """Interim."""
        return self._d.landed(table, keys, versions=versions)
