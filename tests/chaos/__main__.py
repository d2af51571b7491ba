"""``python -m tests.chaos``: every scenario, and the figures at the end."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.figures import Figures
from tests.chaos.scenarios import Scenario, everything


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of all that is left to chance (default 1)")
    parser.add_argument("--kills", type=int, default=200, help="at random instants, at least (default 200)")
    parser.add_argument("--only", default="", metavar="TEXT", help="just scenarios whose name has this")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="scenarios at a time (default 2)")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the figures into this page, if all scenarios passed"
    )
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write wants all scenarios")
    console, figures, begun = Console(), Figures(), time.monotonic()
    console.print(f"seed {given.seed}", highlight=False)
    with tempfile.TemporaryDirectory(prog_name(), ignore_cleanup_errors=True) as folder:
        wanted = [
            each for each in everything(given.seed, given.kills, Path(folder)) if given.only in each.name
        ]
        failed = _play(wanted, given.seed, Path(folder), figures, at_once=given.at_once)
    console.print()
    figures.show(console)
    took = time.monotonic() - begun
    console.print(
        f"\n{len(wanted) - failed} of {len(wanted)} scenarios passed in {took:.0f} s, seed {given.seed}",
        highlight=False,
    )
    if failed or not wanted:
        return 1
    if given.write:
        figures.write(given.write, seed=given.seed, scenarios=len(wanted), seconds=took)
        console.print(f"the figures stand in {given.write}", highlight=False)
    return 0


def prog_name() -> str:
    return "wats-extract-chaos-"


def _play(scenarios: list[Scenario], seed: int, folder: Path, figures: Figures, *, at_once: int) -> int:
    """Play them, some at a time; returns how many failed."""
    shown = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = 0
    with (
        Progress(*columns, console=shown, disable=not shown.is_terminal) as progress,
        ThreadPoolExecutor(at_once) as pool,
    ):
        bar = progress.add_task("chaos", total=len(scenarios))
        playing = {
            pool.submit(_timed, scenario, seed + number, folder / str(number), figures): scenario
            for number, scenario in enumerate(scenarios)
        }
        for done in as_completed(playing):
            progress.advance(bar)
            error = done.exception()
            if error is None:
                progress.console.print(
                    f"passed  {playing[done].name} ({done.result():.1f} s)", highlight=False
                )
                continue
            failed += 1
            progress.console.print(f"FAILED  {playing[done].name}", style="red", highlight=False)
            progress.console.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
    return failed


def _timed(scenario: Scenario, seed: int, folder: Path, figures: Figures) -> float:
    folder.mkdir()
    begun = time.monotonic()
    scenario.play(seed, folder, figures)
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
