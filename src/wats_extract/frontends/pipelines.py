"""Run pipelines from Python: each command as a function.

The functions that take the path of a pipeline file are public in ``wats_extract``. The command line calls the
functions that take a loaded pipeline and ``stopping``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TypeVar

from wats_extract import events
from wats_extract.engine.fetching import AnyKeys, NoKey, each_key
from wats_extract.engine.job import RunReport
from wats_extract.engine.planning import Plan
from wats_extract.engine.planning import plan as plan_job
from wats_extract.engine.run import execute
from wats_extract.engine.run import retry as retry_job
from wats_extract.engine.verifying import VerifyReport
from wats_extract.engine.verifying import verify as verify_job
from wats_extract.errors import Incomplete, WatsExtractError
from wats_extract.filters.instants import Moment
from wats_extract.frontends import interrupts
from wats_extract.pipeline.job import Overrides, backfill_job, job_of
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import open_client
from wats_extract.resources.catalogue import RESOURCES


def run(
    path: str | Path,
    *,
    only: str | Sequence[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
    full_refresh: bool = False,
    demo: bool = False,
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Run a pipeline file, as ``wats-extract run`` does.

    Args:
        path: The pipeline file.
        only: The resources to extract, or one of them; all if it is empty.
        since: Replaces the file's ``since``.
        until: Replaces the file's ``until``.
        limit: Stop each resource after so many items; the next run continues from there.
        full_refresh: Read everything again, also items that are loaded.
        demo: Read the embedded demo server instead of the file's server, as ``--demo`` does.
        listen: Receives progress events, from any thread.

    Returns:
        What the run did. Everything that can be loaded is loaded (exit code 0 or 3); see
        :meth:`RunReport.raise_for_failures`.

    Raises:
        WatsExtractError: anything else, as the command line would exit; ``report`` of the error says what was
            loaded before. It is a :class:`~wats_extract.errors.ConfigurationError` or a refused request (exit
            code 2), :class:`~wats_extract.errors.Incomplete` (4),
            :class:`~wats_extract.errors.ServerUnreachable` or another failed request (5),
            :class:`~wats_extract.errors.PipelineLocked` (6), or
            :class:`~wats_extract.errors.DestinationError` or another error (1).
        KeyboardInterrupt: Ctrl-C stopped the run at a commit; the next run continues from there.
    """
    overrides = Overrides(
        _names(only),
        since=None if since is None else _written(since),
        until=None if until is None else _written(until),
        limit=limit,
        full_refresh=full_refresh,
    )
    return _ended(partial(run_pipeline, overrides=overrides), path, demo=demo, listen=listen)


def plan(path: str | Path, *, demo: bool = False, listen: events.Listener = events.nobody) -> Plan:
    """Find out what a run would read, as ``wats-extract plan`` does. Nothing is extracted.

    Args:
        path: The pipeline file.
        demo: Read the embedded demo server instead of the file's server, as ``--demo`` does.
        listen: Receives progress events, from any thread.

    Returns:
        For each resource: the cursor, the number of items and requests, and the time at the given rate.

    Raises:
        ConfigurationError: the file is wrong, there is no server, or the destination belongs to another
            server; no request was sent.
        DestinationError: the destination cannot be read.
        RequestError: a request fails after all retries.
    """
    return _ended(plan_pipeline, path, demo=demo, listen=listen)


def verify(
    path: str | Path,
    *,
    only: str | Sequence[str] = (),
    deep: bool = False,
    repair: bool = False,
    demo: bool = False,
    listen: events.Listener = events.nobody,
) -> VerifyReport:
    """Compare the server with the destination, as ``wats-extract verify`` does.

    Args:
        path: The pipeline file.
        only: The resources to compare; all that can be compared if it is empty.
        deep: Fetch all documents again and compare every value, too.
        repair: Fetch what differs; extra reports stay.
        demo: Read the embedded demo server instead of the file's server, as ``--demo`` does.
        listen: Receives progress events, from any thread.

    Returns:
        The differences by resource: missing, outdated, extra, duplicated, incomplete and changed items, and
        open failures. ``exit_code`` is 0 if both sides are equal and no failure is open.

    Raises:
        WatsExtractError: it did not come to its end; see :func:`run`.
        KeyboardInterrupt: Ctrl-C stopped it at a commit.
    """
    operation = partial(verify_pipeline, only=_names(only), deep=deep, repair=repair)
    return _ended(operation, path, demo=demo, listen=listen)


