"""Counting: what became durable, and how many of the recent items fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

from wats_extract import events
from wats_extract.cursor import Cursor
from wats_extract.engine.job import ResourceReport, RunReport, Task, Tolerance
from wats_extract.errors import TooManyFailures
from wats_extract.flow import Chunk, Failure
from wats_extract.shred.columns import kept_in
from wats_extract.state.failures import OpenFailures

RECENT_ITEMS = 100
"""How many of the last items ``stop_at_failures`` looks at; fewer items never stop a run."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What remains to be reported of a chunk once its rows are in the write buffer.

    Attributes:
        resource: The resource's name.
        items: The number of items loaded.
        rows: The number of rows, by table.
        failures: The number of failures.
        cursor: The position after the chunk, ``None`` if it does not move.
        saturated: Whether the server may have more rows than it returned.
        values_kept_in_extra: The number of values that their columns could not hold.
    """

    resource: str
    items: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    cursor: Cursor | None = None
    saturated: bool = False
    values_kept_in_extra: int = 0

    @classmethod
    def of(cls, resource: str, chunk: Chunk) -> Receipt:
        """The receipt for a chunk of a resource."""
        return cls(
            resource,
            len(chunk.landed),
            {table.name: sum(batch.num_rows for batch in rows) for table, rows in chunk.rows.items()},
            len(chunk.failures),
            chunk.cursor,
            any(failure.error_code == "WINDOW_SATURATED" for failure in chunk.failures),
            sum(map(kept_in, chunk.rows.values())) if chunk.landed else 0,
        )

    def without(self, rows: Mapping[str, int]) -> Receipt:
        """The receipt after one item, with these rows by table, has become a failure."""
        left = {table: count - rows.get(table, 0) for table, count in self.rows.items()}
        return replace(self, items=self.items - 1, rows=left, failures=self.failures + 1)


class Accounts:
    """Adds up a run's report, as chunks become durable.

    Args:
        report: The report to fill.
        failures: The open failures of the pipeline.
        listen: Receives an event per chunk.

    Attributes:
        saturated: The resources of which the server may have more than it returned.
    """

    def __init__(self, report: RunReport, failures: OpenFailures, listen: events.Listener) -> None:
        self._report, self._failures, self._listen = report, failures, listen
        self.saturated: list[str] = []

    def open(self, task: Task, cursor: Cursor | None) -> ResourceReport:
        """Begin the report of a resource."""
        tables = {table.name: 0 for table in task.resource.tables}
        account = ResourceReport(tables=tables, cursor=cursor)
        self._report.resources[task.resource.name] = account
        return account

    def durable(self, receipts: Sequence[Receipt]) -> None:
        """Count chunks that are durable now."""
        for receipt in receipts:
            self._count(receipt)

    def _count(self, receipt: Receipt) -> None:
        account = self._report.resources[receipt.resource]
        for table, count in receipt.rows.items():
            account.tables[table] += count
        account.rows += sum(receipt.rows.values())
        account.items += receipt.items
        account.failures = len(self._failures.of_runs({self._report.run_id}, receipt.resource))
        account.cursor = receipt.cursor or account.cursor
        self._report.values_kept_in_extra += receipt.values_kept_in_extra
        self._report.failures = sum(each.failures for each in self._report.resources.values())
        if receipt.saturated:
            self.saturated.append(receipt.resource)
        if receipt.items or receipt.failures:
            self._listen(events.Committed(receipt.resource, receipt.items, receipt.rows, receipt.failures))


class FailureRate:
    """Stops a run when ``stop_at_failures`` is reached: as many of the recent items fail.

    Args:
        tolerance: The number of failures, or their share of the last 100 items, that stops the run.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._recent: deque[bool] = deque(maxlen=RECENT_ITEMS)
        self._failures = 0

    def __call__(self, failure: Failure | None, times: int = 1) -> None:
        """Count so many items that failed, or succeeded if ``failure`` is ``None``.

        Raises:
            TooManyFailures: ``stop_at_failures`` is reached.
        """
        self._recent.extend(repeat(failure is None, min(times, RECENT_ITEMS)))
        if failure is None:
            return
        self._failures += times
        recent = RECENT_ITEMS - sum(self._recent)
        if self._tolerance.percent:
            reached = len(self._recent) == RECENT_ITEMS and self._tolerance.reached(recent, RECENT_ITEMS)
            what = f"{recent} of the last {RECENT_ITEMS} items failed"
        else:
            reached = self._tolerance.reached(self._failures, RECENT_ITEMS)
            what = f"{self._failures} items failed"
        if reached:
            raise TooManyFailures(
                f"{what}, which reaches stop_at_failures ({self._tolerance})",
                hint="Look at wats-extract failures, fix the cause, then retry, then run again.",
            )
