"""``wats-extract preview``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import demo_option, file_argument, loaded
from wats_extract.frontends.session import Wats
from wats_extract.frontends.streaming import Stream
from wats_extract.pipeline.model import Pipeline, ResourceConfig
from wats_extract.resources.catalogue import RESOURCES, resource_named, table_named
from wats_extract.resources.selecting import OPTIONS

MAX_VALUE = 36
"""Characters that a value may have on a terminal: the length of a uuid."""


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
@click.option(
    "-n",
    "rows",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Number of rows.",
)
@click.option("--table", metavar="NAME", help="Table to show; by default the resource's first.")
@demo_option
def command(
    file: Path,
    resource: str,
    rows: int,
    table: str | None,
    demo: bool,  # noqa: FBT001 - click gives it by name
) -> None:
    """Show the first rows of a resource.

    The rows come from the server, and nothing is written. If FILE names RESOURCE, its filters apply.
    """
    pipeline = loaded(file, demo=demo)
    names = [column.name for column in table_named(resource_named(resource), table).columns]
    with Wats(pipeline.source) as wats:
        stream = _stream(wats, pipeline, resource, table, rows)
        found = list(islice((row for batch in stream for row in batch.to_pylist()), rows))
    _show(found, names)
    for failure in stream.failures:
        output.problem("Failed", f"{failure.key}: {failure.message}", hint=failure.hint)


def _stream(wats: Wats, pipeline: Pipeline, resource: str, table: str | None, rows: int) -> Stream:
    """Stream as many items as rows are wanted: the first table has a row per item, others have more."""
    listed = [each for each in pipeline.resources if each.name == resource]
    config = listed[0] if listed else ResourceConfig(name=resource)
    takes = (RESOURCES[resource].options & {*OPTIONS, "expand"}) - {"acknowledge"}
    return wats.stream(
        resource,
        table=table,
        since=config.since,
        until=config.until,
        filter=config.filter,
        limit=rows,
        **{name: getattr(config, name) for name in takes},
    )


def _show(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    if not rows:
        output.say("There are no rows.")
        return
    filled = [name for name in names if any(row[name] is not None for row in rows)]
    cells = {name: [_shortened(row[name]) for row in rows] for name in filled}
    shown = _fitting(cells)
    columns = [Column(name, right=any(_is_number(row[name]) for row in rows)) for name in shown]
    output.table(columns, list(zip(*(cells[name] for name in shown), strict=True)))
    _say_names("not shown", [name for name in filled if name not in shown])
    _say_names("empty in these rows", [name for name in names if name not in filled])


def _say_names(title: str, names: Iterable[str]) -> None:
    if text := ", ".join(names):
        output.say()
        output.say(f"{title}: {text}", "dim")


def _fitting(cells: dict[str, list[str]]) -> list[str]:
    """The first columns that fit side by side on the terminal; all of them in a pipe or file."""
    left = output.console(sys.stdout).width
    shown: list[str] = []
    for name, values in cells.items():
        left -= max(map(len, [name, *values])) + output.GAP
        if shown and left < -output.GAP:
            break
        shown.append(name)
    return shown


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shortened(value: object) -> str:
    text = _text(value)
    if not sys.stdout.isatty() or len(text) <= MAX_VALUE:
        return text
    return f"{text[: MAX_VALUE - 1]}…"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return output.timestamp(value)
    if isinstance(value, list) and len(value) > 3:
        return f"[{', '.join(map(str, value[:3]))}, … {len(value)}]"
    return str(value)
