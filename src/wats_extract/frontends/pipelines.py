"""Pipelines from Python: what the commands do, as functions.

Those that take the path of a pipeline file are public in ``wats_extract``; those that take a pipeline which
has been loaded, with ``stopping``, are what the command line calls.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from wats_extract import events
from wats_extract.engine.job import RunReport
from wats_extract.engine.planning import Plan
from wats_extract.engine.planning import plan as plan_job
from wats_extract.engine.run import execute
from wats_extract.engine.run import retry as retry_job
from wats_extract.engine.verifying import VerifyReport
from wats_extract.engine.verifying import verify as verify_job
from wats_extract.filters.instants import Moment
from wats_extract.pipeline.job import Overrides, backfill_job, job_of
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import open_client
from wats_extract.resources.catalogue import RESOURCES


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


def _written(moment: Moment) -> str:
    return moment.isoformat() if isinstance(moment, date) else moment
