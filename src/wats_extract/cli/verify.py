"""``wats-extract verify``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from wats_extract.cli import output, summary
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import demo_option, file_argument
from wats_extract.cli.running import ReportingCommand, run_command
from wats_extract.engine.comparison import KINDS
from wats_extract.engine.verifying import VerifyReport
from wats_extract.frontends.pipelines import verify_pipeline
from wats_extract.pipeline.model import Pipeline

_SENTENCES = {
    "equal": "The server and the destination are equal{now}.",
    "failures": "The server and the destination are equal{now}, apart from {failures}.",
    "different": "The server and the destination {still}differ.",
    "incomplete": "The comparison stopped early.",
}


@click.command(
    "verify",
    cls=ReportingCommand,
    examples=(
        "verify pipelines/reports.yaml",
        "verify pipelines/reports.yaml --only reports --repair",
        "verify pipelines/reports.yaml --json",
    ),
)
@file_argument
@click.option("--only", multiple=True, metavar="NAME", help="Compare only this resource. Repeatable.")
@click.option("--deep", is_flag=True, help="Fetch all documents again, and compare every value.")
@click.option("--repair", is_flag=True, help="Fetch what differs; extra reports stay.")
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(
    file: Path,
    only: tuple[str, ...],
    deep: bool,  # noqa: FBT001 - click gives it by name
    repair: bool,  # noqa: FBT001 - click gives it by name
    demo: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> int:
    """Compare the server with the destination.

    Reads the server's whole list of the reports that FILE selects, 10,000 reports per request, and counts the
    rows of each item. It reads the reports themselves only with --deep, which takes as long as the first run.

    \b
      missing     on the server, but not loaded
      outdated    changed on the server after it was loaded
      extra       loaded, but deleted on the server
      duplicated  loaded more than once
      incomplete  loaded, but some of its rows in other tables are gone
      changed     loaded, with another value than on the server (--deep)
      failed      an open failure

    \b
    Exit codes:
      0    server and destination are equal (with --repair: after the repair)
      3    they differ, or failures are open
      4    stopped early
    With --repair, also those of run.
    """  # noqa: D301 - \b tells click to keep the line breaks
    return run_command(
        file,
        partial(verify_pipeline, only=only, deep=deep, repair=repair),
        partial(_show, file=file, deep=deep),
        demo=demo,
        as_json=as_json,
        quiet=quiet,
    )


def _show(report: VerifyReport, pipeline: Pipeline, *, file: Path, deep: bool) -> None:  # noqa: ARG001 - not shown
    if not report.resources and not report.message:
        output.say("Nothing to compare: the pipeline has no resource of reports.")
        return
    good = report.status == "equal"
    output.say(f"{output.mark(good=good)} {_sentence(report)}", "green" if good else "bold yellow")
    output.say()
    _show_counts(report, deep=deep)
    _show_keys(report)
    _show_rows_and_values(report)
    _show_repair(report)
    output.say()
    summary.show_places(report.server, report.destination)
    output.say(f"{output.seconds(report.seconds)}, {output.plural(report.requests, 'request')}")
    if report.status in ("different", "failures"):
        _show_next_steps(report, file)


def _sentence(report: VerifyReport) -> str:
    sentence = _SENTENCES.get(report.status, "The repair stopped early.")
    unread = sum(each.unread for each in report.resources.values())
    failures = [
        *([output.plural(report.open_failures, "open failure")] if report.open_failures else []),
        *([f"{output.plural(unread, 'document')} that could not be fetched"] if unread else []),
    ]
    return sentence.format(
        now=" now" if report.repair else "",
        still="still " if report.repair else "",
        failures=" and ".join(failures),
    )


def _show_counts(report: VerifyReport, *, deep: bool) -> None:
    kinds = [kind for kind in KINDS if deep or kind != "changed"]
    counts = {"server": "server", "landed": "loaded", **{kind: kind for kind in (*kinds, "failed")}}
    columns = [Column("resource"), *(Column(title, right=True) for title in counts.values())]
    rows = [
        [name, *(_number(getattr(each, count)) for count in counts)]
        for name, each in report.resources.items()
    ]
    output.table(columns, rows)
    if report.not_compared:
        names = ", ".join(report.not_compared)
        output.say(f"not compared with the server, because they hold no reports: {names}", "dim")


def _number(count: int | None) -> str:
    return "" if count is None else output.number(count)


def _show_keys(report: VerifyReport) -> None:
    rows = [
        (name if not index else "", kind, key)
        for name, each in report.resources.items()
        for index, (kind, key) in enumerate((kind, key) for kind, keys in each.keys.items() for key in keys)
    ]
    if rows:
        output.heading("The first differences")
        output.table([Column("resource"), Column("difference"), Column("key")], rows)


def _show_rows_and_values(report: VerifyReport) -> None:
    """Show which tables lack rows, and which values differ."""
    found = report.resources.items()
    rows = [
        (name, table, output.number(count))
        for name, each in found
        for table, count in each.rows_missing.items()
    ]
    if rows:
        output.heading("Rows that are gone")
        output.table([Column("resource"), Column("table"), Column("rows", right=True)], rows)
    places = [(name, *place.values()) for name, each in found for place in each.values]
    if places:
        output.heading("The first differing values")
        output.table([Column(title) for title in ("resource", "table", "item", "column")], places)


def _show_repair(report: VerifyReport) -> None:
    if report.repair is None:
        return
    loaded = sum(each.items for each in report.repair.resources.values())
    failures = report.repair.failures
    failed = f", {output.plural(failures, 'item')} could not be fetched" if failures else ""
    output.say()
    output.say(f"Repaired: {output.plural(loaded, 'item')} loaded{failed} (run {report.repair.run_id}).")


def _show_next_steps(report: VerifyReport, file: Path) -> None:
    found = report.resources.values()
    name = output.quoted(str(file))
    output.say()
    if new := sum(each.new for each in found):
        output.say(f"{output.plural(new, 'report')} arrived after the last run. To load new reports:")
        output.say_unwrapped(f"  wats-extract run {name}", "cyan")
    if not report.repair and sum(each.differences - each.extra for each in found) > new:
        output.say("To fetch what differs:")
        output.say_unwrapped(f"  wats-extract verify {name} --repair", "cyan")
    if sum(each.extra for each in found):
        output.say("Extra reports stay in the tables; the server no longer has them.")
    if report.open_failures:
        output.say(f"{output.plural(report.open_failures, 'open failure')}. To fetch the failed items again:")
        output.say_unwrapped(f"  wats-extract retry {name}", "cyan")
