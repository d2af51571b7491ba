"""One execution of a pipeline: open the destination, extract each resource, and record how it ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from wats_extract import events
from wats_extract.engine.accounting import Accounts, FailureRate, Receipt
from wats_extract.engine.buffer import WriteBuffer
from wats_extract.engine.extraction import Extraction, RunContext
from wats_extract.engine.job import Job, RunReport, SizedKeys
from wats_extract.engine.stamping import Stamper
from wats_extract.errors import DestinationError, Interrupted, WatsExtractError, freed
from wats_extract.flow import Book, Commit, Destination, Failure
from wats_extract.http.client import Client
from wats_extract.state.failures import OpenFailures
from wats_extract.state.ownership import refuse_other_server, server_row
from wats_extract.state.runs import next_number
from wats_extract.state.tables import BOOKKEEPING, FAILURES, RUNS, STATE
from wats_extract.version import __version__

Clock = Callable[[], datetime]

_utc = partial(datetime.now, UTC)


def execute(
    job: Job,
    client: Client,
    *,
    command: str = "run",
    listen: events.Listener = events.nobody,
    now: Clock = _utc,
) -> RunReport:
    """Extract a job's resources, from where the last run ended.

    Failures of single items are rows of ``_wats_failures``. The report's status and message say what ended
    the run. Everything committed before stays. At the end of each resource, items whose failure may have
    passed meanwhile (no connection, a server error, …) are fetched once more.

    Args:
        job: What to extract, and where to.
        client: Sends the requests.
        command: The command in ``_wats_runs``: ``run`` or ``backfill``.
        listen: Receives progress events.
        now: The clock.

    Raises:
        ConfigurationError: the destination belongs to another server; no request was sent.
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _Run.opened(job, client, command, listen, now) as run:
        for task in job.tasks:
            Extraction(run.context, task).extract()
    return run.report


def retry(
    job: Job,
    client: Client,
    *,
    code: str | None = None,
    keys: Sequence[str] = (),
    listen: events.Listener = events.nobody,
    now: Clock = _utc,
) -> RunReport:
    """Fetch the failed items again; those that succeed are marked resolved in the same commit.

    Args:
        job: As for :func:`execute`. Its selections do not matter, and cursors do not move.
        client: Sends the requests.
        code: Only failures with this error code.
        keys: Only these keys; all if it is empty.
        listen: Receives progress events.
        now: The clock.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _Run.opened(job, client, "retry", listen, now) as run:
        for task in job.tasks:
            failed = run.context.failures.keys(task.resource.name, code=code)
            Extraction(run.context, task).extract_keys([key for key in failed if not keys or key in keys])
    return run.report


def repair(
    job: Job,
    client: Client,
    keys: Mapping[str, SizedKeys],
    *,
    appended: Mapping[str, SizedKeys] | None = None,
    listen: events.Listener = events.nobody,
    now: Clock = _utc,
) -> RunReport:
    """Fetch items that differ from the server; cursors do not move.

    Args:
        job: As for :func:`execute`.
        client: Sends the requests.
        keys: The items whose rows are replaced, by resource.
        appended: The items whose new version is added to older ones, by resource.
        listen: Receives progress events.
        now: The clock.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _Run.opened(job, client, "verify", listen, now) as run:
        for task in job.tasks:
            name = task.resource.name
            more = appended.get(name, ()) if appended else ()
            if name in keys or len(more):
                Extraction(run.context, task).extract_keys(more, mended=keys.get(name, ()))
    return run.report


_STATUS = {2: "refused", 4: "incomplete", 5: "unreachable", 130: "interrupted", 143: "interrupted"}


