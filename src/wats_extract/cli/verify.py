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
    "equal": "The server and the destination are equal{now}{apart}.",
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
@click.option("--repair", is_flag=True, help="Fetch missing, outdated and duplicated reports.")
@demo_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(
    file: Path,
    only: tuple[str, ...],
    repair: bool,  # noqa: FBT001 - click gives it by name
    demo: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> int:
    """Compare the server with the destination.

    Reads the server's whole list of the reports that FILE selects, 10,000 reports per request. It does not
    read the reports themselves.

    \b
      missing     on the server, but not loaded
      outdated    changed on the server after it was loaded
      extra       loaded, but deleted on the server
      duplicated  loaded more than once
      failed      not loaded, with an open failure

    \b
    Exit codes:
      0    server and destination are equal (with --repair: after the repair)
      3    they differ
      4    stopped early
    With --repair, also those of run.
    """  # noqa: D301 - \b tells click to keep the line breaks
    return run_command(
        file,
        partial(verify_pipeline, only=only, repair=repair),
        partial(_show, file=file),
        demo=demo,
        as_json=as_json,
        quiet=quiet,
    )


def _show(report: VerifyReport, pipeline: Pipeline, *, file: Path) -> None:  # noqa: ARG001 - not shown
    if not report.resources and not report.message:
        output.say("Nothing to compare: the pipeline has no resource of reports.")
        return
    good = report.status == "equal"
    output.say(f"{output.mark(good=good)} {_sentence(report)}", "green" if good else "bold yellow")
    output.say()
    _show_counts(report)
    _show_keys(report)
    _show_repair(report)
    output.say()
    summary.show_places(report.server, report.destination)
    output.say(f"{output.seconds(report.seconds)}, {output.plural(report.requests, 'request')}")
    if report.status == "different":
        _show_next_steps(report, file)


def _sentence(report: VerifyReport) -> str:
    sentence = _SENTENCES.get(report.status, "The repair stopped early.")
    failed = sum(each.failed for each in report.resources.values())
    return sentence.format(
        now=" now" if report.repair else "",
        still="still " if report.repair else "",
        apart=f", apart from {output.plural(failed, 'open failure')}" if failed else "",
    )


def _show_counts(report: VerifyReport) -> None:
    counts = {"server": "server", "landed": "loaded", **{kind: kind for kind in (*KINDS, "failed")}}
    columns = [Column("resource"), *(Column(title, right=True) for title in counts.values())]
    rows = [
        [name, *(output.number(getattr(each, count)) for count in counts)]
        for name, each in report.resources.items()
    ]
    output.table(columns, rows)
    if report.not_compared:
        output.say(f"not compared, because they hold no reports: {', '.join(report.not_compared)}", "dim")


def _show_keys(report: VerifyReport) -> None:
    rows = [
        (name if not index else "", kind, key)
        for name, each in report.resources.items()
        for index, (kind, key) in enumerate((kind, key) for kind, keys in each.keys.items() for key in keys)
    ]
    if rows:
        output.heading("The first differences")
        output.table([Column("resource"), Column("difference"), Column("key")], rows)


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
    if not report.repair and sum(each.missing + each.outdated + each.duplicated for each in found) > new:
        output.say("To fetch missing, outdated and duplicated reports:")
        output.say_unwrapped(f"  wats-extract verify {name} --repair", "cyan")
    if sum(each.extra for each in found):
        output.say("Extra reports stay in the tables; the server no longer has them.")
