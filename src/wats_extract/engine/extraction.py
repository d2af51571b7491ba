"""Extract one resource: read its windows, hand each chunk to the write buffer, record what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime

from wats_extract import events
from wats_extract.cursor import Cursor
from wats_extract.engine.accounting import Accounts, FailureRate, Receipt
from wats_extract.engine.buffer import WriteBuffer
from wats_extract.engine.job import Job, SizedKeys, Task
from wats_extract.engine.position import ResourcePosition
from wats_extract.engine.stamping import Stamper
from wats_extract.flow import Book, Chunk, Commit, Failure, Known, Window
from wats_extract.http.client import Client
from wats_extract.http.retry import WORTH_ANOTHER_TRY, WORTH_ANOTHER_TRY_STATUS
from wats_extract.readers.ahead import in_background
from wats_extract.readers.reader import Source
from wats_extract.state.failures import OpenFailures
from wats_extract.state.runs import runs_since
from wats_extract.state.tables import FAILURES


@dataclass(frozen=True)
class RunContext:
    """What the resources of one run share.

    Attributes:
        job: The job; its destination is open.
        client: Sends the requests.
        run_id: The run, for the rows.
        number: Its number: the order of the runs.
        buffer: Where chunks go.
        failures: The open failures of the pipeline.
        accounts: Counts what became durable.
        rate: Stops the run when too many items fail.
        stamp: Adds the run and the time to rows.
        listen: Receives progress events.
        now: The clock.
    """

    job: Job
    client: Client
    run_id: str
    number: int
    buffer: WriteBuffer[Receipt]
    failures: OpenFailures
    accounts: Accounts
    rate: FailureRate
    stamp: Stamper
    listen: events.Listener
    now: Callable[[], datetime]


class Extraction:
    """One resource of a run.

    Args:
        run: What the run's resources share.
        task: The resource.
    """

    def __init__(self, run: RunContext, task: Task) -> None:
        self._run, self._task = run, task
        self._name, self._reader = task.resource.name, task.resource.reader
        self._mends = False
        self._final: set[str] = set()  # keys of failures that fetching again cannot mend
        # A version changes with its item, and a resource with a cursor is not read from its beginning.
        versioned = task.resource.table.version or task.resource.cursor
        self._keeps_unchanged = task.disposition != "append" and not versioned
        self._listed: set[str] = set()  # keys of a full pass whose rows may have been left as they are
        self._position = ResourcePosition(run.job, task, run_id=run.run_id, number=run.number, now=run.now)

    def extract(self) -> None:
        """Load everything new, then fetch once more the items whose failure may have passed meanwhile.

        Raises:
            WatsExtractError: the reading stopped. Everything committed before stays.
        """
        with self._reported(self._position.cursor):
            self._read_on()
            self._fetch_again()
            self._write_end()
            self._run.buffer.flush()

    def extract_keys(self, keys: SizedKeys = (), *, mended: SizedKeys = ()) -> None:
        """Load just these items; the cursor does not move.

        Args:
            keys: Items that are loaded as usual.
            mended: Items whose rows somebody may have changed by hand. All of their rows are replaced,
                wherever they are, and with the disposition ``append`` too.

        Raises:
            WatsExtractError: the reading stopped. Everything committed before stays.
        """
        with self._reported(None):
            for some, self._mends in ((mended, True), (keys, False)):
                if len(some):
                    self._fetch(self._source(Known()), some)
            self._run.buffer.flush()

    # ── read ──

    def _read_on(self) -> None:
        """Read from the stored position to the end."""
        position = self._position
        source = self._source(self._known())
        windows = self._reader.plan(source, position.selection, cursor=position.cursor)
        self._load(source, windows, position.after, self._has_rows_of(position.cursor))

    def _fetch_again(self) -> None:
        """Fetch the items that failed in this run and may succeed now: a busy server may have recovered."""
        rows = self._run.failures.of_runs({self._run.run_id}, self._name)
        keys = [
            row["key"]
            for row in rows
            if row["key"] not in self._final
            and (row["error_code"] in WORTH_ANOTHER_TRY or row["http_status"] in WORTH_ANOTHER_TRY_STATUS)
        ]
        if keys:
            self._run.buffer.flush()  # fetching again may take long
            # The failures were counted when they came first.
            self._fetch(self._source(Known(), counted=False), keys)

    def _fetch(self, source: Source, keys: SizedKeys) -> None:
        """Read some keys; the cursor does not move."""
        self._run.listen(events.ItemsListed(self._name, len(keys), final=True))
        windows = self._reader.plan(source, self._task.selection, keys=iter(keys))
        self._load(source, windows, self._position.beside, _all_versions)

    def _load(
        self,
        source: Source,
        windows: Iterable[Window],
        book_of: Callable[[Chunk], Book],
        has_rows_of: Callable[[int | None], bool],
    ) -> None:
        """Read windows and write their chunks. Each chunk is read while the previous one is written."""
        read = (chunk for window in windows for chunk in self._reader.read(source, window))
        chunks = in_background(read, ahead=1, check=self._check) if self._reader.reads_ahead else read
        with closing(chunks):
            for chunk in chunks:
                self._write(chunk, book_of(chunk), has_rows_of)
                self._acknowledge(chunk)
                del chunk  # the next chunk needs the memory while it is read
                self._run.client.check()

    def _source(self, known: Known, *, counted: bool = True) -> Source:
        return Source(
            resource=self._name,
            client=self._run.client,
            known=known,
            judge=self._run.rate if counted else _uncounted,
            listen=self._run.listen,
            check=self._run.client.check,
        )

    def _known(self) -> Known:
        """What need not be read again. Rows in the write buffer count as loaded."""
        table = self._task.resource.table
        return Known(
            landed=lambda keys, versions: self._run.buffer.landed(table, keys, versions=versions),
            failed=frozenset(self._run.failures.keys(self._name)),
            skip=not (self._run.job.full_refresh or self._position.full_pass is not None),
        )

    def _check(self) -> None:
        """Called while waiting for the next chunk."""
        self._run.client.check()
        self._run.buffer.flush_if_idle()

    # ── write ──

    def _write(self, chunk: Chunk, book: Book, has_rows_of: Callable[[int | None], bool]) -> None:
        """Put a chunk's rows, failures and cursor into the write buffer, as one commit."""
        run, now = self._run, self._run.now()
        self._final.update(failure.key for failure in chunk.failures if failure.final)
        places = [(self._name, key) for key in (*chunk.landed, *chunk.healed)] if run.failures else ()
        failed = run.failures.rows_for(chunk.failures, places, run_id=run.run_id, now=now)
        book = {**book, FAILURES: failed} if failed else book
        if not (chunk.landed or book):
            return
        append = self._task.disposition == "append" and not self._mends
        commit = Commit(
            label=f"{run.job.pipeline}-{self._name}-{chunk.label}",
            rows=run.stamp(self._task.resource.tables, chunk.rows, now=now) if chunk.landed else {},
            landed=chunk.landed,
            replaced=frozenset()
            if append
            else frozenset(key for key, version in chunk.landed.items() if has_rows_of(version)),
            book=book,
            upsert=not append,
            thorough=self._mends,
            keeps_unchanged=self._keeps_unchanged and not self._mends,
        )
        if self._keeps_unchanged and self._position.full_pass:
            self._listed.update(chunk.landed)
        run.failures.settle(failed)
        run.buffer.add(commit, Receipt.of(self._name, chunk))

    def _acknowledge(self, chunk: Chunk) -> None:
        """Delete a chunk's items from the server's queue, once the chunk is durable."""
        if chunk.acknowledge:
            self._run.buffer.flush()
        for route in chunk.acknowledge:
            self._run.client.acknowledge(route)

    def _write_end(self) -> None:
        """Record what is covered. At the end of a full pass, remove the rows of items that are gone."""
        book = self._position.at_end()
        if not book:
            return
        full_pass = self._position.full_pass
        runs = runs_since(self._run.job.destination, full_pass.first_run) if full_pass else frozenset()
        unread = self._unread(runs)
        sweeps = full_pass is not None and self._position.whole and unread is not None
        commit = Commit(
            label=f"{self._run.job.pipeline}-{self._name}-{self._run.run_id}-end",
            rows={table: [] for table in self._task.resource.tables} if sweeps else {},
            landed={},
            replaced=frozenset(),
            book=book,
            sweep_except=runs if sweeps else None,
            kept=(unread or frozenset()) | self._listed,
        )
        self._run.buffer.add(commit, Receipt(self._name))

    def _unread(self, runs: frozenset[str]) -> frozenset[str] | None:
        """The items that the runs of a pass listed and could not read; ``None`` if a list was cut off."""
        rows = self._run.failures.of_runs(runs, self._name)
        if any(row["error_code"] == "WINDOW_SATURATED" for row in rows):
            return None
        return frozenset(row["key"] for row in rows)

    def _has_rows_of(self, cursor: Cursor | None) -> Callable[[int | None], bool]:
        """Tells which versions of items may have rows in child tables although the items are not loaded.

        Somebody may have deleted a report by hand and left its steps. Items newer than the cursor have no
        rows, unless the cursor was set back.
        """
        tables = self._task.resource.tables
        if self._run.job.full_refresh and any(self._run.job.destination.count(tables).values()):
            return _all_versions
        seen = -1 if cursor is None else cursor.seen
        return lambda version: version is not None and version <= seen

    # ── report ──

    @contextmanager
    def _reported(self, cursor: Cursor | None) -> Iterator[None]:
        account = self._run.accounts.open(self._task, cursor)
        before = self._run.client.requests
        self._run.listen(events.ResourceStarted(self._name))
        try:
            yield
        finally:
            account.requests = self._run.client.requests - before
            self._run.listen(events.ResourceEnded(self._name))


def _all_versions(version: int | None) -> bool:  # noqa: ARG001
    return True


def _uncounted(failure: Failure | None, times: int = 1) -> None:
    """Count nothing."""
