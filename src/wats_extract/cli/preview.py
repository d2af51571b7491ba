"""``wats-extract preview``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded

if TYPE_CHECKING:
    from wats_extract.frontends.session import Stream, Wats
    from wats_extract.pipeline.model import Pipeline

LONGEST_VALUE = 36
"""Characters of a value on a terminal; a uuid just fits."""


@click.command(
    "preview",
    cls=Command,
    examples=(
        "preview pipelines/reports.yaml report_headers",
        "preview pipelines/reports.yaml reports --table steps -n 20",
    ),
)
@file_argument
@click.argument("resource")
@click.option("-n", "rows", type=click.IntRange(min=1), default=10, show_default=True, help="How many rows.")
@click.option("--table", metavar="NAME", help="Another of the resource's tables than its first.")
def command(file: Path, resource: str, rows: int, table: str | None) -> None:
    """Show the first rows of a resource.

    RESOURCE is read as FILE selects it, or whole where FILE does not name it. The rows come from the
    server, and nothing is written anywhere.
    """
    from wats_extract.frontends.session import Wats
    from wats_extract.resources.catalogue import resource_named, table_named

    pipeline = loaded(file)
    names = [column.name for column in table_named(resource_named(resource), table).columns]
    with Wats(pipeline.source) as wats:
        stream = _stream(wats, pipeline, resource, table, rows)
        found = list(islice((row for batch in stream for row in batch.to_pylist()), rows))
    _show(found, names)
    for failure in stream.failures:
        output.complain("Failed", f"{failure.key}: {failure.message}", hint=failure.hint)


def _stream(wats: Wats, pipeline: Pipeline, resource: str, table: str | None, rows: int) -> Stream:
    """As many items as there shall be rows: the first table has a row for each, the others have more."""
    from wats_extract.pipeline.model import ResourceConfig

    listed = [each for each in pipeline.resources if each.name == resource]
    config = listed[0] if listed else ResourceConfig(name=resource)
    return wats.stream(
        resource,
        table=table,
        since=config.since,
        until=config.until,
        filter=config.filter,
        limit=rows,
        **{name: value for name, value in config.options.items() if name != "acknowledge"},
    )


def _show(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    if not rows:
        output.say("There are no rows.")
        return
    filled = [name for name in names if any(row[name] is not None for row in rows)]
    cells = {name: [_shortened(row[name]) for row in rows] for name in filled}
    shown = _that_fit(cells)
    columns = [Column(name, right=isinstance(rows[0][name], int | float)) for name in shown]
    output.table(columns, list(zip(*(cells[name] for name in shown), strict=True)))
    _name_the_rest("not shown", [name for name in filled if name not in shown])
    _name_the_rest("empty in these rows", [name for name in names if name not in filled])


def _name_the_rest(what: str, names: Iterable[str]) -> None:
    if listed := ", ".join(names):
        output.say()
        output.say(f"{what}: {listed}", "dim")


def _that_fit(cells: dict[str, list[str]]) -> list[str]:
    """The first columns, as many as fit beside one another; all of them where nobody looks."""
    left = output.console(sys.stdout).width
    shown: list[str] = []
    for name, values in cells.items():
        left -= max(map(len, [name, *values])) + output.GAP
        if shown and left < -output.GAP:
            break
        shown.append(name)
    return shown


def _shortened(value: object) -> str:
    text = _text(value)
    if not sys.stdout.isatty() or len(text) <= LONGEST_VALUE:
        return text
    return f"{text[: LONGEST_VALUE - 1]}…"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return output.moment(value)
    if isinstance(value, list) and len(value) > 3:
        return f"[{', '.join(map(str, value[:3]))}, … {len(value)}]"
    return str(value)
