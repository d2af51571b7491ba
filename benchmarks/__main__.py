"""``python -m benchmarks``: measure, print the results, and write them to ``results.md`` after a full run."""

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
    """Run the chosen parts."""
    given = _arguments()
    parts = _parts(given)
    load, *_ = os.getloadavg()
    # pip compiles the packages of the other tools when it installs them; ours is installed as source
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
        description="Measure wats-extract and other tools. A full run writes results.md and the plots.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: two minutes")
    parser.add_argument(
        "--only",
        action="append",
        choices=[part.name for part in PARTS],
        help="only this part; repeatable",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds per part, where it has several")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure only wats-extract")
    parser.add_argument(
        "--real-budget",
        action="store_true",
        help="also run the part that takes three minutes at 500 requests per minute",
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write results.md and the plots (default: only after a full run)",
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
        race.on_start = lambda name: progress.update(bar, description=name, advance=1)
        for part in parts:
            race.run(part)


def _write(race: Race) -> None:
    from benchmarks import plots  # imported last: children would be charged with the memory it takes

    (HERE / "results.md").write_text(report.page(race), encoding="utf-8")
    plots.write(race.samples, HERE)


if __name__ == "__main__":
    main()
