"""``wats-extract verify``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wats_extract.cli import output
from wats_extract.cli.command import ReportingCommand
from wats_extract.cli.output import Column
from wats_extract.cli.pipeline_file import file_argument

if TYPE_CHECKING:
    from wats_extract.engine.verifying import VerifyReport
    from wats_extract.pipeline.model import Pipeline

_SENTENCES = {
    "equal": "what the server has and what has landed are equal.",
    "different": "what the server has and what has landed differ.",
    "incomplete": "the comparison stopped before its end.",
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
@click.option("--only", multiple=True, metavar="NAME", help="Only this resource; may be given several times.")
@click.option("--repair", is_flag=True, help="Fetch what is missing, outdated or duplicated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but errors.")
def command(
    file: Path,
    only: tuple[str, ...],
    repair: bool,  # noqa: FBT001 - click gives it by name
    as_json: bool,  # noqa: FBT001
    quiet: bool,  # noqa: FBT001
) -> int:
    """Compare the server's reports with what has landed.

    The server's list of what FILE selects is read whole, 10,000 reports a request; documents are not.
    missing are on the server and have not landed, outdated have changed there since, extra have been deleted
    there, duplicated have landed more than once. Reports with an open failure are counted apart.

    Exits with 0 when both are equal (after a repair: now), 3 when they differ, 4 when it stopped early.
    """
    from wats_extract.cli import running
    from wats_extract.frontends.pipelines import verify_pipeline

    return running.carry_out(
        file,
        lambda pipeline, listen, stopping: verify_pipeline(
            pipeline, only=only, repair=repair, listen=listen, stopping=stopping
        ),
        partial(_tell, file=file),
        as_json=as_json,
        quiet=quiet,
    )


def _tell(report: VerifyReport, pipeline: Pipeline, *, file: Path) -> None:  # noqa: ARG001 - not shown
    from wats_extract.engine.verifying import KINDS

    good = report.status == "equal"
    if not report.resources and not report.message:
        output.say("There is nothing to compare: the pipeline has no reports.")
        return
    now = "now " if report.repair else ""
    sentence = now + _SENTENCES.get(report.status, "the repair stopped before its end.")
    output.say(f"{output.mark(good=good)} {sentence.capitalize()}", "green" if good else "bold yellow")
    output.say()
    names = ("server", "landed", *KINDS, "failed")
    columns = [Column("resource"), *(Column(name, right=True) for name in names)]
    rows = [
        [name, *(output.number(getattr(each, kind)) for kind in names)]
        for name, each in report.resources.items()
    ]
    output.table(columns, rows)
    if report.not_compared:
        output.say(f"not compared, for they are no reports: {', '.join(report.not_compared)}", "dim")
    _show_keys(report)
    _what_was_repaired(report)
    output.say()
    output.say(f"{output.seconds(report.seconds)}, {output.several(report.requests, 'request')}")
    if report.status == "different":
        _next_steps(report, file)


def _show_keys(report: VerifyReport) -> None:
    rows = [
        (name if not index else "", kind, key)
        for name, each in report.resources.items()
        for index, (kind, key) in enumerate((kind, key) for kind, keys in each.keys.items() for key in keys)
    ]
    if rows:
        output.heading("The first of them")
        output.table([Column("resource"), Column("is"), Column("key")], rows)


def _what_was_repaired(report: VerifyReport) -> None:
    if report.repair is None:
        return
    healed = sum(each.items for each in report.repair.resources.values())
    failed = report.repair.failures
    but = f", {output.several(failed, 'item')} could not be fetched" if failed else ""
    output.say()
    output.say(f"Repaired: {output.several(healed, 'item')} landed{but} (run {report.repair.run_id}).")


def _next_steps(report: VerifyReport, file: Path) -> None:
    found = report.resources.values()
    name = output.shell(str(file))
    output.say()
    if new := sum(each.new for each in found):
        output.say(f"{output.several(new, 'report')} came after the last run:")
        output.say_exactly(f"  wats-extract run {name}", "cyan")
    if not report.repair and sum(each.missing + each.outdated + each.duplicated for each in found) > new:
        output.say("To fetch what is missing, outdated or duplicated:")
        output.say_exactly(f"  wats-extract verify {name} --repair", "cyan")
    if sum(each.extra for each in found):
        output.say("What is extra stays in the tables: the server does not have it any more.")
