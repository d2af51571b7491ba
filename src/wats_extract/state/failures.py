"""The failures table: items that could not be extracted, from the first failure until they succeed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from wats_extract.flow import Destination, Failure
from wats_extract.state.tables import FAILURES

Place = tuple[str, str]
"""Resource and key of an item: they identify a row of ``_wats_failures`` within a pipeline."""


class OpenFailures:
    """The open failures of one pipeline, kept in memory in sync with the destination's table.

    Args:
        pipeline: The pipeline's name.
        rows: Rows of ``_wats_failures``. Rows that are not open are ignored.
    """

    def __init__(self, pipeline: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._pipeline = pipeline
        self._open = {(row["resource"], row["key"]): dict(row) for row in rows if row["status"] == "open"}

    @classmethod
    def of(cls, destination: Destination, pipeline: str) -> OpenFailures:
        """Read the open failures of a pipeline from a destination."""
        return cls(pipeline, destination.read(FAILURES, pipeline=pipeline, status="open").to_pylist())

    def __len__(self) -> int:
        return len(self._open)

    def count(self, resources: Iterable[str]) -> int:
        """Count the open failures of these resources."""
        wanted = set(resources)
        return sum(resource in wanted for resource, _ in self._open)

    def keys(self, resource: str, *, code: str | None = None) -> list[str]:
        """Return the keys of a resource with an open failure, the oldest failure first."""
        rows = [row for (name, _), row in self._open.items() if name == resource]
        rows.sort(key=lambda row: (row["first_failed_at"], row["key"]))
        return [row["key"] for row in rows if code in (None, row["error_code"])]

    def of_runs(self, run_ids: Collection[str], resource: str) -> list[Mapping[str, Any]]:
        """Return the open rows of a resource that failed last in one of these runs, ordered by key."""
        rows = [row for (name, _), row in self._open.items() if name == resource]
        return sorted((row for row in rows if row["run_id"] in run_ids), key=lambda row: row["key"])

    def rows_for(
        self, failures: Iterable[Failure], landed: Iterable[tuple[str, str]], *, run_id: str, now: datetime
    ) -> list[dict[str, Any]]:
        """Build the rows that a commit writes: its failures, and open failures that are resolved by it.

        Args:
            failures: The failures of the commit.
            landed: Resource and key of the items that the commit loads.
            run_id: The current run.
            now: The current time.
        """
        failed = {(failure.resource, failure.key): self._failed(failure, run_id, now) for failure in failures}
        resolved = {place: self._resolved(place, now) for place in landed if place in self._open}
        return list((resolved | failed).values())

    def settle(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Apply rows of :meth:`rows_for`, once they are part of a commit."""
        for row in rows:
            place = (row["resource"], row["key"])
            if row["status"] == "open":
                self._open[place] = dict(row)
            else:
                self._open.pop(place, None)

    def _failed(self, failure: Failure, run_id: str, now: datetime) -> dict[str, Any]:
        before = self._open.get((failure.resource, failure.key), {})
        return {
            "pipeline": self._pipeline,
            "resource": failure.resource,
            "key": failure.key,
            "stage": failure.stage,
            "error_code": failure.error_code,
            "message": failure.message,
            "hint": failure.hint,
            "http_status": failure.http_status,
            "url": failure.url,
            "attempts": failure.attempts + (before.get("attempts") or 0),
            "first_failed_at": before.get("first_failed_at", now),
            "last_failed_at": now,
            "status": "open",
            "resolved_at": None,
            "run_id": run_id,
            "payload": failure.payload,
        }

    def _resolved(self, place: Place, now: datetime) -> dict[str, Any]:
        return self._open[place] | {"status": "resolved", "resolved_at": now}
