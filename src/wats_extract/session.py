"""The front door of the library: pipelines, and a connection to read from in notebooks and scripts."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from wats_extract import events, odata
from wats_extract.client import Client, Connection
from wats_extract.errors import ConfigurationError
from wats_extract.flow import Chunk, Destination, Failure, Result, Selection, Table
from wats_extract.pipeline import Pipeline, disposition, fingerprint, load, selection, takes_time
from wats_extract.plan import Plan, plan
from wats_extract.readers.reading import Reading
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.runner import Job, RunReport, Task, execute
from wats_extract.runner import retry as retry_job
from wats_extract.settings import Source, connection, instant, nearest
from wats_extract.verify import VerifyReport, verify

Moment = str | date | datetime


# ── pipelines ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Overrides:
    """What the command line or a caller says instead of the file.

    Attributes:
        only: The resources to extract; all where it is empty.
        since: Instead of the file's ``since``.
        until: Instead of the file's ``until``.
        limit: Stop each resource after so many items.
        full_refresh: Read everything again.
    """

    only: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    full_refresh: bool = False


def run(
    path: str | Path,
    *,
    only: Sequence[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
    full_refresh: bool = False,
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Run a pipeline file, as ``wats-extract run`` does.

    Args:
        path: The pipeline file.
        only: The resources to extract; all where it is empty.
        since: Instead of the file's ``since``.
        until: Instead of the file's ``until``.
        limit: Stop each resource after so many items; the next run goes on from there.
        full_refresh: Read everything again, whatever has landed.
        listen: Told what happens, from any thread.

    Returns:
        What was done, and how it ended: ``status`` and ``exit_code`` say whether all landed.

    Raises:
        ConfigurationError: the file is wrong; nothing was asked of the server.
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    overrides = Overrides(only, _written(since), _written(until), limit, full_refresh)
    return run_pipeline(load(path, catalogue=RESOURCES), overrides, listen=listen)


def run_pipeline(
    pipeline: Pipeline,
    overrides: Overrides | None = None,
    *,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> RunReport:
    """Run a pipeline that has been loaded; ``stopping`` ends it at the next commit."""
    job = job_of(pipeline, overrides or Overrides())
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return execute(job, client, listen=listen)


def retry_pipeline(
    pipeline: Pipeline,
    *,
    code: str | None = None,
    keys: Sequence[str] = (),
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> RunReport:
    """Fetch the failed items of a pipeline again."""
    job = job_of(pipeline, Overrides())
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return retry_job(job, client, code=code, keys=keys, listen=listen)


def backfill_pipeline(
    pipeline: Pipeline,
    *,
    since: str,
    until: str,
    only: Sequence[str] = (),
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> RunReport:
    """Extract a range of ``start``, with cursors of its own; what has landed is not fetched again."""
    job = backfill_job(pipeline, since=since, until=until, only=only)
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return execute(job, client, command="backfill", listen=listen)


def verify_pipeline(
    pipeline: Pipeline,
    *,
    only: Sequence[str] = (),
    repair: bool = False,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> VerifyReport:
    """Compare what the server has with what has landed, and fetch what differs where ``repair`` says so."""
    job = job_of(pipeline, Overrides(only))
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return verify(job, client, repair=repair, listen=listen)


def plan_pipeline(
    pipeline: Pipeline,
    *,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> Plan:
    """Find out what a run would read; nothing is extracted."""
    job = job_of(pipeline, Overrides())
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return plan(job, client, listen=listen)


def backfill_job(pipeline: Pipeline, *, since: str, until: str, only: Sequence[str] = ()) -> Job:
    """What a backfill has to do: the resources that have a ``start``, in the given range of it.

    The range is kept as moments, not as written: a cursor of "30 days ago" would not fit tomorrow's.

    Raises:
        ConfigurationError: a moment is wrong, ``only`` names a resource that cannot be selected by
            ``start``, or the pipeline has none.
    """
    now = datetime.now(UTC)
    said = {"since": instant(since, now=now).isoformat(), "until": instant(until, now=now).isoformat()}
    timed = [config for config in pipeline.resources if takes_time(RESOURCES[config.name])]
    if unfit := sorted({config.name for config in pipeline.resources if config not in timed} & {*only}):
        raise ConfigurationError(f"{unfit[0]} has no start to select by, so it cannot be backfilled")
    if not timed:
        raise ConfigurationError("the pipeline has no resource with a start to select by")
    if said["since"] >= said["until"]:
        raise ConfigurationError(f"--to ({until}) should be later than --from ({since})")
    ranged = pipeline.model_copy(update={"resources": tuple(each.model_copy(update=said) for each in timed)})
    job = job_of(ranged, Overrides(only))
    return replace(job, tasks=[_apart(task) for task in job.tasks])


def _apart(task: Task) -> Task:
    """The task with a cursor of its own; what lies outside its range is never swept."""
    selected = {**json.loads(task.fingerprint), "backfill": True}
    written = json.dumps(selected, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    merged = "merge" if task.disposition == "replace" else task.disposition
    return replace(task, fingerprint=written, disposition=merged)


def job_of(pipeline: Pipeline, overrides: Overrides) -> Job:
    """What a run of the pipeline has to do.

    Raises:
        ConfigurationError: ``only`` names a resource that the file does not have, or a moment is wrong.
    """
    names = [config.name for config in pipeline.resources]
    for name in overrides.only:
        if name not in names:
            raise ConfigurationError(
                f"--only {name}: the pipeline has no such resource", hint=f"It has {', '.join(names)}."
            )
    now = datetime.now(UTC)
    tasks = []
    for config in pipeline.resources:
        if overrides.only and config.name not in overrides.only:
            continue
        said = {"since": overrides.since, "until": overrides.until}
        config = config.model_copy(update={key: value for key, value in said.items() if value is not None})
        resource = RESOURCES[config.name]
        wanted = replace(selection(config, resource, now=now), limit=overrides.limit)
        written = fingerprint(config, pipeline.source)
        tasks.append(Task(resource, wanted, written, disposition(config, resource)))
    return Job(
        pipeline=pipeline.name,
        tasks=tasks,
        destination=destination_of(pipeline),
        max_failures=pipeline.max_failures,
        stop_at_failures=pipeline.stop_at_failures,
        full_refresh=overrides.full_refresh,
    )


def destination_of(pipeline: Pipeline) -> Destination:
    """The pipeline's destination, not yet opened; only its own library is loaded."""
    config = pipeline.destination
    if config.type == "duckdb":
        from wats_extract.destinations.duckdb import DuckDB

        return DuckDB(config.path, schema=config.schema_name)
    from wats_extract.destinations.parquet import Parquet

    return Parquet(config.path)


