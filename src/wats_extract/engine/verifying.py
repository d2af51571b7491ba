"""What the server has beside what has landed: missing, outdated, extra and duplicated reports.

Both sides go into a scratch database on disk, so memory does not grow with the number of reports. The
server is listed first: what lands meanwhile is no difference. What has landed and is not on the list may
only be outside the selection, so the server is asked for it by uuid before it is called extra.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from wats_extract import events
from wats_extract.engine import run
from wats_extract.engine.job import Job, RunReport, Task
from wats_extract.engine.run import cursor_of
from wats_extract.errors import Incomplete
from wats_extract.flow import Selection
from wats_extract.http.client import Client
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.reading import Reading, in_groups
from wats_extract.resources.report_keys import ReportKeys, report_keys
from wats_extract.state.failures import OpenFailures

KINDS = ("missing", "outdated", "extra", "duplicated")
"""The ways in which a report may differ."""

REPAIRED = ("missing", "outdated", "duplicated")
"""Those that fetching mends. What is gone from the server stays: it may be the only copy."""

SHOWN_KEYS = 10

TOLD_EVERY = 100_000
"""Listed reports between two notes about how far it is."""


@dataclass
class Comparison:
    """What came of comparing one resource.

    Attributes:
        server: Reports on the server, of the pipeline's selection.
        landed: Items in the resource's table, of the same range of ``start``.
        missing: On the server, not landed, and no open failure either.
        outdated: Landed in an older version than the server's.
        extra: Landed, and no longer on the server.
        duplicated: More than once in the table.
        failed: On the server, not landed in this version, and an open failure.
        new: Of those missing or outdated: newer than the last run.
        requests: Requests sent.
        keys: The first few keys of each kind.
    """

    server: int = 0
    landed: int = 0
    missing: int = 0
    outdated: int = 0
    extra: int = 0
    duplicated: int = 0
    failed: int = 0
    new: int = 0
    requests: int = 0
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        """How many there are, of all kinds."""
        return self.missing + self.outdated + self.extra + self.duplicated


@dataclass
class VerifyReport:
    """What ``verify`` found, and what it repaired.

    Attributes:
        pipeline: The pipeline's name.
        status: ``equal``, ``different`` or ``incomplete``; of a repair that did not come to its end the
            status of :class:`wats_extract.engine.job.RunReport`.
        exit_code: 0 where server and tables are equal now, 3 where they differ, 4 where it is incomplete.
        message: Why it stopped, where it did.
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
    seconds: float = 0.0
    requests: int = 0
    bytes: int = 0
    resources: dict[str, Comparison] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)
    repair: RunReport | None = None

    @property
    def open_failures(self) -> int:
        """Failures that are open after the repair."""
        return self.repair.open_failures if self.repair else 0

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        names = ("status", "message", "seconds", "requests", "bytes", "not_compared")
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
    """Compare what the server has with what has landed.

    Args:
        job: The resources; those that are not about reports are left out.
        client: Asks the server.
        repair: Whether to fetch what is missing, outdated or duplicated, in a run of its own.
        listen: Told what happens.
        now: The clock.

    Raises:
        DestinationError: the destination cannot be read.
        RequestError: the server does not answer.
        PipelineLocked: another process runs this pipeline, which is to be repaired.
    """
    started, report = now(), VerifyReport(job.pipeline)
    with ExitStack() as stack:
        ledgers: dict[str, _Ledger] = {}
        try:
            for task, keys in _compared(job, report):
                ledger = stack.enter_context(_ledger())
                name = task.resource.name
                report.resources[name] = _compare(job, client, task, keys, ledger, listen)
                ledgers[name] = ledger
        except Incomplete as error:
            report.status, report.exit_code, report.message = "incomplete", error.exit_code, str(error)
        else:
            _judge(report, sum(each.differences for each in report.resources.values()))
            if repair:
                _repair(job, client, ledgers, report, listen, now)
    report.seconds = (now() - started).total_seconds()
    report.requests, report.bytes = client.requests, client.bytes
    return report