class _Run:
    """A run: its report, its row in ``_wats_runs``, and what its resources share."""

    def __init__(
        self,
        job: Job,
        client: Client,
        command: str,
        listen: events.Listener,
        now: Clock,
        *,
        recorded: str,
    ) -> None:
        self._job, self._client, self._now = job, client, now
        self._command, self._started = command, now()
        self._timer = time.monotonic()
        self._number = next_number(job.destination)
        run_id = f"{self._started:%Y%m%dT%H%M%S%f}-{secrets.token_hex(6)}"
        self.report = RunReport(run_id, job.pipeline, server=job.server, destination=job.destination.place)
        failures = OpenFailures.of(job.destination, job.pipeline)
        self._accounts = Accounts(self.report, failures, listen)
        self.context = RunContext(
            job=job,
            client=client,
            run_id=run_id,
            number=self._number,
            buffer=self._buffer(recorded),
            failures=failures,
            accounts=self._accounts,
            rate=FailureRate(job.stop_at_failures),
            stamp=Stamper(run_id),
            listen=listen,
            now=now,
        )

    @classmethod
    @contextmanager
    def opened(
        cls, job: Job, client: Client, command: str, listen: events.Listener, now: Clock
    ) -> Iterator[_Run]:
        """Open the destination for this pipeline alone, and keep the run's row in ``_wats_runs``."""
        destination = job.destination
        destination.while_waiting = _WaitingForOthers(client, listen)
        with destination.exclusive(job.pipeline, check=client.check, listen=listen):
            destination.open()
            try:
                recorded = refuse_other_server(destination, job.server)
                tables = [table for task in job.tasks for table in task.resource.tables]
                destination.prepare([*BOOKKEEPING, *tables])
                for table in BOOKKEEPING:
                    destination.reconcile([table])
                for task in job.tasks:
                    destination.reconcile(task.resource.tables, append=task.disposition == "append")
                run = cls(job, client, command, listen, now, recorded=recorded)
                with run._recorded():
                    yield run
            finally:
                destination.close()

    def _buffer(self, recorded: str) -> WriteBuffer[Receipt]:
        """The write buffer; until a server is recorded, each commit of data records the run's."""
        destination, server = self._job.destination, self._job.server
        if recorded or not server:
            return WriteBuffer(destination, on_durable=self._accounts.durable, on_refused=self._refused)
        row = server_row(server, run_id=self.report.run_id, now=self._started)
        return _RecordingBuffer(
            destination, on_durable=self._accounts.durable, on_refused=self._refused, row=row
        )

    def _refused(self, receipt: Receipt, key: str, rows: Mapping[str, int]) -> tuple[Receipt, Book]:
        """Record the failure of an item that the destination cannot commit even alone."""
        run = self.context
        failure = Failure(
            receipt.resource,
            key,
            "shred",
            "INVALID_RECORD",
            "its rows do not fit into memory, even without those of other items",
            hint="Extract it on a machine with more memory.",
        )
        failed = run.failures.rows_for([failure], (), run_id=run.run_id, now=self._now())
        run.failures.settle(failed)
        run.listen(events.ItemFailed(failure))
        return receipt.without(rows), {FAILURES: failed}

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Write the run's row at its beginning and at its end, and set how it ended."""
        self._close_killed_runs()
        self._write_row("begin", [self._row()])
        names = tuple(task.resource.name for task in self._job.tasks)
        self.context.listen(events.RunStarted(self.report.run_id, self._job.pipeline, names))
        try:
            yield
            self._client.check()  # for an interrupt after the last request
        except WatsExtractError as error:
            self.report.error = freed(error)
            self._end(_STATUS.get(error.exit_code, "failed"), error.exit_code, str(error))
        except KeyboardInterrupt:
            self._end("interrupted", 130, "interrupted")
            raise
        except BaseException as error:
            self._end("failed", 1, f"{type(error).__name__}: {error}")
            raise
        else:
            self._end(*self._outcome())

    def _outcome(self) -> tuple[str, int, str]:
        """Status, exit code and message of a run that came to its end."""
        still_open = self._open_failures()
        if not still_open:
            return "succeeded", 0, ""
        if self._accounts.saturated:
            names = ", ".join(self._accounts.saturated)
            return "incomplete", 4, f"{names}: the server may have more than it returned"
        tables = [task.resource.table for task in self._job.tasks]
        # counting rows opens every file, so it is done only where a share of them matters
        loaded = self._job.destination.count(tables) if self._job.max_failures.percent else {}
        if self._job.max_failures.allows(still_open, sum(loaded.values()) + still_open):
            return "succeeded", 0, f"{still_open} failures, within max_failures"
        return "failures", 3, ""

    def _end(self, status: str, exit_code: int, message: str) -> None:
        report = self.report
        report.status, report.exit_code, report.message = status, exit_code, self._client.mask(message)
        with self._first_error_counts(exit_code):
            self.context.buffer.flush()
        report.open_failures = self._open_failures()
        self._measure()
        with self._first_error_counts(exit_code):
            self._write_row("end", [self._row(ended=self._now())])

    @contextmanager
    def _first_error_counts(self, exit_code: int) -> Iterator[None]:
        """Ignore a destination that fails after the run has failed: the first error is the one to report."""
        try:
            yield
        except (DestinationError, Interrupted):
            if exit_code == 0:
                raise

    def _open_failures(self) -> int:
        return self.context.failures.count([task.resource.name for task in self._job.tasks])

    def _measure(self) -> None:
        report = self.report
        report.seconds = time.monotonic() - self._timer
        report.requests, report.bytes = self._client.requests, self._client.bytes

    # ── the row in _wats_runs ──

    def _row(self, ended: datetime | None = None) -> dict[str, Any]:
        report = self.report
        return {
            "run_id": report.run_id,
            "number": self._number,
            "pipeline": report.pipeline,
            "command": self._command,
            "server": self._job.server or None,
            "status": report.status,
            "started_at": self._started,
            "ended_at": ended,
            "seconds": report.seconds if ended else None,
            "requests": report.requests,
            "bytes": report.bytes,
            "rows": sum(each.rows for each in report.resources.values()),
            "failures": report.failures,
            "values_kept_in_extra": report.values_kept_in_extra,
            "message": report.message,
            "version": __version__,
        }

    def _close_killed_runs(self) -> None:
        """Mark runs that never ended: their process was killed, because nothing else can hold the lock."""
        rows = self._job.destination.read(RUNS, pipeline=self._job.pipeline, status="running").to_pylist()
        killed = [row | {"status": "killed", "message": "the process ended unexpectedly"} for row in rows]
        if killed:
            self._write_row("abandon", killed)

    def _write_row(self, step: str, rows: Sequence[Mapping[str, Any]]) -> None:
        label = f"{self.report.run_id}-{step}"
        self._job.destination.commit(Commit(label, {}, {}, frozenset(), {RUNS: rows}))


