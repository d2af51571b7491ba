"""``wats-extract state``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.cli.reading import reading
from wats_extract.engine import cursors
from wats_extract.engine.cursors import Change, Stored
from wats_extract.errors import ConfigurationError
from wats_extract.pipeline.job import Overrides, job_of
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import destination_of
from wats_extract.state.ownership import refuse_other_server

_ARGUMENTS = {
    "show": (),
    "set": ("RESOURCE", "JSON"),
    "clear": ("[RESOURCE]",),
    "export": (),
    "import": ("PATH",),
}
"""What each action takes after its name."""


@click.command(
    "state",
    cls=Command,
    examples=(
        "state pipelines/reports.yaml",
        """state pipelines/reports.yaml set reports '{"time_stamp": 123456}'""",
        "state pipelines/reports.yaml clear reports",
        "state pipelines/reports.yaml export > cursors.json",
        "state pipelines/reports.yaml import cursors.json --yes",
    ),
)
@file_argument
@click.argument("action", type=click.Choice(list(_ARGUMENTS)), default="show")
@click.argument("arguments", nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Change the cursors without asking.")
def command(file: Path, action: str, arguments: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001 - click
    """Show or change the cursors of FILE.

    \b
    show                show every cursor (the default)
    set RESOURCE JSON   set the cursor of FILE's current selection
    clear [RESOURCE]    read from the beginning with the next run; items
                        that are already loaded are not fetched again
    export              print the cursors as JSON
    import PATH         read what export wrote; other cursors stay

    A change shows the difference and asks. It is refused while the pipeline runs.
    """  # noqa: D301 - \b tells click to keep the line breaks
    takes = _ARGUMENTS[action]
    required = sum(not argument.startswith("[") for argument in takes)
    if not required <= len(arguments) <= len(takes):
        raise click.UsageError(f"{action} takes {' and '.join(takes) or 'no arguments'}")
    pipeline = loaded(file, offline=True)
    if action in ("show", "export"):
        _show(pipeline, export=action == "export")
    else:
        _change(pipeline, action, arguments, ask=not yes)


def _show(pipeline: Pipeline, *, export: bool) -> None:
    with reading(pipeline) as destination:
        found = cursors.stored(destination, pipeline.name)
    if export:
        exported = {"pipeline": pipeline.name, "cursors": [each.to_json() for each in found]}
        output.write(json.dumps(exported, indent=2, ensure_ascii=False) + "\n")
    elif not found:
        output.say(f"Pipeline {pipeline.name} has no cursors yet; its next run reads from the beginning.")
    else:
        columns = [Column("resource"), Column("cursor", shrinks=True), Column("selection", shrinks=True)]
        output.table(columns, [_cells(each) for each in found])


def _cells(each: Stored) -> list[object]:
    return [each.resource, _text(each.shown()), output.pairs(json.loads(each.selection)) or "everything"]


def _text(cursor: dict[str, Any]) -> str:
    return output.pairs(cursor) or "the beginning"


def _change(pipeline: Pipeline, action: str, arguments: Sequence[str], *, ask: bool) -> None:
    destination = destination_of(pipeline)
    with cursors.changing(destination, pipeline.name) as write:
        server = refuse_other_server(destination, pipeline.source.identity)
        before = cursors.stored(destination, pipeline.name)
        changes = cursors.changes(before, _changed(pipeline, before, action, arguments, server=server))
        if not changes:
            output.say("Nothing to change.")
            return
        _show_changes(changes)
        if ask and not _confirmed():
            output.say("Nothing was changed.")
            return
        write(changes)
    output.say(f"Changed {output.plural(len(changes), 'cursor')}; the next run starts from there.", "green")


def _show_changes(changes: Sequence[Change]) -> None:
    columns = [
        Column("resource"),
        Column("now"),
        Column(""),
        Column("after the change"),
        Column("selection", shrinks=True),
    ]
    rows = []
    for change in changes:
        resource, after, selection = _cells(change.after)
        rows.append([resource, _text(change.before), "→", after, selection])
    output.table(columns, rows)


def _confirmed() -> bool:
    try:
        return click.confirm("Change this?", err=True)
    except click.Abort:
        raise click.UsageError("no answer on stdin; use --yes to change cursors without asking") from None


def _changed(
    pipeline: Pipeline, before: list[Stored], action: str, arguments: Sequence[str], *, server: str
) -> list[Stored]:
    """The cursors that the action sets, of the server that the destination belongs to."""
    if action == "import":
        exported = _file_text(Path(arguments[0]))
        return cursors.imported(exported, [config.name for config in pipeline.resources])
    tasks = job_of(pipeline, Overrides(arguments[:1]), server=server).tasks
    if action == "clear":
        named = {task.resource.name for task in tasks}
        return [
            Stored(each.resource, each.selection, None)
            for each in before
            if not arguments or each.resource in named
        ]
    if not (pipeline.source.identity or server):
        raise ConfigurationError(
            "the server of this cursor is not known, because nothing is loaded yet", hint="Set WATS_URL."
        )
    return [Stored(task.resource.name, task.fingerprint, cursors.written(arguments[1])) for task in tasks]


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
