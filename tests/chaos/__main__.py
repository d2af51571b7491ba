"""``python -m tests.chaos``: play the scenarios and print figures."""

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
from tests.chaos.scenarios import Scenario, all_scenarios

FOLDER_PREFIX = "wats-extract-chaos-"


def main() -> int:
    """Play the scenarios; 1 if one of them fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Kill and disturb extractions."
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default 1)")
    parser.add_argument(
        "--kills", type=int, default=200, help="minimum number of kills at random times (default 200)"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only scenarios whose name contains this text"
    )
    parser.add_argument(
        "--concurrency", type=int, default=2, metavar="N", help="scenarios at the same time (default 2)"
    )
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the figures into this page if all scenarios pass"
    )
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write needs all scenarios, so it cannot be combined with --only")
    console, figures, begun = Console(), Figures(), time.monotonic()
    console.print(f"seed {given.seed}", highlight=False)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as folder:
        wanted = [
            each for each in all_scenarios(given.seed, given.kills, Path(folder)) if given.only in each.name
        ]
        failed = _play(wanted, given.seed, Path(folder), figures, concurrency=given.concurrency)
    console.print()
    figures.show(console)
    seconds = time.monotonic() - begun
    console.print(
        f"\n{len(wanted) - failed} of {len(wanted)} scenarios passed in {seconds:.0f} s, seed {given.seed}",
        highlight=False,
    )
    if failed or not wanted:
        return 1
    if given.write:
        figures.write(given.write, seed=given.seed, scenarios=len(wanted), seconds=seconds)
        console.print(f"wrote the figures into {given.write}", highlight=False)
    return 0


def _play(scenarios: list[Scenario], seed: int, folder: Path, figures: Figures, *, concurrency: int) -> int:
    """Play scenarios, some of them at the same time; returns how many failed."""
    shown = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = 0
    with (
        Progress(*columns, console=shown, disable=not shown.is_terminal) as progress,
        ThreadPoolExecutor(concurrency) as pool,
    ):
        bar = progress.add_task("chaos", total=len(scenarios))
        playing = {
            pool.submit(_seconds_of, scenario, seed + number, folder / str(number), figures): scenario
            for number, scenario in enumerate(scenarios)
        }
        for done in as_completed(playing):
            progress.advance(bar)
            error = done.exception()
            if error is None:
                line = f"passed  {playing[done].name} ({done.result():.1f} s)"
                progress.console.print(line, highlight=False, soft_wrap=True)
                continue
            failed += 1
            text = "".join(traceback.format_exception(error))
            progress.console.print(
                f"FAILED  {playing[done].name}", style="red", highlight=False, soft_wrap=True
            )
            progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
    return failed


def _seconds_of(scenario: Scenario, seed: int, folder: Path, figures: Figures) -> float:
    """Play one scenario in a folder of its own."""
    folder.mkdir()
    begun = time.monotonic()
    scenario.play(seed, folder, figures)
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