@contextmanager
def open_client(
    source: Source, *, listen: events.Listener = events.nobody, stopping: threading.Event | None = None
) -> Iterator[Client]:
    """A client for a source; the embedded server runs as long as the client where that is the source.

    Raises:
        ConfigurationError: there is no token for a real server.
    """
    with ExitStack() as stack:
        url, token = source.url, source.usable_token()
        if source.demo is not None:
            from wats_extract import embedded

            url = stack.enter_context(embedded.serving(source.demo.reports, source.demo.seed))
            token = embedded.TOKEN
        yield stack.enter_context(
            Client(
                Connection(
                    url=url,
                    token=token,
                    requests_per_minute=source.requests_per_minute,
                    max_in_flight=source.max_in_flight,
                    max_requests=source.max_requests,
                    timeout=source.timeout,
                ),
                listen=listen,
                stopping=stopping,
            )
        )


# ── reading without a pipeline ──────────────────────────────────────────────────────────────────


def connect(url: str | None = None, *, token: str | None = None, **limits: Any) -> Wats:
    """A connection to a WATS server.

    Args:
        url: The server's address, such as ``https://example.wats.com``; else ``WATS_URL``, else
            ``PYWATS_SERVER_URL``, else the embedded demo server.
        token: The API token; else ``WATS_TOKEN``, else ``PYWATS_API_TOKEN``.
        limits: ``requests_per_minute`` (500), ``max_in_flight`` (10), ``max_requests`` (no limit) and
            ``timeout`` (120 s), as in a pipeline file.

    Raises:
        ConfigurationError: one of these is wrong, or there is no token.
    """
    return Wats(connection(url, token, **limits))