def backfill(
    path: str | Path,
    *,
    since: Moment,
    until: Moment,
    only: str | Sequence[str] = (),
    demo: bool = False,
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Extract an older range of reports, as ``wats-extract backfill`` does.

    A backfill has its own cursor: that of ``run`` does not move. The same range again continues where it was
    stopped. Reports that are loaded are not fetched again.

    Args:
        path: The pipeline file.
        since: Only reports that start at or after.
        until: Only reports that start before.
        only: The resources to extract; all that have a ``start`` if it is empty.
        demo: Read the embedded demo server instead of the file's server, as ``--demo`` does.
        listen: Receives progress events, from any thread.

    Returns:
        What the run did, and how it ended.

    Raises:
        WatsExtractError: it did not come to its end; see :func:`run`.
        KeyboardInterrupt: Ctrl-C stopped it at a commit; the same range again continues from there.
    """
    operation = partial(backfill_pipeline, since=_written(since), until=_written(until), only=_names(only))
    return _ended(operation, path, demo=demo, listen=listen)


def retry(
    path: str | Path,
    *,
    code: str | None = None,
    keys: AnyKeys = (),
    demo: bool = False,
    listen: events.Listener = events.nobody,
) -> RunReport:
    """Fetch the failed items of a pipeline again, as ``wats-extract retry`` does.

    The commit that loads an item marks its failure ``resolved`` in ``_wats_failures``. Cursors do not move.

    Args:
        path: The pipeline file.
        code: Only failures with this error code, such as ``TIMEOUT``.
        keys: Only these keys, or this one; all if it is empty.
        demo: Read the embedded demo server instead of the file's server, as ``--demo`` does.
        listen: Receives progress events, from any thread.

    Returns:
        What the run did, and how it ended; ``exit_code`` is 3 while some keys still fail.

    Raises:
        WatsExtractError: it did not come to its end; see :func:`run`.
        KeyboardInterrupt: Ctrl-C stopped it at a commit.
    """
    operation = partial(retry_pipeline, code=code, keys=_texts(keys))
    return _ended(operation, path, demo=demo, listen=listen)


R = TypeVar("R", RunReport, VerifyReport, Plan)


def _ended(operation: Callable[..., R], path: str | Path, *, demo: bool, listen: events.Listener) -> R:
    """Run an operation on a pipeline file; return its report if the exit code is 0 or 3.

    Raises:
        WatsExtractError: otherwise, with the report.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    pipeline = None
    with interrupts.deferred() as stopping:
        try:
            pipeline = load(path, catalogue=RESOURCES, demo=demo)
            report = operation(pipeline, listen=listen, stopping=stopping)
        except WatsExtractError as error:
            error.report = unstarted(error, pipeline)
            raise
        if report.exit_code not in (0, 3):
            raise _error_of(report)
        return report


def _error_of(report: RunReport | VerifyReport | Plan) -> WatsExtractError:
    """What ended a run that is not complete."""
    run = report.repair if isinstance(report, VerifyReport) else report
    error = run.error if isinstance(run, RunReport) and run.error else Incomplete(report.message)
    error.report = report
    return error


def unstarted(error: Exception, pipeline: Pipeline | None = None) -> RunReport:
    """The report of a run that an error ended before it began, or without a report."""
    code = getattr(error, "exit_code", 1)
    report = RunReport("", "", _STATUS.get(code, "failed"), code, message=str(error) or type(error).__name__)
    if pipeline is not None:
        report.pipeline, report.server = pipeline.name, pipeline.source.identity
        report.destination = str(pipeline.destination.path)
    report.error = error if isinstance(error, WatsExtractError) else None
    return report


_STATUS = {
    2: "refused",
    4: "incomplete",
    5: "unreachable",
    6: "locked",
    130: "interrupted",
    143: "interrupted",
}
"""The status of a run that an error ended, by exit code; otherwise ``failed``."""


def run_pipeline(
    pipeline: Pipeline,
    overrides: Overrides | None = None,
    *,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> RunReport:
    """Run a loaded pipeline; setting ``stopping`` ends it at the next commit."""
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
    """Extract a range of ``start``, with its own cursors. Reports that are loaded are not fetched again."""
    job = backfill_job(pipeline, since=since, until=until, only=only)
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return execute(job, client, command="backfill", listen=listen)


def verify_pipeline(
    pipeline: Pipeline,
    *,
    only: Sequence[str] = (),
    deep: bool = False,
    repair: bool = False,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> VerifyReport:
    """Compare the server with the destination; with ``repair``, fetch what differs."""
    job = job_of(pipeline, Overrides(only))
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return verify_job(job, client, deep=deep, repair=repair, listen=listen)


def plan_pipeline(
    pipeline: Pipeline,
    *,
    listen: events.Listener = events.nobody,
    stopping: threading.Event | None = None,
) -> Plan:
    """Find out what a run would read. Nothing is extracted."""
    job = job_of(pipeline, Overrides())
    with open_client(pipeline.source, listen=listen, stopping=stopping) as client:
        return plan_job(job, client, listen=listen)


def _written(moment: Moment) -> str:
    return moment.isoformat() if isinstance(moment, date) else moment


def _names(given: str | Sequence[str]) -> Sequence[str]:
    """Return names of resources; a single text is one name."""
    return (given,) if isinstance(given, str) else given


def _texts(keys: AnyKeys) -> list[str]:
    """Return keys as texts; a value that cannot be a key matches no failure."""
    return [key.text if isinstance(key, NoKey) else key for key in each_key(keys)]
