"""Compare the server with the destination, and the tables of the destination with each other.

Both sides go into a scratch database on disk, so memory does not grow with the number of reports. The server
is listed first: reports that are loaded meanwhile are no difference. A loaded report that is not on the list
may just be outside the selection, so the server is asked for it by uuid before it counts as extra.

Each row of a resource's main table records how many rows its item has in the other tables (``_wats_rows``).
Items with fewer rows are incomplete, those with more are duplicated. This needs no request, so it covers all
resources with several tables.

A deep comparison also reads all documents again. Of each item and table, only a fingerprint per column goes
into the scratch database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wats_extract import events
from wats_extract.engine import run
from wats_extract.engine.comparison import Comparison, Ledger, ledger
from wats_extract.engine.fingerprints import fingerprints
from wats_extract.engine.job import Job, RunReport, Task
from wats_extract.engine.position import cursor_of, selection_of, stored_position
from wats_extract.errors import Incomplete
from wats_extract.flow import Destination, Selection, Window
from wats_extract.http.client import Client
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.reader import Source, in_groups
from wats_extract.state.failures import OpenFailures
from wats_extract.state.ownership import refuse_other_server
from wats_extract.tables import ROW_COUNTS, Table

DEEP_ROWS = 500
"""Rows per batch of a deep comparison: they may hold whole files."""

PROGRESS_EVERY = 100_000
"""The number of listed reports between two progress messages."""


@dataclass
class VerifyReport:
    """What ``verify`` found, and what it repaired.

    Attributes:
        pipeline: The pipeline's name.
        status: ``equal``, ``different``, ``failures`` (equal but for open failures) or ``incomplete``; of a
            repair that did not come to its end the status of :class:`wats_extract.engine.job.RunReport`.
        exit_code: 0 where server and tables are equal now, 3 where they differ or failures are open, 4 where
            it is incomplete.
        message: Why it stopped, where it did.
        server: The identity of the server.
        destination: Where the tables are.
        seconds: How long it took.
        requests: Requests sent, those of the repair included.
        bytes: Bytes of answers, inflated.
        open_failures: The number of failures that are open now, after the repair, in all resources.
        resources: What was compared, by name, as it was before the repair.
        not_compared: Resources that were not compared with the server, because they are not about reports.
        repair: What the repair did; ``None`` where there was none.
    """

    pipeline: str
    status: str = "equal"
    exit_code: int = 0
    message: str = ""
    server: str | None = None
    destination: str | None = None
    seconds: float = 0.0
    requests: int = 0
    bytes: int = 0
    open_failures: int = 0
    resources: dict[str, Comparison] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)
    repair: RunReport | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        counts = ("seconds", "requests", "bytes", "open_failures")
        names = ("status", "server", "destination", "message", *counts, "not_compared")
        return {
            "run_id": self.repair.run_id if self.repair else None,
            **{name: getattr(self, name) for name in names},
            "resources": {name: dict(vars(each)) for name, each in self.resources.items()},
            "repair": self.repair.to_json() if self.repair else None,
        }


def verify(
    job: Job,
    client: Client,
    *,
    deep: bool = False,
    repair: bool = False,
    listen: events.Listener = events.nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> VerifyReport:
    """Compare the server with the destination.

    Args:
        job: The resources; resources that are not reports are left out.
        client: Sends the requests.
        deep: Whether to read all documents again, and compare every value.
        repair: Whether to fetch what differs, in a run of its own. Extra reports stay.
        listen: Receives progress events.
        now: The clock.

    Raises:
        ConfigurationError: the destination belongs to another server; no request was sent.
        DestinationError: the destination cannot be read.
        RequestError: a request fails after all retries.
        PipelineLocked: another process runs this pipeline, so it cannot be repaired.
    """
    began = time.monotonic()
    report = VerifyReport(job.pipeline, server=job.server, destination=job.destination.place)
    _check_server(job)
    with ExitStack() as stack:
        ledgers: dict[str, Ledger] = {}
        try:
            for task in job.tasks:
                name = task.resource.name
                listed = _is_comparable(task)
                if not listed:
                    report.not_compared.append(name)
                if listed or task.resource.table.counted:
                    append = task.disposition == "append"
                    ledgers[name] = stack.enter_context(
                        ledger(job.destination.place, append=append, check=client.check)
                    )
                    comparing = _Comparing(job, client, task, ledgers[name], listen)
                    report.resources[name] = comparing.compared(listed=listed, deep=deep and listed)
        except Incomplete as error:
            report.status, report.exit_code, report.message = "incomplete", error.exit_code, str(error)
        else:
            _judge(report, job, sum(each.differences for each in report.resources.values()))
            if repair:
                _repair(job, client, ledgers, report, listen, now)
    report.seconds = time.monotonic() - began
    report.requests, report.bytes = client.requests, client.bytes
    return report


def _check_server(job: Job) -> None:
    """Refuse a destination that belongs to another server, before the first request."""
    with _reading(job) as destination:
        refuse_other_server(destination, job.server)


def _is_comparable(task: Task) -> bool:
    """Whether rows have a ``start``, which tells whether they are in the range that is compared."""
    return task.resource.reader.lists_versions and "start" in task.resource.table.schema.names


def _judge(report: VerifyReport, job: Job, differences: int) -> None:
    """Set status and exit code. A document that could not be fetched for the comparison is not equal."""
    report.open_failures = _open_failures(job)
    unread = sum(each.unread for each in report.resources.values())
    if differences:
        report.status, report.exit_code, report.message = "different", 3, "server and destination differ"
    elif report.open_failures or unread:
        report.status, report.exit_code, report.message = "failures", 3, "some items could not be fetched"
    else:
        report.status, report.exit_code, report.message = "equal", 0, ""


def _open_failures(job: Job) -> int:
    with _reading(job) as destination:
        failures = OpenFailures.of(destination, job.pipeline)
        return failures.count([task.resource.name for task in job.tasks])


@contextmanager
def _reading(job: Job) -> Iterator[Destination]:
    """The destination, opened read-only."""
    job.destination.open(read_only=True)
    try:
        yield job.destination
    finally:
        job.destination.close()


@dataclass
class _Comparing:
    """Compares one resource.

    Attributes:
        job: The job.
        client: Sends the requests.
        task: The resource.
        found: Where both sides are collected.
        listen: Receives progress events.
    """

    job: Job
    client: Client
    task: Task
    found: Ledger
    listen: events.Listener

    def compared(self, *, listed: bool, deep: bool) -> Comparison:
        """The differences.

        Args:
            listed: Whether the resource is compared with the server's list.
            deep: Whether documents are read again.
        """
        found, requests = self.found, self.client.requests
        source = Source(self.task.resource.name, self.client, listen=self.listen, check=self.client.check)
        with _reading(self.job) as destination:
            # An age in `since` is fixed as in the first run.
            selection = selection_of(self.task, stored_position(destination, self.job.pipeline, self.task))
        if listed:
            (window,) = self.task.resource.reader.plan(source, selection)
            self._list(source, window)
        with _reading(self.job) as destination:
            self._scan(destination, selection if listed else Selection(), listed=listed)
            cursor = cursor_of(destination, self.job.pipeline, self.task)
        if listed:
            found.are_extra(_gone(source, window, self.task, found))
        values = self._read_again(source, window) if deep else []
        comparison = found.comparison(-1 if cursor is None else cursor.seen, listed=listed)
        comparison.values = values
        comparison.requests = self.client.requests - requests
        return comparison

    def _list(self, source: Source, window: Window) -> None:
        listed = 0
        # Requests run in a background thread, so that this thread notices an interrupt.
        pages = self.task.resource.reader.list_items(source, window)
        for page in in_background(pages, ahead=1, check=source.check):
            self.found.on_server((row.key, row.version) for row in page.rows)
            if (listed + len(page.rows)) // PROGRESS_EVERY > listed // PROGRESS_EVERY:
                self.listen(events.Noted(f"{source.resource}: {listed + len(page.rows):,} listed"))
            listed += len(page.rows)

    def _scan(self, destination: Destination, selection: Selection, *, listed: bool) -> None:
        """Read keys, versions and recorded numbers of rows, then count the rows of the other tables."""
        main, *others = self.task.resource.tables
        wanted = (main.owner, main.version, "start", ROW_COUNTS.name)
        names = [name for name in wanted if name in main.schema.names]
        for batch in destination.scan(main, names):
            self.client.check()
            self.found.has_landed(_landed(batch, main, selection))
        self.found.has_failed(OpenFailures.of(destination, self.job.pipeline).keys(self.task.resource.name))
        self.found.find_missing_and_duplicated()
        for table in others:
            self.found.find_incomplete(table.name, self._counts(destination, table), listed=listed)
        self.found.find_outdated()

    def _counts(self, destination: Destination, table: Table) -> Iterator[tuple[str, int]]:
        for batch in destination.scan(table, [table.owner]):
            self.client.check()
            counts = pc.value_counts(batch[table.owner].drop_null())
            yield from zip(
                counts.field(0).cast(pa.string()).to_pylist(), counts.field(1).to_pylist(), strict=True
            )

    def _read_again(self, source: Source, window: Window) -> list[dict[str, str]]:
        """Compare every value; returns the first few places of differing ones."""
        tables = self.task.resource.tables
        self.listen(events.ResourceStarted(source.resource))
        chunks = in_background(self.task.resource.reader.read(source, window), ahead=1, check=source.check)
        with closing(chunks):
            for chunk in chunks:
                for key, version in chunk.landed.items():
                    self.found.has_document(key, version)
                for place, table in enumerate(tables):
                    for batch in chunk.rows.get(table, ()):
                        self.found.has_values(place, fingerprints(table, batch))
                self.found.could_not_read(failure.key for failure in chunk.failures)
                del chunk
        self.listen(events.ResourceEnded(source.resource))
        columns = [(table.name, table.shredded_schema.names) for table in tables]
        with _reading(self.job) as destination:
            for place, table in enumerate(tables):
                rows = 0
                for batch in destination.scan(table, columns[place][1], batch_rows=DEEP_ROWS):
                    self.client.check()
                    if not rows or rows // PROGRESS_EVERY < (rows + batch.num_rows) // PROGRESS_EVERY:
                        self.listen(events.Noted(f"{source.resource}: comparing {table.name}, row {rows:,}"))
                    rows += batch.num_rows
                    self.found.has_values(place, fingerprints(table, batch, negative=True))
        return self.found.find_changed(columns)


def _landed(
    batch: pa.RecordBatch, table: Table, selection: Selection
) -> Iterator[tuple[str, int | None, bool, str | None]]:
    names, nulls = batch.schema.names, [None] * batch.num_rows
    keys, versions, starts, counts = (
        batch[name].to_pylist() if name in names else nulls
        for name in (table.owner, table.version, "start", ROW_COUNTS.name)
    )
    for key, version, start, recorded in zip(keys, versions, starts, counts, strict=True):
        early = start is not None and selection.since is not None and start < selection.since
        late = start is not None and selection.until is not None and start >= selection.until
        yield str(key), version, not (early or late), recorded


def _gone(source: Source, window: Window, task: Task, found: Ledger) -> Iterator[str]:
    """The keys that are not on the list, and that the server does not have at all."""
    reader, workers = task.resource.reader, source.client.connection.max_in_flight
    look_ups = in_order(
        in_groups(found.unlisted(), reader.keys_at_once),
        lambda group: reader.find(source, window, group),
        workers=workers,
        ahead=workers,
        useful=source.client.useful_threads,
        check=source.check,
    )
    for group, rows in look_ups:
        yield from (key for key in group if key not in rows)


def _repair(
    job: Job,
    client: Client,
    ledgers: dict[str, Ledger],
    report: VerifyReport,
    listen: events.Listener,
    now: Callable[[], datetime],
) -> None:
    replaced = {name: each.to_repair() for name, each in ledgers.items()}
    appended = {name: each.to_append() for name, each in ledgers.items()}
    replaced, appended = (
        {name: keys for name, keys in each.items() if len(keys)} for each in (replaced, appended)
    )
    duplicated = any(each.duplicated for each in report.resources.values())
    if not replaced and not appended and not duplicated:
        return
    report.repair = done = run.repair(job, client, replaced, appended=appended, listen=listen, now=now)
    if done.status not in ("succeeded", "failures"):
        report.status, report.exit_code, report.message = done.status, done.exit_code, done.message
        report.open_failures = done.open_failures
        return
    differences = sum(each.differences for each in report.resources.values())
    _judge(report, job, differences - sum(each.items for each in done.resources.values()))
