"""What a run would read, without reading it: from which cursor, how much, and how long it would take.

Reports are listed (uuid, ``timeStamp``, size) from the cursor on, up to a million of them, and those that
have landed are left out. So are the keys of what is fetched one by one. Lists that are the data themselves
are not asked for: to count them is to read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from wats_extract import events
from wats_extract.cursor import Cursor
from wats_extract.engine.job import Job, Task
from wats_extract.engine.run import cursor_of
from wats_extract.errors import RequestBudgetSpent
from wats_extract.flow import Destination, Known, Row
from wats_extract.http.client import Client
from wats_extract.readers.ahead import in_background
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.nested import Nested
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reading import Page, Reading, fresh_rows
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.report_keys import report_keys
from wats_extract.state.failures import OpenFailures

MOST_PAGES = 100
"""Pages that a plan reads of one list; behind them it says "at least"."""


@dataclass
class PlannedResource:
    """What a run would do with one resource.

    Attributes:
        cursor: Where it would go on; ``None`` for the beginning.
        new: Items that it would fetch; ``None`` where only a run finds out.
        requests: Requests that it would send; ``None`` where only a run finds out.
        bytes: How large the new reports are on the server; ``None`` where their documents are not read.
        seconds: How long its requests take at the pipeline's rate; ``None`` where there is no rate.
        at_least: Whether there is more behind what was looked at.
        open_failures: Items that ``retry`` would fetch, not a run.
    """

    cursor: Cursor | None = None
    new: int | None = None
    requests: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    at_least: bool = False
    open_failures: int = 0


@dataclass
class Plan:
    """What a run would do.

    Attributes:
        pipeline: The pipeline's name.
        status: ``planned``.
        exit_code: 0.
        message: Nothing; here because every command's outcome has one.
        requests_per_minute: The pipeline's rate; ``None`` for as fast as the server answers.
        requests: Requests that planning took.
        resources: By name.
    """

    pipeline: str
    status: str = "planned"
    exit_code: int = 0
    message: str = ""
    requests_per_minute: float | None = None
    requests: int = 0
    resources: dict[str, PlannedResource] = field(default_factory=dict)

    @property
    def open_failures(self) -> int:
        """Items that ``retry`` would fetch."""
        return sum(each.open_failures for each in self.resources.values())

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return asdict(self) | {"run_id": None, "open_failures": self.open_failures}


def plan(job: Job, client: Client, *, listen: events.Listener = events.nobody) -> Plan:
    """Find out what a run would read; nothing is extracted, nothing is written.

    Raises:
        DestinationError: the destination cannot be read.
        RequestError: the server does not answer.
    """
    rate = client.connection.requests_per_minute
    found = Plan(job.pipeline, requests_per_minute=rate)
    job.destination.open(read_only=True)
    try:
        failures = OpenFailures.of(job.destination, job.pipeline)
        for task in job.tasks:
            failed = failures.keys(task.resource.name)
            planned = _planned(job.destination, job.pipeline, client, task, frozenset(failed), listen)
            planned.open_failures = len(failed)
            if rate and planned.requests is not None:
                planned.seconds = 60 * planned.requests / rate
            found.resources[task.resource.name] = planned
    finally:
        job.destination.close()
    found.requests = client.requests
    return found


def _planned(
    destination: Destination,
    pipeline: str,
    client: Client,
    task: Task,
    failed: frozenset[str],
    listen: events.Listener,
) -> PlannedResource:
    planned = PlannedResource(cursor_of(destination, pipeline, task))
    reader, keys = task.resource.reader, report_keys(task.resource)
    if keys is not None or isinstance(reader, ByKeyReader):
        known = Known(
            landed=lambda some, versions: destination.landed(task.resource.table, some, versions=versions),
            failed=failed,
            skip=task.disposition != "replace",
        )
        reading = Reading(
            task.resource.name,
            client,
            task.selection,
            cursor=planned.cursor,
            known=known,
            listen=listen,
            check=client.check,
        )
        if keys is not None:
            pages = keys.pages(reading, also=("reportSize",))
            planned.bytes = _look_through(reading, pages, planned, requests_each=keys.requests_each)
        elif isinstance(reader, ByKeyReader) and not isinstance(reader.listing, Nested):
            pages = reader.listing.pages(reading, reader.shredder.rows, reader.asked)
            _look_through(reading, pages, planned, requests_each=1)
    elif isinstance(reader, PagedReader):
        planned.requests, planned.at_least = 1, not isinstance(reader.listing, Snapshot)
    return planned


def _look_through(
    reading: Reading, pages: Iterator[Page], planned: PlannedResource, *, requests_each: int
) -> int | None:
    """Count what is new on the list, page by page; gives the bytes of reports that are read in full."""
    before = reading.client.requests
    planned.new = sizes = 0
    few = islice(pages, MOST_PAGES)
    try:
        # In a thread, as all requests: this one stays free to notice an interrupt.
        for number, page in enumerate(in_background(few, ahead=1, check=reading.check), start=1):
            fresh = fresh_rows(reading, page)
            planned.new += len(fresh)
            sizes += sum(_size(row) for row, _ in fresh)
            if number == MOST_PAGES:
                planned.at_least = True
                break
    except RequestBudgetSpent:
        planned.at_least = True
    planned.requests = reading.client.requests - before + requests_each * planned.new
    return sizes if requests_each else None


def _size(row: Row) -> int:
    """A report's size in bytes; WATS says it in kB."""
    size = getattr(row.record, "reportSize", None)
    return int(size * 1000) if isinstance(size, int | float) else 0
