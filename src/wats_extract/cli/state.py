"""``wats-extract state``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded

if TYPE_CHECKING:
    from wats_extract.engine.cursors import Change, Stored
    from wats_extract.pipeline.model import Pipeline

_TAKES = {
    "show": (),
    "set": ("RESOURCE", "JSON"),
    "clear": ("[RESOURCE]",),
    "export": (),
    "import": ("PATH",),
}


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
@click.argument("action", type=click.Choice(list(_TAKES)), default="show")
@click.argument("words", nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Change it without asking.")
def command(file: Path, action: str, words: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001 - click
    """Show the cursors of FILE, or change them.

    \b
    show                every cursor (this is what happens without a word)
    set RESOURCE JSON   go on from there with the next run, for the selection that FILE has now
    clear [RESOURCE]    begin from the beginning with the next run; what has landed is not fetched again
    export              the cursors as JSON, on stdout
    import PATH         what export wrote; cursors that are not in it stay

    A change shows its difference and asks. It is refused while the pipeline runs.
    """  # noqa: D301 - the \b is for click: it keeps the lines
    takes = _TAKES[action]
    least = sum(not word.startswith("[") for word in takes)
    if not least <= len(words) <= len(takes):
        raise click.UsageError(f"{action} takes {' and '.join(takes) or 'nothing more'}")
    pipeline = loaded(file)
    if action in ("show", "export"):
        _tell(pipeline, exported=action == "export")
    else:
        _change(pipeline, action, words, asked=not yes)


def _tell(pipeline: Pipeline, *, exported: bool) -> None:
    from wats_extract.cli.reading import reading
    from wats_extract.engine.cursors import stored

    with reading(pipeline) as destination:
        cursors = stored(destination, pipeline.name)
    if exported:
        told = {"pipeline": pipeline.name, "cursors": [each.to_json() for each in cursors]}
        output.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    elif not cursors:
        output.say(f"Pipeline {pipeline.name} has no cursors yet: its next run begins from the beginning.")
    else:
        columns = [Column("resource"), Column("cursor", shrinks=True), Column("selection", shrinks=True)]
        output.table(columns, [_cells(each) for each in cursors])


def _cells(each: Stored) -> list[object]:
    return [each.resource, _words(each.cursor), output.pairs(json.loads(each.selection)) or "everything"]


def _words(cursor: dict[str, Any]) -> str:
    return output.pairs(cursor) or "the beginning"


def _change(pipeline: Pipeline, action: str, words: Sequence[str], *, asked: bool) -> None:
    from wats_extract.engine import cursors
    from wats_extract.pipeline.opening import destination_of

    destination = destination_of(pipeline)
    with cursors.changing(destination, pipeline.name) as write:
        before = cursors.stored(destination, pipeline.name)
        made = cursors.changes(before, _wanted(pipeline, before, action, words))
        if not made:
            output.say("Nothing to change.")
            return
        output.table(
            [
                Column("resource"),
                Column("now"),
                Column(""),
                Column("then"),
                Column("selection", shrinks=True),
            ],
            [_difference(each) for each in made],
        )
        if asked and not _agreed():
            output.say("Nothing was changed.")
            return
        write(made)
    output.say(f"Changed {output.several(len(made), 'cursor')}; the next run goes on from there.", "green")


def _difference(change: Change) -> list[object]:
    resource, then, selection = _cells(change.after)
    return [resource, _words(change.before), "→", then, selection]


def _agreed() -> bool:
    try:
        return click.confirm("Change this?", err=True)
    except click.Abort:
        raise click.UsageError("nobody answered; to change it without asking: --yes") from None


def _wanted(pipeline: Pipeline, before: list[Stored], action: str, words: Sequence[str]) -> list[Stored]:
    from wats_extract.engine.cursors import Stored, imported, written
    from wats_extract.pipeline.job import Overrides, job_of

    if action == "import":
        return imported(_text(Path(words[0])), [config.name for config in pipeline.resources])
    tasks = job_of(pipeline, Overrides(words[:1])).tasks
    if action == "clear":
        named = {task.resource.name for task in tasks}
        return [
            Stored(each.resource, each.selection, {})
            for each in before
            if not words or each.resource in named
        ]
    return [Stored(task.resource.name, task.fingerprint, written(words[1])) for task in tasks]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
