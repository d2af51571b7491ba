"""What a run would read, without reading it: from which cursor, how much, and how long it would take.

Reports are listed (uuid, ``timeStamp``, size) from the cursor on, up to a million of them, and loaded reports
are left out. The same goes for the keys of documents that are fetched one by one. Lists that are the data
themselves are not read: counting them is reading them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from wats_extract import events
from wats_extract.cursor import Cursor, cursor_to_json
from wats_extract.engine.job import Job, Task
from wats_extract.engine.position import cursor_of, selection_of, stored_position
from wats_extract.flow import Destination, Known
from wats_extract.http.client import Client
from wats_extract.readers.reader import Source
from wats_extract.state.failures import OpenFailures
from wats_extract.state.ownership import refuse_other_server

MOST_PAGES = 100
"""The number of pages that a plan reads of one list; beyond them it says "at least"."""


@dataclass
class PlannedResource:
    """What a run would do with one resource.

    Attributes:
        cursor: Where it would continue; ``None`` for the beginning.
        new: The number of items that it would fetch; ``None`` if only a run can tell.
        requests: The number of requests that it would send; ``None`` if only a run can tell.
        bytes: The size of the new reports on the server; ``None`` if their documents are not fetched.
        seconds: How long its requests take at the pipeline's rate; ``None`` if there is no rate.
        at_least: Whether there may be more than was looked at.
        open_failures: The number of items that ``retry`` would fetch, and a run would not.
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
        message: Empty; the outcome of every command has one.
        server: The identity of the server.
        destination: Where the tables are.
        requests_per_minute: The pipeline's rate; ``None`` for as fast as the server responds.
        requests: The number of requests that planning took.
        resources: By name.
    """

    pipeline: str
    status: str = "planned"
    exit_code: int = 0
    message: str = ""
    server: str | None = None
    destination: str | None = None
    requests_per_minute: float | None = None
    requests: int = 0
    resources: dict[str, PlannedResource] = field(default_factory=dict)

    @property
    def open_failures(self) -> int:
        """The number of items that ``retry`` would fetch."""
        return sum(each.open_failures for each in self.resources.values())

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        resources = {
            name: asdict(each) | {"cursor": cursor_to_json(each.cursor) or None}
            for name, each in self.resources.items()
        }
        return asdict(self) | {
            "run_id": None,
            "open_failures": self.open_failures,
            "resources": resources,
        }


def plan(job: Job, client: Client, *, listen: events.Listener = events.nobody) -> Plan:
    """Find out what a run would read. Nothing is extracted, and nothing is written.

    Raises:
        ConfigurationError: the destination belongs to another server; no request was sent.
        DestinationError: the destination cannot be read.
        RequestError: a request fails after all retries.
    """
    rate = client.connection.requests_per_minute
    found = Plan(job.pipeline, server=job.server, destination=job.destination.place, requests_per_minute=rate)
    job.destination.open(read_only=True)
    try:
        refuse_other_server(job.destination, job.server)
        failures = OpenFailures.of(job.destination, job.pipeline)
        for task in job.tasks:
            failed = frozenset(failures.keys(task.resource.name))
            planned = _planned(job.destination, job.pipeline, client, task, failed, listen)
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
    cursor, reader = cursor_of(destination, pipeline, task), task.resource.reader
    selection = selection_of(task, stored_position(destination, pipeline, task))
    known = Known(
        landed=lambda keys, versions: destination.landed(task.resource.table, keys, versions=versions),
        failed=failed,
        skip=task.disposition != "replace",
    )
    source = Source(task.resource.name, client, known=known, listen=listen, check=client.check)
    (window,) = reader.plan(source, selection, cursor=cursor)
    found = reader.estimate(source, window, pages=MOST_PAGES)
    return PlannedResource(
        cursor,
        found.new,
        found.requests,
        found.bytes,
        at_least=found.at_least,
        open_failures=len(failed),
    )