def demo(*, reports: int | None = None, seed: int | None = None) -> Wats:
    """A connection to an embedded WATS server that starts now and ends with the connection.

    Args:
        reports: How many reports it has, 3,000 by default.
        seed: Which ones, 1 by default; the same seed gives the same reports.
    """
    given = {"reports": reports, "seed": seed}
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    return Wats(connection(f"demo?{query}" if query else "demo", ""))


@dataclass(frozen=True)
class Fetched:
    """What came of a batch of keys.

    Attributes:
        tables: Arrow tables by name, all of the resource's, rows in the order of the keys.
        failures: The keys that failed, each with code, message and hint.
    """

    tables: Mapping[str, pa.Table]
    failures: Sequence[Failure]

    def failures_table(self) -> pa.Table:
        """The failures as an Arrow table."""
        names = Failure.__dataclass_fields__
        rows = [{name: getattr(failure, name) for name in names} for failure in self.failures]
        types = {"http_status": pa.int32(), "attempts": pa.int32()}
        return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.string())) for name in names]))


class Stream(Iterator[pa.RecordBatch]):
    """Record batches while they arrive, in bounded memory; consumed once.

    Attributes:
        failures: Items that did not fit or could not be fetched, so far; look at them when it has ended.
    """

    def __init__(self, batches: Callable[[list[Failure]], Iterator[pa.RecordBatch]]) -> None:
        self.failures: list[Failure] = []
        self._batches = batches(self.failures)

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)