def _compared(job: Job, report: VerifyReport) -> Iterator[tuple[Task, ReportKeys]]:
    for task in job.tasks:
        keys = report_keys(task.resource)
        if keys is None or "start" not in task.resource.table.schema.names:
            # Their rows do not say whether they are of the range that is compared.
            report.not_compared.append(task.resource.name)
        else:
            yield task, keys


def _judge(report: VerifyReport, differences: int) -> None:
    report.status, report.exit_code = ("different", 3) if differences else ("equal", 0)
    report.message = "what the server has and what has landed differ" if differences else ""


def _compare(
    job: Job,
    client: Client,
    task: Task,
    keys: ReportKeys,
    ledger: _Ledger,
    listen: events.Listener,
) -> Comparison:
    name, before = task.resource.name, client.requests
    reading = Reading(name, client, task.selection, listen=listen, check=client.check)
    listed = 0
    # In a thread, as all requests: this one stays free to notice an interrupt.
    for page in in_background(keys.pages(reading), ahead=1, check=reading.check):
        ledger.on_server((row.key, row.version) for row in page.rows)
        if (listed + len(page.rows)) // TOLD_EVERY > listed // TOLD_EVERY:
            listen(events.Noted(f"{name}: {listed + len(page.rows):,} listed"))
        listed += len(page.rows)
    destination = job.destination
    destination.open(read_only=True)
    try:
        table = task.resource.table
        for batch in destination.scan(table, [table.owner, table.version, "start"]):
            client.check()
            ledger.has_landed(_landed(batch, task.selection))
        ledger.has_failed(OpenFailures.of(destination, job.pipeline).keys(name))
        cursor = cursor_of(destination, job.pipeline, task) or {}
    finally:
        destination.close()
    ledger.find_differences(append=task.disposition == "append")
    ledger.are_extra(_gone(reading, keys, ledger))
    found = ledger.comparison(cursor.get("time_stamp"))
    found.requests = client.requests - before
    return found


def _landed(batch: pa.RecordBatch, selection: Selection) -> Iterator[tuple[str, int | None, bool]]:
    for key, version, start in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        early = start is not None and selection.since is not None and start < selection.since
        late = start is not None and selection.until is not None and start >= selection.until
        yield key, version, not (early or late)


def _gone(reading: Reading, keys: ReportKeys, ledger: _Ledger) -> Iterator[str]:
    """Of what is not on the list, what the server does not have at all."""
    workers = reading.client.connection.max_in_flight
    groups = in_groups(ledger.unlisted(), keys.at_once)
    found = in_order(
        groups,
        lambda group: keys.look_up(reading, group),
        workers=workers,
        ahead=workers,
        useful=reading.client.useful_threads,
        check=reading.check,
    )
    for group, rows in found:
        yield from (key for key in group if key not in rows)


def _repair(
    job: Job,
    client: Client,
    ledgers: dict[str, _Ledger],
    report: VerifyReport,
    listen: events.Listener,
    now: Callable[[], datetime],
) -> None:
    wanted = {name: ToRepair(ledger) for name, ledger in ledgers.items()}
    wanted = {name: keys for name, keys in wanted.items() if len(keys)}
    if not wanted:
        return
    report.repair = done = run.repair(job, client, wanted, listen=listen, now=now)
    if done.status not in ("succeeded", "failures"):
        report.status, report.exit_code, report.message = done.status, done.exit_code, done.message
        return
    healed = sum(each.items for each in done.resources.values())
    extra = sum(each.extra for each in report.resources.values())
    _judge(report, sum(len(keys) for keys in wanted.values()) - healed + extra)


