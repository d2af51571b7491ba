"""Turn a pipeline file into the job of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from wats_extract.engine.job import Job, Task
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.flow import Selection
from wats_extract.pipeline.model import Pipeline, ResourceConfig
from wats_extract.pipeline.opening import destination_of
from wats_extract.pipeline.source import Source
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import OPTIONS, filtered, takes_time


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


def selection(config: ResourceConfig, resource: Resource, *, now: datetime) -> Selection:
    """What the file says about a resource, as its reader takes it.

    Args:
        config: The resource's part of the pipeline file.
        resource: The resource's declaration.
        now: The start of the run, which ``30 days ago`` refers to.

    Raises:
        ConfigurationError: if ``since`` is not before ``until``, or the filter does not fit the resource.
    """
    since = instant(config.since, now=now) if config.since else None
    until = instant(config.until, now=now) if config.until else None
    if since and until and since >= until:
        raise ConfigurationError(f"until ({config.until}) should be later than since ({config.since})")
    taken = [name for name in OPTIONS if name in resource.options]
    options = {"expand": config.expand} | {name: getattr(config, name) for name in taken}
    return Selection(since=since, until=until, options=options, **filtered(config.filter, resource))


def fingerprint(config: ResourceConfig, source: Source) -> str:
    """What a cursor belongs to: the server's name, and ``since``, ``until`` and ``filter`` as written.

    Relative words stay words, so tomorrow's run with ``30 days ago`` goes on from today's cursor. Another
    server begins anew: its numbers have nothing to do with those of the first one.
    """
    server = source.url if source.demo else urlsplit(source.url).hostname
    said = {"since": config.since, "until": config.until, "filter": config.filter or None, "server": server}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def disposition(config: ResourceConfig, resource: Resource) -> str:
    """``merge``, ``append`` or ``replace``: what is written, else merge where there is a key."""
    return config.write_disposition or ("merge" if resource.key else "replace")
