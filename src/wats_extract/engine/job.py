"""The job of a run, and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from wats_extract.cursor import Cursor, cursor_to_json
from wats_extract.errors import ItemsFailed, WatsExtractError
from wats_extract.flow import Destination, Selection
from wats_extract.resources.resource import Resource


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many items may fail: a number of them, or a share of all.

    Attributes:
        limit: The number, or the percentage.
        percent: Whether ``limit`` is a percentage.
    """

    limit: Decimal
    percent: bool = False

    @classmethod
    def parse(cls, written: object) -> Tolerance:
        """Read ``0``, ``25`` or ``"1%"``.

        Raises:
            ValueError: if it is neither a whole number nor a percentage.
        """
        if isinstance(written, Tolerance):
            return written
        text = "" if isinstance(written, bool) else str(written).strip()
        percent = text.endswith("%")
        limit = _number(text.removesuffix("%").strip())
        if limit is None or limit < 0 or (limit > 100 if percent else limit % 1):
            raise ValueError("should be a whole number such as 10, or a percentage such as '1%'")
        return cls(limit, percent)

    def allows(self, failures: int, items: int) -> bool:
        """Whether ``failures`` among ``items`` stay within the limit (up to and including it)."""
        return failures <= self._of(items)

    def reached(self, failures: int, items: int) -> bool:
        """Whether ``failures`` among ``items`` are as many as the limit; no failure never is."""
        return failures > 0 and failures >= self._of(items)

    def _of(self, items: int) -> Decimal:
        return self.limit * items / 100 if self.percent else self.limit

    def __str__(self) -> str:
        return f"{self.limit}%" if self.percent else str(self.limit)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class SizedKeys(Protocol):
    """Keys of items, not necessarily in memory."""

    def __len__(self) -> int:
        """The number of keys."""

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order in which they are fetched."""


@dataclass(frozen=True)
class Task:
    """One resource of a job.

    Attributes:
        resource: The resource to extract.
        selection: Which part of it.
        fingerprint: The selection as the user wrote it; each selection has a cursor of its own.
        disposition: ``merge``, ``append`` or ``replace``.
        since_is_age: Whether the user wrote ``since`` as an age such as ``30 days ago``. An age bounds the
            first run of a selection, and is fixed then.
    """

    resource: Resource
    selection: Selection
    fingerprint: str = "{}"
    disposition: str = "merge"
    since_is_age: bool = False


@dataclass(frozen=True)
class Job:
    """What a run has to do.

    Attributes:
        pipeline: The pipeline's name; it identifies the state.
        tasks: The resources, in order.
        destination: Where the tables go; the run opens and closes it.
        max_failures: Up to so many open failures still count as success.
        stop_at_failures: The run stops when so many of the recent items fail.
        full_refresh: Whether to read everything again, also items that are loaded.
        server: The identity of the server, which the destination has to belong to; empty for no check.
    """

    pipeline: str
    tasks: Sequence[Task]
    destination: Destination
    max_failures: Tolerance
    stop_at_failures: Tolerance
    full_refresh: bool = False
    server: str = ""


@dataclass
class ResourceReport:
    """What a run did with one resource.

    Attributes:
        rows: The number of rows loaded, in all tables.
        tables: The number of rows loaded, by table.
        items: The number of items (reports, …) loaded.
        failures: The failures that were recorded and not resolved by the end of the run.
        requests: The number of requests sent.
        cursor: The position at the end.
    """

    rows: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    items: int = 0
    failures: int = 0
    requests: int = 0
    cursor: Cursor | None = None


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        run_id: The key of the run in ``_wats_runs``.
        pipeline: The pipeline's name.
        status: ``succeeded``, ``failures``, ``incomplete``, ``unreachable``, ``refused``, ``failed`` or
            ``interrupted``.
        exit_code: The exit code of the command line.
        message: Why it stopped early, or empty.
        server: The identity of the server; ``None`` if the pipeline could not be loaded.
        destination: Where the tables are; ``None`` if the pipeline could not be loaded.
        seconds: How long it took.
        requests: The number of requests sent, retries included.
        bytes: The size of all responses, inflated.
        failures: The failures that this run recorded and did not resolve.
        open_failures: The failures that are open now, of this run and earlier ones.
        values_kept_in_extra: The values that their columns could not hold; ``_extra`` of their row has them.
        resources: By name.
        error: What ended the run early, or ``None``.
    """

    run_id: str
    pipeline: str
    status: str = "running"
    exit_code: int = 0
    message: str = ""
    server: str | None = None
    destination: str | None = None
    seconds: float = 0.0
    requests: int = 0
    bytes: int = 0
    failures: int = 0
    open_failures: int = 0
    values_kept_in_extra: int = 0
    resources: dict[str, ResourceReport] = field(default_factory=dict)
    error: WatsExtractError | None = field(default=None, repr=False)

    def raise_for_failures(self) -> None:
        """Raise an error if more items failed than ``max_failures`` allows.

        Raises:
            ItemsFailed: that many failures are open.
        """
        if self.exit_code == ItemsFailed.exit_code:
            error = ItemsFailed(
                f"{self.open_failures} items of pipeline {self.pipeline!r} could not be extracted",
                hint=f"`wats-extract failures` lists them. The tables are in {self.destination}.",
            )
            error.report = self
            raise error

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        counts = ("requests", "bytes", "failures", "open_failures", "values_kept_in_extra")
        names = ("run_id", "status", "server", "destination", "seconds", *counts, "message")
        return {name: getattr(self, name) for name in names} | {
            "resources": {
                name: vars(report) | {"cursor": cursor_to_json(report.cursor) or None}
                for name, report in self.resources.items()
            }
        }
