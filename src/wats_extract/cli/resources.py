"""``wats-extract resources``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.resources.catalogue import DOMAINS, RESOURCES, resource_named
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import takes_time
from wats_extract.tables import Table

COLUMNS = (
    Column("name"),
    Column("route", shrinks=True),
    Column("paging"),
    Column("cap", right=True, optional=True),
    Column("cursor", optional=True),
    Column("key", optional=True),
    Column("tables", shrinks=True, optional=True),
)


@click.command(
    "resources", cls=Command, examples=("resources", "resources reports", "resources measurements --json")
)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all details.")
def command(name: str | None, as_json: bool) -> None:  # noqa: FBT001 - click gives it by name
    """List the resources that can be extracted.

    With NAME, such as reports, shows all details of that resource, its tables and its columns.
    """
    shown = list(RESOURCES.values()) if name is None else [resource_named(name)]
    if as_json:
        output.json_line({"resources": {each.name: _details(each) for each in shown}})
    elif name is None:
        _show_all()
    else:
        _show_one(*shown)


# ── all resources ───────────────────────────────────────────────────────────────────────────────


def _show_all() -> None:
    rows: list[tuple[str, ...]] = []
    for domain, resources in DOMAINS.items():
        note = ": not supported by the vendor" if all(each.internal for each in resources) else ""
        rows += [(f"{domain}{note}",), *map(_cells, resources)]
    output.table(COLUMNS, rows)
    output.say()
    output.say("Routes are relative to /api. The cap is the number of rows per request.")
    output.say("A resource without a cursor is read as a whole by every run.")
    output.say("*: partly unproven. wats-extract resources NAME shows what, and all columns.")


def _cells(resource: Resource) -> tuple[str, ...]:
    return (
        f"{resource.name} *" if resource.unproven else resource.name,
        f"{resource.method} {resource.route}",
        resource.paging,
        _cap(resource),
        resource.cursor,
        resource.key,
        ", ".join(table.name for table in resource.tables),
    )


def _cap(resource: Resource) -> str:
    return "" if resource.cap is None else output.number(resource.cap)


# ── one resource ────────────────────────────────────────────────────────────────────────────────


def _show_one(resource: Resource) -> None:
    output.say(f"{resource.name}: {resource.summary}", "bold")
    if resource.internal:
        output.say("The vendor does not support this route; it is read only with internal: true.", "yellow")
    output.facts(dict(_facts(resource)))
    for table in resource.tables:
        _show_table(table)
    output.say()
    output.say("Every table also has _extra, _wats_run_id and _wats_extracted_at.", "dim")
    if resource.table.counted:
        output.say(f"{resource.table.name} also has _wats_rows: the rows of the other tables.", "dim")


def _facts(resource: Resource) -> Iterator[tuple[str, str]]:
    """Names and values of the details that the resource has."""
    yield "route", f"{resource.method} /api/{resource.route}"
    yield "paging", resource.paging
    if resource.cap is not None:
        yield "cap", f"{_cap(resource)} rows per request"
    yield "key", resource.key
    yield "cursor", resource.cursor or "none: every run reads the whole resource"
    if resource.required:
        yield "required in filter", ", ".join(resource.required)
    if resource.filters:
        kind = " (OData)" if resource.filtered_by == "odata" else " (WATS filter)"
        yield "filter", ", ".join(resource.filters) + kind
    times = ["since", "until"] if takes_time(resource) else []
    if options := [*times, *sorted(resource.options.difference(times))]:
        yield "options", ", ".join(options)
    if resource.expand:
        yield "expand", ", ".join(resource.expand)
    if resource.dimensions:
        yield "dimensions", ", ".join(resource.dimensions)
    if resource.unproven:
        yield "unproven", resource.unproven


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
    """The name of an Arrow type as in the documentation: ``timestamp[us, UTC]``, ``list<double>``."""
    return arrow.replace("tz=", "").replace("element: ", "").replace("item: ", "")


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def _details(resource: Resource) -> dict[str, Any]:
    """All details of a resource, for ``--json``."""
    return {
        "summary": resource.summary,
        "method": resource.method,
        "route": f"/api/{resource.route}",
        "paging": resource.paging,
        "cap": resource.cap,
        "key": resource.key,
        "cursor": resource.cursor or None,
        "incremental": bool(resource.cursor),
        "filtered_by": resource.filtered_by,
        "filters": list(resource.filters),
        "required": list(resource.required),
        "takes_time": takes_time(resource),
        "options": sorted(resource.options),
        "expand": list(resource.expand),
        "dimensions": list(resource.dimensions),
        "internal": resource.internal,
        "unproven": resource.unproven or None,
        "tables": {
            table.name: {
                "key": list(table.key),
                "columns": {column.name: _type(str(column.type)) for column in table.columns},
            }
            for table in resource.tables
        },
    }
