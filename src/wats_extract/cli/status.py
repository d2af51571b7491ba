"""``wats-extract status``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from wats_extract.cli import output, summary
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.cli.reading import reading
from wats_extract.cursor import cursor_to_json
from wats_extract.errors import DestinationError
from wats_extract.flow import Destination
from wats_extract.pipeline.model import Pipeline
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.state.lock import Sighting
from wats_extract.state.ownership import recorded_server
from wats_extract.state.positions import position_in
from wats_extract.state.tables import FAILURES, RUNS, STATE
from wats_extract.tables import Table

RUNS_SHOWN = 10

_COMPLETE = ("succeeded", "failures")


@click.command("status", cls=Command, examples=("status pipelines/reports.yaml",))
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the tables.")
def command(file: Path, as_json: bool) -> None:  # noqa: FBT001 - click gives it by name
    """Show runs, cursors, row counts and open failures.

    Reads the destination of FILE only: it sends no request to the server, and changes nothing.

    The age of the last run also shows a run that could not write to the destination, for example because the
    disk is full: then the last run is older than the schedule allows.
    """
    pipeline = loaded(file, offline=True)
    with reading(pipeline) as destination:
        runs = destination.read(RUNS, pipeline=pipeline.name).to_pylist()
        if not runs and not as_json:
            _show_first_step(destination, file)
            return
        runs.sort(key=lambda run: run["number"] or 0, reverse=True)
        failures = destination.read(FAILURES, pipeline=pipeline.name, status="open").to_pylist()
        server = recorded_server(destination) or (runs[0]["server"] if runs else None)
        if as_json:
            output.json_line(_summary(destination, pipeline, server, runs, len(failures)))
            return
        places = summary.places(server, destination.place)
        output.say_unwrapped(f"Pipeline {pipeline.name}, {places}", "bold")
        _show_last_run(runs[0], len(failures), destination.holder(pipeline.name))
        output.say(f"It began {_ago(_age(runs[0]))}.")
        _show_runs(runs)
        _show_cursors(destination.read(STATE, pipeline=pipeline.name).to_pylist())
        _show_tables(destination, pipeline)
        _show_failures(failures, file)


def _summary(
    destination: Destination,
    pipeline: Pipeline,
    server: str | None,
    runs: Sequence[dict[str, Any]],
    open_failures: int,
) -> dict[str, Any]:
    """What ``--json`` prints. Timestamps are texts with an offset."""
    return {
        "pipeline": pipeline.name,
        "server": server,
        "destination": destination.place,
        "last_run": _plain(runs[0]) if runs else None,
        "age_seconds": _age(runs[0]).total_seconds() if runs else None,
        "runs": [_plain(run) for run in runs[:RUNS_SHOWN]],
        "cursors": [_plain(state) for state in destination.read(STATE, pipeline=pipeline.name).to_pylist()],
        "tables": destination.count(_tables(pipeline)),
        "open_failures": open_failures,
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _tables(pipeline: Pipeline) -> list[Table]:
    return [table for config in pipeline.resources for table in RESOURCES[config.name].tables]


def _age(run: dict[str, Any]) -> timedelta:
    """How long ago a run began, by this machine's clock."""
    began: datetime = run["started_at"]
    return datetime.now(UTC) - began


def _ago(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds < 0:
        return "in the future: the clock of that run, or the clock of this machine, is wrong"
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{output.plural(seconds // length, unit)} ago"
    return f"{output.plural(seconds, 'second')} ago"


def _show_first_step(destination: Destination, file: Path) -> None:
    output.say(f"Nothing has been loaded into {destination.place} yet. To start:")
    output.say_unwrapped(f"  {output.quoted('wats-extract', 'run', str(file))}", "cyan")


def _show_last_run(run: dict[str, Any], failures: int, holder: Sighting | None) -> None:
    if run["status"] == "running":
        _show_unfinished(run["command"], holder)
        return
    complete = run["status"] in _COMPLETE
    open_failures = f", with {output.plural(failures, 'open failure')}" if complete and failures else ""
    text = "completed" if complete else f"did not complete: {run['status']}"
    style = "yellow" if open_failures else "green" if complete else "red"
    output.say(f"{output.mark(good=complete)} The last {run['command']} {text}{open_failures}.", style)


def _show_unfinished(command: str, holder: Sighting | None) -> None:
    if holder is not None and holder.beats:
        output.say(f"- A {command} is in progress: {holder}.", "yellow")
        return
    reason = "its process was killed or could no longer write"
    if holder is not None:
        reason = f"its process was killed, could no longer write, or is suspended ({holder})"
    output.say(f"{output.mark(good=False)} The last {command} did not complete: {reason}.", "red")
    output.say("The next run resumes from its last commit.")


def _show_runs(runs: Sequence[dict[str, Any]]) -> None:
    columns = [
        Column("started (UTC)"),
        Column("command", optional=True),
        Column("status"),
        Column("seconds", right=True),
        Column("rows", right=True),
        Column("failures", right=True),
        Column("message", shrinks=True),
    ]
    older = len(runs) - RUNS_SHOWN
    output.heading(f"Runs (the last {RUNS_SHOWN} of {len(runs)})" if older > 0 else "Runs")
    output.table(columns, [_run_cells(run) for run in runs[:RUNS_SHOWN]])


def _run_cells(run: dict[str, Any]) -> list[object]:
    seconds = "" if run["seconds"] is None else f"{run['seconds']:,.1f}"
    # Counts are written at the end of a run, so an unfinished run has none.
    counted = run["status"] not in ("running", "killed")
    numbers = [output.number(run[name] or 0) if counted else "" for name in ("rows", "failures")]
    return [
        output.timestamp(run["started_at"]),
        run["command"],
        run["status"],
        seconds,
        *numbers,
        run["message"],
    ]


def _show_cursors(states: Sequence[dict[str, Any]]) -> None:
    output.heading("Cursors")
    if not states:
        output.say("none yet")
        return
    columns = [
        Column("resource"),
        Column("updated (UTC)", optional=True),
        Column("cursor", shrinks=True),
        Column("selection", shrinks=True),
    ]
    output.table(columns, [_cursor_cells(state) for state in states])


def _cursor_cells(state: dict[str, Any]) -> list[object]:
    selection, updated = output.pairs(json.loads(state["selection"])), output.timestamp(state["updated_at"])
    try:
        cursor = output.pairs(cursor_to_json(position_in(state).cursor)) or "the beginning"
    except DestinationError:
        cursor = f"unreadable: {state['cursor']}"
    return [state["resource"], updated, cursor, selection or "everything"]


def _show_tables(destination: Destination, pipeline: Pipeline) -> None:
    counts = destination.count(_tables(pipeline))
    output.heading("Tables")
    rows = [(name, output.number(count)) for name, count in counts.items() if count]
    output.table([Column("table"), Column("rows", right=True)], rows)
    if empty := [name for name, count in counts.items() if not count]:
        output.say(f"no rows in {', '.join(empty)}", "dim")


def _show_failures(failures: Sequence[dict[str, Any]], file: Path) -> None:
    output.heading("Open failures")
    if not failures:
        output.say("none")
        return
    counts = Counter((failure["resource"], failure["error_code"]) for failure in failures)
    rows = [(*names, output.number(count)) for names, count in counts.most_common()]
    output.table([Column("resource"), Column("code"), Column("items", right=True)], rows)
    output.say_unwrapped(f"  {output.quoted('wats-extract', 'failures', str(file))}", "cyan")