# ── the scratch database ────────────────────────────────────────────────────────────────────────

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
PRAGMA temp_store = FILE;
CREATE TABLE server (key TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID;
CREATE TABLE landed (key TEXT PRIMARY KEY, version INTEGER, inside INTEGER, copies INTEGER) WITHOUT ROWID;
CREATE TABLE failed (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE different (kind TEXT, version INTEGER, key TEXT, PRIMARY KEY (kind, version, key)) WITHOUT ROWID;
"""


class _Ledger:
    """Both sides of one resource, in a database on disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")  # and never COMMIT: nothing outlives the comparison

    def on_server(self, rows: Iterable[tuple[str, int | None]]) -> None:
        """Reports that the server lists; one that comes again has its later version."""
        self._connection.executemany("INSERT OR REPLACE INTO server VALUES (?, ?)", rows)

    def has_landed(self, rows: Iterable[tuple[str, int | None, bool]]) -> None:
        """Rows of the table: key, version, and whether they are in the selection's range of ``start``."""
        self._connection.executemany(
            "INSERT INTO landed VALUES (?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET copies = copies + 1, "
            "version = max(coalesce(version, excluded.version), coalesce(excluded.version, version))",
            rows,
        )

    def has_failed(self, keys: Iterable[str]) -> None:
        """Keys with an open failure."""
        self._connection.executemany("INSERT OR IGNORE INTO failed VALUES (?)", ((key,) for key in keys))

    def find_differences(self, *, append: bool) -> None:
        """Find all but what is extra; where rows are only appended, an item may well have several."""
        self._connection.execute(
            "INSERT INTO different SELECT CASE WHEN key IN (SELECT key FROM failed) THEN 'failed' "
            "WHEN landed.key IS NULL THEN 'missing' ELSE 'outdated' END, coalesce(server.version, 0), key "
            "FROM server LEFT JOIN landed USING (key) "
            "WHERE landed.version IS NULL OR landed.version < server.version"
        )
        if not append:
            self._connection.execute(
                "INSERT INTO different SELECT 'duplicated', coalesce(version, 0), key FROM landed "
                "WHERE copies > 1 AND (inside OR key IN (SELECT key FROM server))"
            )

    def unlisted(self) -> Iterator[str]:
        """What has landed and is not on the server's list, though its ``start`` is in the range."""
        return self._texts("SELECT key FROM landed WHERE inside AND key NOT IN (SELECT key FROM server)")

    def are_extra(self, keys: Iterable[str]) -> None:
        """These are not on the server any more."""
        for key in keys:
            self._connection.execute(
                "INSERT INTO different SELECT 'extra', coalesce(version, 0), key FROM landed WHERE key = ?",
                (key,),
            )

    def comparison(self, seen: int | None) -> Comparison:
        """What was found; ``seen`` is the version that the last run had come to."""
        count = self._count
        return Comparison(
            server=count("server"),
            landed=count("landed WHERE inside OR key IN (SELECT key FROM server)"),
            **{kind: count("different WHERE kind = ?", kind) for kind in (*KINDS, "failed")},
            new=0
            if seen is None
            else count("different WHERE kind IN ('missing', 'outdated') AND version > ?", seen),
            keys={kind: list(self._texts(f"{_OF_KIND} LIMIT {SHOWN_KEYS}", kind)) for kind in KINDS},
        )

    def to_repair(self) -> Iterator[str]:
        """What fetching mends, the oldest first."""
        return self._texts(f"SELECT DISTINCT key {_REPAIRABLE} ORDER BY version, key")

    def count_to_repair(self) -> int:
        """How many of them there are."""
        return int(self._connection.execute(f"SELECT count(DISTINCT key) {_REPAIRABLE}").fetchone()[0])

    def _count(self, what: str, *given: object) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {what}", given).fetchone()[0])  # noqa: S608

    def _texts(self, query: str, *given: object) -> Iterator[str]:
        return (str(text) for (text,) in self._connection.execute(query, given))


_OF_KIND = "SELECT key FROM different WHERE kind = ? ORDER BY version, key"
_REPAIRABLE = (
    "FROM different WHERE kind IN ('missing', 'outdated') "
    "OR (kind = 'duplicated' AND key IN (SELECT key FROM server))"
)


@dataclass(frozen=True)
class ToRepair:
    """The keys of one resource that are to be fetched again, read from disk."""

    ledger: _Ledger

    def __len__(self) -> int:
        return self.ledger.count_to_repair()

    def __iter__(self) -> Iterator[str]:
        return self.ledger.to_repair()


@contextmanager
def _ledger() -> Iterator[_Ledger]:
    with TemporaryDirectory(prefix="wats-extract-") as folder:
        path = Path(folder, "verify.sqlite")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            yield _Ledger(connection)
