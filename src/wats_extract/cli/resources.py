"""``wats-extract resources``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column

if TYPE_CHECKING:
    from wats_extract.flow import Table
    from wats_extract.resources.resource import Resource


@click.command("resources", cls=Command, examples=("resources", "resources reports"))
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Show what can be extracted.

    With NAME, a resource such as reports: its tables and columns.
    """
    from wats_extract.session import resource_named

    if name is None:
        _show_all()
    else:
        _show_one(resource_named(name))


def _show_all() -> None:
    from wats_extract.resources.catalogue import RESOURCES

    columns = [
        Column("name"),
        Column("route"),
        Column("key"),
        Column("cursor"),
        Column("tables", shrinks=True),
    ]
    output.table(
        columns,
        [
            (each.name, f"/api/{each.route}", each.key, each.cursor, _tables(each))
            for each in RESOURCES.values()
        ],
    )


def _tables(resource: Resource) -> str:
    return ", ".join(table.name for table in resource.tables)


def _show_one(resource: Resource) -> None:
    output.say(f"{resource.name}: {resource.summary}", "bold")
    facts = {
        "route": f"/api/{resource.route}",
        "key": resource.key,
        "cursor": resource.cursor,
        "options": ", ".join(sorted(resource.options)),
        "expand": ", ".join(resource.expand),
        "filters": ", ".join(resource.filters),
    }
    for what, said in facts.items():
        if said:
            output.say(f"{what + ':':<9}{said}")
    for table in resource.tables:
        _show_table(table)
    output.say()
    output.say("Every table has _extra, _wats_run_id and _wats_extracted_at, too.", "dim")


def _show_table(table: Table) -> None:
    output.heading(f"{table.name}{': ' if table.doc else ''}{table.doc}")
    output.table(
        [Column("column"), Column("type"), Column("key"), Column("meaning", shrinks=True)],
        [
            (column.name, _type(str(column.type)), "key" if column.name in table.key else "", column.doc)
            for column in table.columns
        ],
    )


def _type(arrow: str) -> str:
    """As the documentation spells it: ``timestamp[us, UTC]``, ``list<double>``."""
    return arrow.replace("tz=", "").replace("element: ", "").replace("item: ", "")
