"""Compare the server with the destination: missing, outdated, extra and duplicated reports.

Both sides go into a scratch database on disk, so memory does not grow with the number of reports. The server
is listed first: reports that are loaded meanwhile are no difference. A loaded report that is not on the list
may just be outside the selection, so the server is asked for it by uuid before it counts as extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from wats_extract import events
from wats_extract.engine import run
from wats_extract.engine.comparison import Comparison, Ledger, ToRepair, ledger
from wats_extract.engine.job import Job, RunReport, Task
from wats_extract.engine.position import cursor_of, selection_of, stored_position
from wats_extract.errors import Incomplete
from wats_extract.flow import Selection, Window
from wats_extract.http.client import Client
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.reader import Source, in_groups
from wats_extract.state.failures import OpenFailures
from wats_extract.state.ownership import refuse_other_server

REPAIRED = ("missing", "outdated", "duplicated")
"""The kinds of difference that fetching repairs. Extra reports stay: the loaded copy may be the only one."""

PROGRESS_EVERY = 100_000
"""The number of listed reports between two progress messages."""


@dataclass
class VerifyReport:
    """What ``verify`` found, and what it repaired.

    Attributes:
        pipeline: The pipeline's name.
        status: ``equal``, ``different`` or ``incomplete``; of a repair that did not come to its end the
            status of :class:`wats_extract.engine.job.RunReport`.
        exit_code: 0 where server and tables are equal now, 3 where they differ, 4 where it is incomplete.
        message: Why it stopped, where it did.
        server: The identity of the server.
        destination: Where the tables are.
        seconds: How long it took.
        requests: Requests sent, those of the repair included.
        bytes: Bytes of answers, inflated.
        resources: What was compared, by name, as it was before the repair.
        not_compared: Resources of the pipeline that are not about reports.
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
    resources: dict[str, Comparison] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)
    repair: RunReport | None = None

    @property
    def open_failures(self) -> int:
        """The number of failures that are open after the repair."""
        return self.repair.open_failures if self.repair else 0

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        names = ("status", "server", "destination", "message", "seconds", "requests", "bytes", "not_compared")
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
    repair: bool = False,
    listen: events.Listener = events.nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> VerifyReport:
    """Compare the server with the destination.

    Args:
        job: The resources; resources that are not reports are left out.
        client: Sends the requests.
        repair: Whether to fetch missing, outdated and duplicated reports, in a run of its own.
        listen: Receives progress events.
        now: The clock.

    Raises:
        ConfigurationError: the destination belongs to another server; no request was sent.
        DestinationError: the destination cannot be read.
        RequestError: a request fails after all retries.
        PipelineLocked: another process runs this pipeline, so it cannot be repaired.
    """
    started = now()
    report = VerifyReport(job.pipeline, server=job.server, destination=job.destination.place)
    _check_server(job)
    with ExitStack() as stack:
        ledgers: dict[str, Ledger] = {}
        try:
            for task in job.tasks:
                name = task.resource.name
                if not _is_comparable(task):
                    report.not_compared.append(name)
                    continue
                ledgers[name] = stack.enter_context(ledger())
                report.resources[name] = _compare(job, client, task, ledgers[name], listen)
        except Incomplete as error:
            report.status, report.exit_code, report.message = "incomplete", error.exit_code, str(error)
        else:
            _judge(report, sum(each.differences for each in report.resources.values()))
            if repair:
                _repair(job, client, ledgers, report, listen, now)
    report.seconds = (now() - started).total_seconds()
    report.requests, report.bytes = client.requests, client.bytes
    return report


def _check_server(job: Job) -> None:
    """Refuse a destination that belongs to another server, before the first request."""
    job.destination.open(read_only=True)
    try:
        refuse_other_server(job.destination, job.server)
    finally:
        job.destination.close()


def _is_comparable(task: Task) -> bool:
    """Whether rows have a ``start``, which tells whether they are in the range that is compared."""
    return task.resource.reader.lists_versions and "start" in task.resource.table.schema.names


def _judge(report: VerifyReport, differences: int) -> None:
    report.status, report.exit_code = ("different", 3) if differences else ("equal", 0)
    report.message = "server and destination differ" if differences else ""


def _compare(job: Job, client: Client, task: Task, found: Ledger, listen: events.Listener) -> Comparison:
    name, before, reader = task.resource.name, client.requests, task.resource.reader
    source = Source(name, client, listen=listen, check=client.check)
    selection = _selection(job, task)
    (window,) = reader.plan(source, selection)
    listed = 0
    # Requests run in a background thread, so that this thread notices an interrupt.
    for page in in_background(reader.list_items(source, window), ahead=1, check=source.check):
        found.on_server((row.key, row.version) for row in page.rows)
        if (listed + len(page.rows)) // PROGRESS_EVERY > listed // PROGRESS_EVERY:
            listen(events.Noted(f"{name}: {listed + len(page.rows):,} listed"))
        listed += len(page.rows)
    destination = job.destination
    destination.open(read_only=True)
    try:
        table = task.resource.table
        for batch in destination.scan(table, [table.owner, table.version, "start"]):
            client.check()
            found.has_landed(_landed(batch, selection))
        found.has_failed(OpenFailures.of(destination, job.pipeline).keys(name))
        cursor = cursor_of(destination, job.pipeline, task)
    finally:
        destination.close()
    found.find_differences(append=task.disposition == "append")
    found.are_extra(_gone(source, window, task, found))
    comparison = found.comparison(-1 if cursor is None else cursor.seen)
    comparison.requests = client.requests - before
    return comparison


def _selection(job: Job, task: Task) -> Selection:
    """The task's selection, with an age in ``since`` fixed as in its first run."""
    job.destination.open(read_only=True)
    try:
        return selection_of(task, stored_position(job.destination, job.pipeline, task))
    finally:
        job.destination.close()


def _landed(batch: pa.RecordBatch, selection: Selection) -> Iterator[tuple[str, int | None, bool]]:
    for key, version, start in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        early = start is not None and selection.since is not None and start < selection.since
        late = start is not None and selection.until is not None and start >= selection.until
        yield key, version, not (early or late)


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
    wanted = {name: ToRepair(each) for name, each in ledgers.items()}
    wanted = {name: keys for name, keys in wanted.items() if len(keys)}
    if not wanted and not any(each.duplicated for each in report.resources.values()):
        return
    report.repair = done = run.repair(job, client, wanted, listen=listen, now=now)
    if done.status not in ("succeeded", "failures"):
        report.status, report.exit_code, report.message = done.status, done.exit_code, done.message
        return
    healed = sum(each.items for each in done.resources.values())
    extra = sum(each.extra for each in report.resources.values())
    _judge(report, sum(len(keys) for keys in wanted.values()) - healed + extra)