class Wats:
    """A connection to a WATS server; closed by ``close()``, by leaving its ``with``, or with the process.

    Safe to share between threads: the request budget is shared too.
    """

    def __init__(self, source: Source) -> None:
        self._stack = ExitStack()
        self._client = self._stack.enter_context(open_client(source))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Wats at {self.url}>"

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.connection.url

    def close(self) -> None:
        """Close the connection, and the embedded server where there is one."""
        self._stack.close()

    def stream(
        self,
        resource: str,
        *,
        table: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        filter: Mapping[str, Any] | str | None = None,  # noqa: A002
        limit: int | None = None,
        **options: Any,
    ) -> Stream:
        """Read a resource from beginning to end, batch by batch, in bounded memory.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            table: Which of the resource's tables, such as ``steps``; its first by default.
            since: Reports that start at or after: a datetime, a date, or a text such as ``30 days ago``.
            until: Reports that start before.
            filter: ``{"part_number": ["A", "B"], "result": "Failed"}``, or an OData text.
            limit: Stop after so many items (reports), in the server's processing order.
            options: The resource's own, as in a pipeline file: ``expand``, ``attachments``, ``charts``, ….

        Yields:
            Record batches of one page or chunk each (schema: the table's, without the ``_wats`` stamps).

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: the list itself stays without an answer.
        """
        declared = resource_named(resource)
        wanted = table_named(declared, table)
        select = self._selection(declared, since, until, filter, limit, options)

        def batches(failures: list[Failure]) -> Iterator[pa.RecordBatch]:
            for chunk in declared.reader.read(self._reading(declared, select)):
                failures.extend(chunk.failures)
                yield from chunk.rows.get(wanted, ())

        return Stream(batches)

    async def astream(self, resource: str, **selection: Any) -> AsyncIterator[pa.RecordBatch]:
        """The same as :meth:`stream`, from asyncio: each batch is waited for in a thread.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            selection: What :meth:`stream` takes.

        Yields:
            Record batches, as :meth:`stream` does.

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: the list itself stays without an answer.
        """
        batches = self.stream(resource, **selection)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield batch

    def fetch(
        self,
        resource: str,
        keys: Iterable[str],
        *,
        chunk_size: int = 200,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Fetched:
        """Fetch items by key, concurrently; a key that fails never disturbs the others.

        Args:
            resource: ``report_headers`` or ``reports``; their keys are report uuids.
            keys: The keys; may be a generator. Memory is what the result needs, for it is returned whole.
            chunk_size: Items that are shredded together.
            on_progress: Told how many items are through, after each chunk.
            options: The resource's own, as in a pipeline file.

        Returns:
            Arrow tables and failures. Each full report costs one request of the budget, forty of them
            one more for their place in the server's order; forty headers cost one.

        Raises:
            ConfigurationError: a name or a value is wrong.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        rows: dict[Table, list[pa.RecordBatch]] = {}
        failures: list[Failure] = []
        declared = resource_named(resource)
        done = 0
        for chunk in self._chunks(declared, keys, chunk_size, options):
            for table, batches in chunk.rows.items():
                rows.setdefault(table, []).extend(batches)
            failures.extend(chunk.failures)
            done += len(chunk.landed) + len(chunk.failures)
            if on_progress:
                on_progress(done)
        tables = {
            table.name: pa.Table.from_batches(rows.get(table, []), table.shredded_schema)
            for table in declared.tables
        }
        return Fetched(tables, failures)

    def fetch_each(
        self,
        resource: str,
        keys: Iterable[str],
        *,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Iterator[Result[dict[str, Any]]]:
        """Fetch items by key, one outcome for each, in the order of the keys.

        Args:
            resource: ``report_headers`` or ``reports``; their keys are report uuids.
            keys: The keys; may be an endless generator, of which only some dozens are taken ahead.
            on_progress: Told how many items are through, after each.
            options: The resource's own, as in a pipeline file.

        Yields:
            ``Success`` with the decoded JSON as its value, or ``Failure``. Memory is some dozens of items.

        Raises:
            ConfigurationError: a name or a value is wrong.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        declared = resource_named(resource)
        select = self._selection(declared, None, None, None, None, options)
        each = declared.reader.read_each(self._reading(declared, select), keys)
        for done, outcome in enumerate(each, start=1):
            yield outcome
            if on_progress:
                on_progress(done)

    def _chunks(
        self, resource: Resource, keys: Iterable[str], chunk_size: int, options: Mapping[str, Any]
    ) -> Iterator[Chunk]:
        select = self._selection(resource, None, None, None, None, {"chunk_size": chunk_size, **options})
        return resource.reader.read_keys(self._reading(resource, select), keys)

    def _reading(self, resource: Resource, select: Selection) -> Reading:
        return Reading(resource.name, self._client, select, check=self._client.check)

    def _selection(
        self,
        resource: Resource,
        since: Moment | None,
        until: Moment | None,
        filter: Mapping[str, Any] | str | None,  # noqa: A002
        limit: int | None,
        options: Mapping[str, Any],
    ) -> Selection:
        """What a pipeline file would say, checked in the same way."""
        for name in options:
            if name not in resource.options | {"chunk_size"}:
                close = nearest(name, resource.options)
                raise ConfigurationError(
                    f"{resource.name} takes no {name!r}" + (f" (did you mean {close!r}?)" if close else "")
                )
        text = filter if isinstance(filter, str) else odata.filter_text(filter or {}, resource.filters)
        now = datetime.now(UTC)
        return Selection(
            since=instant(since, now=now) if since is not None else None,
            until=instant(until, now=now) if until is not None else None,
            filter=text,
            options=dict(options),
            limit=limit,
        )


def resource_named(name: str) -> Resource:
    """The resource of this name.

    Raises:
        ConfigurationError: there is none; the message has the nearest name.
    """
    if name in RESOURCES:
        return RESOURCES[name]
    close = nearest(name, RESOURCES)
    raise ConfigurationError(
        f"there is no resource {name!r}" + (f" (did you mean {close!r}?)" if close else ""),
        hint=f"There are {', '.join(RESOURCES)}.",
    )


def table_named(resource: Resource, name: str | None) -> Table:
    """One of a resource's tables, its first by default.

    Raises:
        ConfigurationError: it has no such table.
    """
    tables = {table.name: table for table in resource.tables}
    if name is None:
        return resource.table
    if name in tables:
        return tables[name]
    close = nearest(name, tables)
    raise ConfigurationError(
        f"{resource.name} has no table {name!r}" + (f" (did you mean {close!r}?)" if close else ""),
        hint=f"It has {', '.join(tables)}.",
    )


def _written(moment: Moment | None) -> str | None:
    return moment.isoformat() if isinstance(moment, date) else moment
