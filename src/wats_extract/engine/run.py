"""One execution of a pipeline: read, stamp, commit; failures recorded, cursors moved, all in one commit."""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import pyarrow as pa

from wats_extract import events
from wats_extract.engine.buffer import WriteBuffer
from wats_extract.engine.job import Job, Keys, ResourceReport, RunReport, Task, Tolerance
from wats_extract.errors import DestinationError, Interrupted, TooManyFailures, WatsExtractError
from wats_extract.flow import Chunk, Commit, Cursor, Destination, Known, Window
from wats_extract.http.client import Client
from wats_extract.http.retry import WORTH_ANOTHER_TRY, WORTH_ANOTHER_TRY_STATUS
from wats_extract.readers.ahead import in_background
from wats_extract.readers.reading import Reading
from wats_extract.state.failures import OpenFailures
from wats_extract.state.tables import BOOKKEEPING, COVERAGE, FAILURES, RUNS, STATE, cursor_in
from wats_extract.tables import TIMESTAMP, Rows, Table
from wats_extract.version import __version__

RECENT_ITEMS = 100
"""How many of the last items ``stop_at_failures`` looks at; fewer are no ground to stop."""


def execute(
    job: Job,
    client: Client,
    *,
    command: str = "run",
    listen: events.Listener = events.nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunReport:
    """Extract a job's resources, from where the last run ended.

    What goes wrong with single items is in ``_wats_failures``; what ends the run is in the report's
    status and message. Everything committed before stays. At the end of each resource, items whose failure
    may have passed meanwhile (no connection, a server error, …) are asked for once more.

    Args:
        job: What to extract, and where to.
        client: Asks the server.
        command: What ``_wats_runs`` calls it: ``run`` or ``backfill``.
        listen: Told what happens.
        now: The clock.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _opened(job, client, command, listen, now) as run, run.accounted():
        for task in job.tasks:
            run.extract(task)
    return run.report


def retry(
    job: Job,
    client: Client,
    *,
    code: str | None = None,
    keys: Sequence[str] = (),
    listen: events.Listener = events.nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunReport:
    """Fetch just the items that failed again; what heals is marked in the commit that lands it.

    Args:
        job: As for :func:`execute`; its selections do not matter, cursors do not move.
        client: Asks the server.
        code: Only failures with this error code.
        keys: Only these keys; all where it is empty.
        listen: Told what happens.
        now: The clock.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _opened(job, client, "retry", listen, now) as run, run.accounted():
        for task in job.tasks:
            wanted = run.open_failures.keys(task.resource.name, code=code)
            run.extract_keys(task, [key for key in wanted if not keys or key in keys])
    return run.report


def repair(
    job: Job,
    client: Client,
    keys: Mapping[str, Keys],
    *,
    listen: events.Listener = events.nobody,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunReport:
    """Fetch just these items, by resource; cursors do not move.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    with _opened(job, client, "verify", listen, now) as run, run.accounted():
        for task in job.tasks:
            if task.resource.name in keys:
                run.extract_keys(task, keys[task.resource.name])
    return run.report


def cursor_of(destination: Destination, pipeline: str, task: Task) -> Cursor | None:
    """Where the last run ended, or ``None`` where the next one begins from the beginning."""
    if task.disposition == "replace":
        return None
    return _position(_stored_state(destination, pipeline, task))


class _Run:
    """A run while it goes."""

    def __init__(
        self,
        job: Job,
        client: Client,
        command: str,
        listen: events.Listener,
        now: Callable[[], datetime],
    ) -> None:
        self.job, self.client, self.listen, self.now = job, client, listen, now
        self.command = command
        self.started = now()
        # to the microsecond: ids sort in the order of their runs
        run_id = f"{self.started:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
        self.report = RunReport(run_id, job.pipeline)
        self.open_failures = OpenFailures.of(job.destination, job.pipeline)
        self._verdict = _Verdict(job.stop_at_failures)
        self._saturated: list[str] = []
        self.buffer = WriteBuffer(job.destination, on_durable=self._account)
        self._run_ids = pa.array([], pa.string())

    # ── from beginning to end ──

    @contextmanager
    def accounted(self) -> Iterator[None]:
        """Write the run's row at its beginning and end, and say how it ended."""
        self._abandon_earlier()
        self._book("begin", {RUNS: [self._row()]})
        names = tuple(task.resource.name for task in self.job.tasks)
        self.listen(events.RunStarted(self.report.run_id, self.job.pipeline, names))
        try:
            yield
        except WatsExtractError as error:
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
        resources = [task.resource.name for task in self.job.tasks]
        still_open = self.open_failures.count(resources)
        if not still_open:
            return "succeeded", 0, ""
        if self._saturated:
            return "incomplete", 4, f"{', '.join(self._saturated)}: the server may have more than it gives"
        landed = self.job.destination.count(task.resource.table for task in self.job.tasks)
        if self.job.max_failures.allows(still_open, sum(landed.values()) + still_open):
            return "succeeded", 0, f"{still_open} failures, within max_failures"
        return "failures", 3, ""

    def _end(self, status: str, exit_code: int, message: str) -> None:
        report = self.report
        report.status, report.exit_code, report.message = status, exit_code, self.client.mask(message)
        try:
            self.buffer.flush()
        except (DestinationError, Interrupted):
            if exit_code == 0:
                raise  # otherwise what went wrong first is what counts
        report.open_failures = self.open_failures.count(task.resource.name for task in self.job.tasks)
        self._measure()
        try:
            self._book("end", {RUNS: [self._row(ended=self.now())]})
        except (DestinationError, Interrupted):
            if exit_code == 0:
                raise  # otherwise what went wrong first is what counts; the row stays "running"

    def _measure(self) -> None:
        report = self.report
        report.seconds = (self.now() - self.started).total_seconds()
        report.requests, report.bytes = self.client.requests, self.client.bytes

    def _row(self, ended: datetime | None = None) -> dict[str, Any]:
        report = self.report
        return {
            "run_id": report.run_id,
            "pipeline": report.pipeline,
            "command": self.command,
            "status": report.status,
            "started_at": self.started,
            "ended_at": ended,
            "seconds": report.seconds if ended else None,
            "requests": report.requests,
            "bytes": report.bytes,
            "rows": sum(each.rows for each in report.resources.values()),
            "failures": report.failures,
            "message": report.message,
            "version": __version__,
        }

    def _abandon_earlier(self) -> None:
        """Runs that never ended were killed: nothing else can have held the lock."""
        rows = self.job.destination.read(RUNS, pipeline=self.job.pipeline, status="running").to_pylist()
        killed = [row | {"status": "killed", "message": "the process ended without a word"} for row in rows]
        if killed:
            self._book("abandon", {RUNS: killed})

    def _book(self, step: str, book: Mapping[Table, Sequence[Mapping[str, Any]]]) -> None:
        label = f"{self.report.run_id}-{step}"
        self.job.destination.commit(Commit(label, {}, {}, frozenset(), book))

    # ── one resource ──

    def extract(self, task: Task) -> None:
        """Everything new of one resource."""
        place = _Place(self, task)
        with self._counted(task) as account:
            account.cursor = place.cursor
            self._read_on(task, place)
            self._look_again(task)
            self._commit_end(task, place)

    def _read_on(self, task: Task, place: _Place) -> None:
        """Read and commit from where the resource stands.

        Each chunk is read while the one before it is committed, and commits are buffered, except for
        ``append``: it looks up what has landed before each page.
        """
        reading = self._reading(task, place.cursor, place.known())
        maybe_there = self._maybe_there(task, place.cursor)
        alone = task.resource.reader.waits_for_commits or task.disposition == "append"
        read = task.resource.reader.read(reading)
        chunks: Generator[Chunk] = (
            (chunk for chunk in read)
            if alone
            else in_background(read, ahead=0, check=self.buffer.flush_if_idle)
        )
        with closing(chunks):
            for chunk in chunks:
                self._commit(task, chunk, place.book(chunk), maybe_there, at_once=alone)
                del chunk  # while the next is read, it needs the memory
        self.buffer.flush()

    def extract_keys(self, task: Task, keys: Keys) -> None:
        """Just these items of one resource."""
        with self._counted(task):
            self._fetch(self._reading(task, None, Known()), task, keys)

    def _look_again(self, task: Task) -> None:
        """The items that failed in this run, if that may have passed by now.

        A request is tried six times, within seconds; a busy server may need longer to recover.
        """
        rows = self.open_failures.of_run(self.report.run_id, task.resource.name)
        keys = [row["key"] for row in rows if _may_have_passed(row)]
        if keys:
            # they have been judged: failing a second time says nothing new about the server
            reading = replace(self._reading(task, None, Known()), judge=lambda ok, times=1: None)
            self._fetch(reading, task, keys)

    def _fetch(self, reading: Reading, task: Task, keys: Keys) -> None:
        self.listen(events.ItemsListed(task.resource.name, len(keys), final=True))
        for chunk in task.resource.reader.read_keys(reading, iter(keys)):
            read_again = [self.window_row(task, chunk.window)] if chunk.window else []
            self._commit(task, chunk, {COVERAGE: read_again} if read_again else {}, _any_version)
        self.buffer.flush()

    def window_row(self, task: Task, window: Window) -> Mapping[str, Any]:
        """What the ledger says of a stretch that was read."""
        return {
            "pipeline": self.job.pipeline,
            "resource": task.resource.name,
            "field": "start",
            "range_start": window.begin,
            "range_end": window.end,
            "rows": window.rows,
            "cap": window.cap,
            "complete": window.complete,
            "run_id": self.report.run_id,
        }

    def _reading(self, task: Task, cursor: Cursor | None, known: Known) -> Reading:
        return Reading(
            resource=task.resource.name,
            client=self.client,
            selection=task.selection,
            cursor=cursor,
            known=known,
            judge=self._verdict,
            listen=self.listen,
            check=self.client.check,
        )

    @contextmanager
    def _counted(self, task: Task) -> Iterator[ResourceReport]:
        name = task.resource.name
        account = self.report.resources[name] = ResourceReport()
        account.tables = {table.name: 0 for table in task.resource.tables}
        before = self.client.requests
        self.listen(events.ResourceStarted(name))
        try:
            yield account
        finally:
            account.requests = self.client.requests - before
            self.listen(events.ResourceEnded(name))

    def _commit(
        self,
        task: Task,
        chunk: Chunk,
        book: Mapping[Table, Sequence[Mapping[str, Any]]],
        maybe_there: Callable[[int | None], bool],
        *,
        at_once: bool = False,
    ) -> None:
        """Rows, failures and cursor, together or not at all."""
        name, now = task.resource.name, self.now()
        places = [(name, key) for key in (*chunk.landed, *chunk.healed)] if self.open_failures else ()
        failed = self.open_failures.rows_for(chunk.failures, places, run_id=self.report.run_id, now=now)
        book = {**book, FAILURES: failed} if failed else book
        if not (chunk.landed or book):
            return
        commit = Commit(
            label=f"{self.job.pipeline}-{name}-{chunk.label}",
            rows=self._stamped(task, chunk.rows, now) if chunk.landed else {},
            landed=chunk.landed,
            replaced=self._replaced(task, chunk, maybe_there),
            book=book,
            upsert=task.disposition != "append",
        )
        self.open_failures.settle(failed)
        self.buffer.add(commit, _Landed.of(name, chunk))
        if at_once:
            self.buffer.flush()

    def _replaced(
        self, task: Task, chunk: Chunk, maybe_there: Callable[[int | None], bool]
    ) -> frozenset[str]:
        """The items of which rows may be left without one in the main table.

        Somebody may have deleted a report by hand, and left its steps.
        """
        if task.disposition == "append":
            return frozenset()
        return frozenset(key for key, version in chunk.landed.items() if maybe_there(version))

    def _maybe_there(self, task: Task, cursor: Cursor | None) -> Callable[[int | None], bool]:
        """Which versions of items may have rows though they have not landed, as far as that is cheap to say.

        What is newer than the cursor has none, unless the cursor was set back.
        """
        if self.job.full_refresh and any(self.job.destination.count(task.resource.tables).values()):
            return _any_version
        reached = (cursor or {}).get("time_stamp")
        return lambda version: reached is not None and version is not None and version <= reached

    def _stamped(self, task: Task, rows: Rows, now: datetime) -> Rows:
        """The rows with the run and the moment, in batches as they were."""
        shredded = {
            table: pa.Table.from_batches(rows.get(table, ()), table.shredded_schema)
            for table in task.resource.tables
        }
        most = max(each.num_rows for each in shredded.values())
        if len(self._run_ids) < most:  # the same for all rows of all chunks
            self._run_ids = pa.repeat(self.report.run_id, max(most, 2 * len(self._run_ids)))
        moment = pa.scalar(now, TIMESTAMP)
        stamped: dict[Table, list[pa.RecordBatch]] = {}
        for table, each in shredded.items():
            # a destination may keep the rows of small tables, and with a slice all that it is a slice of
            stamps = (self._run_ids.slice(0, each.num_rows), pa.repeat(moment, each.num_rows))
            columns = [*each.columns, *stamps]
            stamped[table] = pa.Table.from_arrays(columns, schema=table.schema).to_batches()
        return stamped

    def _account(self, chunks: Sequence[_Landed]) -> None:
        """Account for what has become durable."""
        for chunk in chunks:
            self._account_chunk(chunk)

    def _account_chunk(self, landed: _Landed) -> None:
        name, account = landed.resource, self.report.resources[landed.resource]
        for table, count in landed.rows.items():
            account.tables[table] += count
        account.rows += sum(landed.rows.values())
        account.items += landed.items
        account.failures = len(self.open_failures.of_run(self.report.run_id, name))
        account.cursor = landed.cursor or account.cursor
        self.report.failures = sum(each.failures for each in self.report.resources.values())
        if landed.saturated:
            self._saturated.append(name)
        self.listen(events.Committed(name, landed.items, landed.rows, landed.failures))

    def _commit_end(self, task: Task, place: _Place) -> None:
        """The reading is over: say what is covered; where a full pass is whole, sweep what is gone."""
        book = place.end_book()
        if not book:
            return
        unread = self._unread(task, place)
        sweep = place.pass_started if place.whole and unread is not None else None
        self.job.destination.commit(
            Commit(
                label=f"{self.job.pipeline}-{task.resource.name}-{self.report.run_id}-end",
                rows={table: [] for table in task.resource.tables} if sweep else {},
                landed={},
                replaced=frozenset(),
                book=book,
                sweep_before=sweep,
                kept=unread or frozenset(),
            )
        )

    def _unread(self, task: Task, place: _Place) -> frozenset[str] | None:
        """The items that a full pass has listed and could not read; ``None`` where its list was cut off."""
        if place.pass_started is None:
            return frozenset()
        rows = self.open_failures.since(place.pass_started, task.resource.name)
        if any(row["error_code"] == "WINDOW_SATURATED" for row in rows):
            return None
        return frozenset(row["key"] for row in rows)


@dataclass(frozen=True, slots=True)
class _Landed:
    """What is left of a chunk to say when its rows have gone to the destination.

    Attributes:
        resource: Its name.
        items: How many.
        rows: How many, by table.
        failures: How many.
        cursor: The position behind it, ``None`` where it does not move.
        saturated: Whether the server may have more than it gave.
    """

    resource: str
    items: int
    rows: dict[str, int]
    failures: int
    cursor: Cursor | None
    saturated: bool

    @classmethod
    def of(cls, resource: str, chunk: Chunk) -> _Landed:
        return cls(
            resource,
            len(chunk.landed),
            {table.name: sum(batch.num_rows for batch in rows) for table, rows in chunk.rows.items()},
            len(chunk.failures),
            chunk.cursor,
            any(failure.error_code == "WINDOW_SATURATED" for failure in chunk.failures),
        )


class _Place:
    """Where a resource stands in the state, and the rows that move it.

    Attributes:
        cursor: How far it has been read.
        pass_started: When the full pass of a ``replace`` began, ``None`` for other dispositions.
        whole: Whether this reading goes to the end; one with a limit leaves its pass to the next.
    """

    def __init__(self, run: _Run, task: Task) -> None:
        self._run, self._task = run, task
        self._key = {"pipeline": run.job.pipeline, "resource": task.resource.name}
        state = _stored_state(run.job.destination, run.job.pipeline, task)
        self.pass_started: datetime | None = None
        if task.disposition == "replace":
            if run.job.full_refresh or state.get("pass_ended", True):
                state = {"pass_started": run.now().isoformat()}
            self.pass_started = datetime.fromisoformat(state["pass_started"])
        self.cursor: Cursor | None = None if run.job.full_refresh else _position(state)
        self._begun_at = self.cursor
        self._rows = 0
        self._windowed = False
        self.whole = task.selection.limit is None

    def known(self) -> Known:
        """What need not be asked for again."""
        run, task = self._run, self._task
        again = run.job.full_refresh or self.pass_started is not None
        return Known(
            landed=lambda keys, versions: run.buffer.landed(task.resource.table, keys, versions=versions),
            failed=frozenset(run.open_failures.keys(task.resource.name)),
            skip=not again,
        )

    def book(self, chunk: Chunk) -> dict[Table, list[Mapping[str, Any]]]:
        """The state's row after a chunk; empty where nothing moves."""
        self._rows += len(chunk.landed)
        windows = [self._run.window_row(self._task, chunk.window)] if chunk.window else []
        self._windowed |= bool(windows)
        book: dict[Table, list[Mapping[str, Any]]] = {COVERAGE: windows} if windows else {}
        if chunk.cursor is None or (
            not chunk.landed and not chunk.failures and not self._moves(chunk.cursor)
        ):
            return book
        self.cursor = chunk.cursor
        return book | {STATE: [self._row({"pass_ended": False})]}

    def end_book(self) -> dict[Table, list[Mapping[str, Any]]]:
        """The rows after the last chunk; empty where nothing was new."""
        if self.cursor == self._begun_at and self.pass_started is None:
            return {}
        moved: dict[Table, list[Mapping[str, Any]]] = {STATE: [self._row({"pass_ended": self.whole})]}
        if self._windowed:
            return moved
        window = self._key | {
            "field": "time_stamp",
            "range_start": _json(self._begun_at) if self._begun_at else "",
            "range_end": _json(self.cursor) if self.cursor else "",
            "rows": self._rows,
            "cap": None,
            "complete": self.whole,
            "run_id": self._run.report.run_id,
        }
        return moved | {COVERAGE: [window]}

    def _moves(self, cursor: Cursor) -> bool:
        before = self.cursor or {}
        return any(cursor.get(name) != before.get(name) for name in ("time_stamp", "start"))

    def _row(self, of_pass: Mapping[str, Any]) -> dict[str, Any]:
        state = dict(self.cursor or {})
        if self.pass_started is not None:
            state |= {"pass_started": self.pass_started.isoformat(), **of_pass}
        return self._key | {
            "selection": self._task.fingerprint,
            "cursor": _json(state),
            "updated_at": self._run.now(),
            "run_id": self._run.report.run_id,
        }


def _any_version(version: int | None) -> bool:  # noqa: ARG001 - each of them
    return True


def _may_have_passed(failure: Mapping[str, Any]) -> bool:
    return failure["error_code"] in WORTH_ANOTHER_TRY or failure["http_status"] in WORTH_ANOTHER_TRY_STATUS


def _stored_state(destination: Destination, pipeline: str, task: Task) -> dict[str, Any]:
    place = {"pipeline": pipeline, "resource": task.resource.name, "selection": task.fingerprint}
    stored = destination.read(STATE, **place).to_pylist()
    return cursor_in(stored[0]) if stored else {}


def _position(state: Mapping[str, Any]) -> Cursor | None:
    return {name: value for name, value in state.items() if not name.startswith("pass_")} or None


class _Verdict:
    """Watches how many of the recent items fail."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self._recent: deque[bool] = deque(maxlen=RECENT_ITEMS)
        self._failures = 0

    def __call__(self, ok: bool, times: int = 1) -> None:  # noqa: FBT001
        self._recent.extend(repeat(ok, min(times, RECENT_ITEMS)))
        self._failures += 0 if ok else times
        if ok:
            return
        recent = RECENT_ITEMS - sum(self._recent)
        if self._tolerance.percent:
            alarming = len(self._recent) == RECENT_ITEMS and self._tolerance.reached(recent, RECENT_ITEMS)
            what = f"{recent} of the last {RECENT_ITEMS} items failed"
        else:
            alarming = self._tolerance.reached(self._failures, RECENT_ITEMS)
            what = f"{self._failures} items failed"
        if alarming:
            raise TooManyFailures(
                f"{what}, which is stop_at_failures ({self._tolerance})",
                hint="Look at wats-extract failures; mend the cause, then retry, then run again.",
            )


class _Patience:
    """Says what a destination waits for, and ends that when the run is to stop."""

    def __init__(self, client: Client, listen: events.Listener) -> None:
        self._client, self._listen = client, listen
        self._told: dict[str, float] = {}

    def __call__(self, reason: str, seconds: float) -> None:
        self._client.check()
        if seconds > self._told.get(reason, 0):  # another wait than the one that was told of
            self._listen(events.Waiting(reason, seconds))
        self._told[reason] = seconds


_STATUS = {2: "refused", 4: "incomplete", 5: "unreachable", 130: "interrupted", 143: "interrupted"}


@contextmanager
def _opened(
    job: Job, client: Client, command: str, listen: events.Listener, now: Callable[[], datetime]
) -> Iterator[_Run]:
    destination = job.destination
    destination.while_waiting = _Patience(client, listen)
    with destination.exclusive(job.pipeline, check=client.check, listen=listen):
        destination.open()
        try:
            destination.prepare(
                [*BOOKKEEPING, *(table for task in job.tasks for table in task.resource.tables)]
            )
            yield _Run(job, client, command, listen, now)
        finally:
            destination.close()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
