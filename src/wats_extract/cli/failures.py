"""``wats-extract failures``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.cli.reading import reading
from wats_extract.masking import harmless
from wats_extract.state.tables import FAILURES


@click.command(
    "failures",
    cls=Command,
    examples=(
        "failures pipelines/reports.yaml",
        "failures pipelines/reports.yaml --all --format csv > failures.csv",
    ),
)
@file_argument
@click.option("--all", "with_resolved", is_flag=True, help="List resolved failures, too.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format; json and csv have all columns. In csv, an apostrophe precedes text that a "
    "spreadsheet would run as a formula.",
)
def command(file: Path, with_resolved: bool, style: str) -> None:  # noqa: FBT001 - click gives it by name
    """List the items that could not be extracted.

    Shows the open rows of the table _wats_failures, one per item, with the reason. To fetch these items
    again, use wats-extract retry FILE.
    """
    pipeline = loaded(file, offline=True)
    equal = {"pipeline": pipeline.name} | ({} if with_resolved else {"status": "open"})
    with reading(pipeline) as destination:
        rows = destination.read(FAILURES, **equal).to_pylist()
    rows.sort(key=lambda row: (row["resource"], row["first_failed_at"], row["key"]))
    _FORMATS[style](rows)


def _write_table(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        output.say("There are no failures.")
        return
    with_resource = len({row["resource"] for row in rows}) > 1
    with_status = any(row["status"] != "open" for row in rows)
    first = ["resource"] * with_resource + ["status"] * with_status
    columns = [
        *(Column(name) for name in first),
        Column("key"),
        Column("code"),
        Column("stage", optional=True),
        Column("attempts", right=True, optional=True),
        Column("last failed (UTC)", optional=True),
        Column("message", shrinks=True),
    ]
    output.table(columns, [[*(row[name] for name in first), *_cells(row)] for row in rows])


def _cells(row: dict[str, Any]) -> list[object]:
    cells = [row[name] for name in ("key", "error_code", "stage", "attempts")]
    return [*cells, output.timestamp(row["last_failed_at"]), row["message"]]


def _write_json(rows: Sequence[dict[str, Any]]) -> None:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    output.write(json.dumps(plain, indent=2) + "\n")


def _write_csv(rows: Sequence[dict[str, Any]]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FAILURES.schema.names)
    writer.writerows([_csv_cell(_plain(value)) for value in row.values()] for row in rows)
    output.write(harmless(text.getvalue()))


def _csv_cell(value: object) -> object:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(_FORMULA) else value


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""How a formula begins in a spreadsheet."""

_FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}
