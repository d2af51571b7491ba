"""``python -m benchmarks``: measures, shows, and keeps the result."""

from __future__ import annotations

import argparse
import compileall
import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.parts import PARTS, Part
from benchmarks.race import Race

HERE = Path(__file__).parent


def main() -> None:
    """Run the parts that are asked for."""
    given = _arguments()
    parts = _parts(given)
    load, *_ = os.getloadavg()
    # as pip does with what it installs; the others' packages are compiled, too
    compileall.compile_dir(HERE.parent / "src", quiet=2)
    race = Race(quick=given.quick, rounds=given.rounds, with_peers=given.peers, load=load)
    _run(race, parts)
    report.show(race, Console())
    whole = not (given.quick or given.only) and given.peers
    if whole if given.write is None else given.write:
        _write(race)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures wats-extract, alone and against others; writes results.md after a full run.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: some two minutes")
    parser.add_argument(
        "--only", action="append", choices=[part.name for part in PARTS], help="only this part; repeatable"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of what has several (3)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="wats-extract alone")
    parser.add_argument(
        "--real-budget", action="store_true", help="three minutes at 500 requests a minute, too"
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write results.md and the plots; only a full run does by itself",
    )
    return parser.parse_args()


def _parts(given: argparse.Namespace) -> list[Part]:
    if given.only:
        return [part for part in PARTS if part.name in given.only]
    return [part for part in PARTS if not part.optional or given.real_budget]


def _run(race: Race, parts: list[Part]) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=sum(race.starts(part) for part in parts))
        race.told = lambda what: progress.update(bar, description=what, advance=1)
        for part in parts:
            race.run(part)


def _write(race: Race) -> None:
    from benchmarks import plots  # here, for drawing takes memory that children would be charged with

    (HERE / "results.md").write_text(report.page(race), encoding="utf-8")
    plots.write(race.samples, HERE)


if __name__ == "__main__":
    main()
