"""``wats-extract status``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.errors import DestinationError

if TYPE_CHECKING:
    from wats_extract.flow import Destination
    from wats_extract.pipeline.model import Pipeline
    from wats_extract.state.lock import Sighting

RUNS_SHOWN = 10

_COMPLETE = ("succeeded", "failures")


@click.command("status", cls=Command, examples=("status pipelines/reports.yaml",))
@file_argument
def command(file: Path) -> None:
    """Show runs, cursors, rows and open failures.

    They are read from the destination of FILE. Nothing is asked of the server, nothing is changed.
    """
    from wats_extract.cli.reading import reading
    from wats_extract.state.lock import sighted
    from wats_extract.state.tables import FAILURES, RUNS, STATE

    pipeline = loaded(file)
    with reading(pipeline) as destination:
        runs = destination.read(RUNS, pipeline=pipeline.name).to_pylist()
        if not runs:
            _nothing_yet(destination, file)
            return
        runs.sort(key=lambda run: run["started_at"], reverse=True)
        failures = destination.read(FAILURES, pipeline=pipeline.name, status="open").to_pylist()
        output.say(f"Pipeline {pipeline.name}, tables in {destination.place}", "bold")
        _at_a_glance(runs[0], len(failures), sighted(destination.lock_path(pipeline.name)))
        _show_runs(runs)
        _show_cursors(destination.read(STATE, pipeline=pipeline.name).to_pylist())
        _show_tables(destination, pipeline)
        _show_failures(failures, file)


def _nothing_yet(destination: Destination, file: Path) -> None:
    output.say(f"Nothing has been extracted to {destination.place} yet. To begin:")
    output.say_exactly(f"  {output.shell('wats-extract', 'run', str(file))}", "cyan")


def _at_a_glance(run: dict[str, Any], failures: int, holder: Sighting | None) -> None:
    good = run["status"] in _COMPLETE
    if run["status"] == "running":
        _not_ended(run["command"], holder)
        return
    but = f", but for {output.several(failures, 'open failure')}" if good and failures else ""
    words = "was complete" if good else f"was not complete: {run['status']}"
    style = "yellow" if but else "green" if good else "red"
    output.say(f"{output.mark(good=good)} The last {run['command']} {words}{but}.", style)


def _not_ended(command: str, holder: Sighting | None) -> None:
    if holder is not None and holder.beats:
        output.say(f"- The last {command} is under way: {holder}.", "yellow")
        return
    suspended = f", or is suspended ({holder})" if holder else ""
    words = f"was not complete: its process was killed, or could write nothing more{suspended}"
    output.say(f"{output.mark(good=False)} The last {command} {words}.", "red")
    output.say("The next run goes on from its last commit.")


def _show_runs(runs: Sequence[dict[str, Any]]) -> None:
    columns = [
        Column("started (UTC)"),
        Column("command", spare=True),
        Column("status"),
        Column("seconds", right=True),
        Column("rows", right=True),
        Column("failures", right=True),
        Column("message", shrinks=True),
    ]
    older = len(runs) - RUNS_SHOWN
    output.heading(f"Runs (the last {RUNS_SHOWN} of {len(runs)})" if older > 0 else "Runs")
    output.table(columns, [_run_row(run) for run in runs[:RUNS_SHOWN]])


def _run_row(run: dict[str, Any]) -> list[object]:
    seconds = "" if run["seconds"] is None else f"{run['seconds']:,.1f}"
    # the row of a run that did not come to its end is that of its beginning
    counted = run["status"] not in ("running", "killed")
    numbers = [output.number(run[name] or 0) if counted else "" for name in ("rows", "failures")]
    return [
        output.moment(run["started_at"]),
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
        Column("updated (UTC)", spare=True),
        Column("cursor", shrinks=True),
        Column("selection", shrinks=True),
    ]
    output.table(columns, [_cursor_row(state) for state in states])


def _cursor_row(state: dict[str, Any]) -> list[object]:
    from wats_extract.state.tables import cursor_in

    selection, updated = output.pairs(json.loads(state["selection"])), output.moment(state["updated_at"])
    try:
        cursor = output.pairs(cursor_in(state)) or "the beginning"
    except DestinationError:
        cursor = f"unreadable: {state['cursor']}"
    return [state["resource"], updated, cursor, selection or "everything"]


def _show_tables(destination: Destination, pipeline: Pipeline) -> None:
    from wats_extract.resources.catalogue import RESOURCES

    tables = [table for config in pipeline.resources for table in RESOURCES[config.name].tables]
    counts = destination.count(tables)
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
    rows = [(*what, output.number(count)) for what, count in counts.most_common()]
    output.table([Column("resource"), Column("code"), Column("items", right=True)], rows)
    output.say_exactly(f"  {output.shell('wats-extract', 'failures', str(file))}", "cyan")
