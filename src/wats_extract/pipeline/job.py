"""Turn a pipeline file into the job of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from wats_extract.engine.job import Job, Task
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant, is_age
from wats_extract.filters.nearest import did_you_mean
from wats_extract.flow import Selection
from wats_extract.pipeline.model import Pipeline, ResourceConfig
from wats_extract.pipeline.opening import destination_of
from wats_extract.pipeline.source import Source
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import select, takes_time


@dataclass(frozen=True)
class Overrides:
    """What the command line or a caller sets instead of the file.

    Attributes:
        only: The resources to extract; all if it is empty. A single text is one name.
        since: Replaces the file's ``since``.
        until: Replaces the file's ``until``.
        limit: Stop each resource after this many items.
        full_refresh: Read everything again.
    """

    only: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    full_refresh: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.only, str):
            object.__setattr__(self, "only", (self.only,))


def job_of(pipeline: Pipeline, overrides: Overrides, *, server: str = "") -> Job:
    """The job of a run.

    ``since`` and ``until`` of ``overrides`` apply to the resources that can be selected by time.

    Args:
        pipeline: The pipeline.
        overrides: What the command line sets instead of the file.
        server: The identity of the server, if the pipeline was loaded without one.

    Raises:
        ConfigurationError: ``only`` names a resource that the file does not have, ``since`` or ``until``
            applies to no resource, or one of the values is wrong.
    """
    configs = _chosen(pipeline, overrides.only)
    times = {"since": overrides.since, "until": overrides.until}
    given = {name: value for name, value in times.items() if value is not None}
    if given and not any(takes_time(RESOURCES[config.name]) for config in configs):
        raise ConfigurationError(
            f"{' and '.join(given)} cannot be used: no resource of this run can be selected by time",
            hint=f"Its resources: {', '.join(config.name for config in configs)}.",
        )
    now = datetime.now(UTC)
    tasks = []
    for config in configs:
        resource = RESOURCES[config.name]
        if takes_time(resource):
            config = config.model_copy(update=given)
        wanted = selection(config, resource, now=now, limit=overrides.limit)
        written = fingerprint(config, pipeline.source, server=server)
        age = takes_time(resource) and is_age(config.since)
        tasks.append(Task(resource, wanted, written, disposition(config, resource), since_is_age=age))
    return Job(
        pipeline=pipeline.name,
        tasks=tasks,
        destination=destination_of(pipeline),
        max_failures=pipeline.max_failures,
        stop_at_failures=pipeline.stop_at_failures,
        full_refresh=overrides.full_refresh,
        server=pipeline.source.identity or server,
    )


def _chosen(pipeline: Pipeline, only: Sequence[str]) -> list[ResourceConfig]:
    names = [config.name for config in pipeline.resources]
    for name in only:
        if name not in names:
            raise ConfigurationError(
                f"--only {name}: the pipeline has no such resource{did_you_mean(name, names)}",
                hint=f"It has {', '.join(names)}.",
            )
    return [config for config in pipeline.resources if not only or config.name in only]


def backfill_job(pipeline: Pipeline, *, since: str, until: str, only: Sequence[str] = ()) -> Job:
    """The job of a backfill: the resources that can be selected by time, in the given range.

    The range is stored as timestamps: the cursor of "30 days ago" would not fit tomorrow's range.

    Raises:
        ConfigurationError: the range is wrong, ``only`` names a resource that cannot be selected by time, or
            the pipeline has none that can.
    """
    now = datetime.now(UTC)
    begin, end = instant(since, now=now), instant(until, now=now)
    chosen = _chosen(pipeline, Overrides(only).only)
    timed = [config for config in chosen if takes_time(RESOURCES[config.name])]
    if only and len(timed) < len(chosen):
        unfit = next(config.name for config in chosen if config not in timed)
        raise ConfigurationError(f"{unfit} cannot be selected by time, so it cannot be backfilled")
    if not timed:
        raise ConfigurationError("the pipeline has no resource that can be selected by time")
    if begin >= end:
        raise ConfigurationError(f"--to ({until}) should be later than --from ({since})")
    times = {"since": begin.isoformat(), "until": end.isoformat()}
    ranged = pipeline.model_copy(update={"resources": tuple(each.model_copy(update=times) for each in timed)})
    job = job_of(ranged, Overrides())
    return replace(job, tasks=[_backfill_task(task) for task in job.tasks])


def _backfill_task(task: Task) -> Task:
    """The task with a cursor of its own; rows outside its range are never removed."""
    selected = {**json.loads(task.fingerprint), "backfill": True}
    written = json.dumps(selected, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    merged = "merge" if task.disposition == "replace" else task.disposition
    return replace(task, fingerprint=written, disposition=merged)


def selection(
    config: ResourceConfig, resource: Resource, *, now: datetime, limit: int | None = None
) -> Selection:
    """The selection that the file describes for a resource.

    Args:
        config: The resource's part of the pipeline file.
        resource: The resource's declaration.
        now: The start of the run, from which ages such as ``30 days ago`` are counted.
        limit: Stop after this many items.

    Raises:
        ConfigurationError: the selection does not fit the resource.
    """
    return select(
        resource,
        since=config.since,
        until=config.until,
        filter=config.filter,
        limit=limit,
        options=config.options,
        now=now,
    )


def fingerprint(config: ResourceConfig, source: Source, *, server: str = "") -> str:
    """The identity of a selection, which keys its cursor: the server, and the file's text of the selection.

    Ages stay as written, so that tomorrow's run with ``30 days ago`` goes on from today's cursor. Another
    server starts anew, because its numbers mean nothing to the first one; so does a demo with other reports.

    Args:
        config: The resource's part of the pipeline file.
        source: The server.
        server: The identity of the server, if the pipeline was loaded without one.
    """
    server = source.url if source.demo else source.identity or server
    said = {"since": config.since, "until": config.until, "filter": config.filter or None, "server": server}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def disposition(config: ResourceConfig, resource: Resource) -> str:
    """``merge``, ``append`` or ``replace``: the file's choice, else merge if there is a key."""
    return config.write_disposition or ("merge" if resource.key else "replace")