class _RecordingBuffer(WriteBuffer[Receipt]):
    """A write buffer that adds a row of ``_wats_state`` to each commit.

    Only commits of data have it, not the run's row in ``_wats_runs``: a run that loads nothing, because its
    address is mistyped, must not claim the destination.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        on_durable: Callable[[Sequence[Receipt]], None],
        on_refused: Callable[[Receipt, str, Mapping[str, int]], tuple[Receipt, Book]],
        row: Mapping[str, Any],
    ) -> None:
        super().__init__(destination, on_durable=on_durable, on_refused=on_refused)
        self._row = row

    def add(self, commit: Commit, receipt: Receipt) -> None:
        """Buffer a commit with the row."""
        book = {**commit.book, STATE: [*commit.book.get(STATE, ()), self._row]}
        super().add(replace(commit, book=book), receipt)


class _WaitingForOthers:
    """Reports what a destination waits for, and stops the wait when the run has to stop."""

    def __init__(self, client: Client, listen: events.Listener) -> None:
        self._client, self._listen = client, listen
        self._reported: dict[str, float] = {}

    def __call__(self, reason: str, seconds: float) -> None:
        self._client.check()
        if seconds > self._reported.get(reason, 0):  # a new wait, not the one that was reported
            self._listen(events.Waiting(reason, seconds))
        self._reported[reason] = seconds
