"""Pipelines from Python: what the commands do, as functions.

Those that take the path of a pipeline file are public in ``wats_extract``; those that take a pipeline which
has been loaded, with ``stopping``, are what the command line calls.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from wats_extract import events
from wats_extract.engine.planning import Plan
from wats_extract.engine.planning import plan as plan_job
from wats_extract.engine.run import Job, RunReport, Task, execute
from wats_extract.engine.run import retry as retry_job
from wats_extract.engine.verifying import VerifyReport
from wats_extract.engine.verifying import verify as verify_job
from wats_extract.errors import ConfigurationError
from wats_extract.flow import Destination
from wats_extract.frontends.session import Moment, open_client
from wats_extract.pipeline.loading import Pipeline, disposition, fingerprint, load, selection, takes_time
from wats_extract.pipeline.source import instant
from wats_extract.resources.catalogue import RESOURCES


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
    overrides = Overrides(
        only,
        since=None if since is None else _written(since),
        until=None if until is None else _written(until),
        limit=limit,
        full_refresh=full_refresh,
    )
    return run_pipeline(load(path, catalogue=RESOURCES), overrides, listen=listen)


def plan(path: str | Path, *, listen: events.Listener = events.nobody) -> Plan:
    """Find out what a run would read, as ``wats-extract plan`` does; nothing is extracted.

    Args:
        path: The pipeline file.
        listen: Told what happens, from any thread.

    Returns:
        For each resource from which cursor it would be read, how many items and requests that is, and
        how long it takes at the given rate.

    Raises:
        ConfigurationError: the file is wrong; nothing was asked of the server.
        DestinationError: the destination cannot be read.
        RequestError: the server does not answer what is asked.
    """
    return plan_pipeline(load(path, catalogue=RESOURCES), listen=listen)


def verify(
    path: str | Path,
    *,
    only: Sequence[str] = (),
    repair: bool = False,
    listen: events.Listener = events.nobody,
) -> VerifyReport:
    """Compare what the server has with what has landed, as ``wats-extract verify`` does.

    Args:
        path: The pipeline file.
        only: The resources to compare; all that can be compared where it is empty.
        repair: Fetch what is missing, outdated or duplicated; what is extra stays.
        listen: Told what happens, from any thread.

    Returns:
        What is missing, outdated, extra and duplicated, by resource; ``exit_code`` says whether it is equal.

    Raises:
        ConfigurationError: the file is wrong; nothing was asked of the server.
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    return verify_pipeline(load(path, catalogue=RESOURCES), only=only, repair=repair, listen=listen)


def backfill(
    path: str | Path,
    *,
    since: Moment,
    until: Moment,
    only: Sequence[str] = (),
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Extract an older range of reports, as ``wats-extract backfill`` does.

    It has a cursor of its own: the one of ``run`` does not move, and the same range asked for again goes
    on where it was stopped. What has landed already is not fetched again.

    Args:
        path: The pipeline file.
        since: Reports that start at or after.
        until: Reports that start before.
        only: The resources to extract; all that have a ``start`` where it is empty.
        listen: Told what happens, from any thread.

    Returns:
        What was done, and how it ended.

    Raises:
        ConfigurationError: the file or the range is wrong; nothing was asked of the server.
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    return backfill_pipeline(
        load(path, catalogue=RESOURCES),
        since=_written(since),
        until=_written(until),
        only=only,
        listen=listen,
    )


def retry(
    path: str | Path,
    *,
    code: str | None = None,
    keys: Sequence[str] = (),
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Fetch the failed items of a pipeline again, as ``wats-extract retry`` does.

    What lands is marked ``resolved`` in ``_wats_failures`` by the commit that lands it; cursors do not move.

    Args:
        path: The pipeline file.
        code: Only failures with this error code, such as ``TIMEOUT``.
        keys: Only these keys.
        listen: Told what happens, from any thread.

    Returns:
        What was done, and how it ended; ``exit_code`` is 3 while some keys still fail.

    Raises:
        ConfigurationError: the file is wrong; nothing was asked of the server.
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """
    return retry_pipeline(load(path, catalogue=RESOURCES), code=code, keys=keys, listen=listen)


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
        return verify_job(job, client, repair=repair, listen=listen)


def plan_pipeline(
    pipeline: Pipeline,
    *,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> Plan:
    """Find out what a run would read; nothing is extracted."""
    job = job_of(pipeline, Overrides())
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return plan_job(job, client, listen=listen)


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
    from wats_extract.destinations.parquet.folder import Parquet

    return Parquet(config.path)


def _written(moment: Moment) -> str:
    return moment.isoformat() if isinstance(moment, date) else moment
