"""What a chaos run has done to the program, and what came of it."""

from __future__ import annotations

import os
import platform
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

from wats_extract import __version__

BEGIN, END = "<!-- figures of make chaos -->", "<!-- end of figures -->"
"""Between these lines of a page stand the figures of the last run."""

ORDER = (
    "kills survived",
    "interrupts survived",
    "slowest end after an interrupt, ms",
    "full disks survived",
    "server restarts survived",
    "outages survived",
    "faults injected",
    "bad documents tried",
    "scans by a reader meanwhile",
    "scans that saw an item in two versions",
    "readers turned away",
    "runs that a reader kept out",
    "runs ended early, and run again",
    "rows compared",
    "rows lost",
    "rows doubled",
    "documents asked for twice",
)
"""What was done first, what came of it last; a figure that is not named here comes before all others."""


@dataclass
class Figures:
    """Counts, by name; filled from several threads."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, which: str, count: int = 1) -> None:
        with self.lock:
            self.counts[what, which] += count

    def most(self, what: str, which: str, value: int) -> None:
        """Keep the largest of several values."""
        with self.lock:
            self.counts[what, which] = max(self.counts[what, which], value)

    def of(self, what: str, which: str = "") -> int:
        return sum(
            count for (name, kind), count in self.counts.items() if name == what and which in ("", kind)
        )

    def lines(self) -> list[tuple[str, int, dict[str, int]]]:
        """Each figure with its total, and what that consists of."""
        names = sorted({name for name, _ in self.counts}, key=_place)
        kinds = [{kind: count for (of, kind), count in self.counts.items() if of == name} for name in names]
        totals = [
            max(each.values()) if name.startswith("slowest") else sum(each.values())
            for name, each in zip(names, kinds, strict=True)
        ]
        return list(zip(names, totals, kinds, strict=True))

    def show(self, console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("figure")
        table.add_column("of which")
        table.add_column("count", justify="right")
        for what, total, kinds in self.lines():
            table.add_row(what, "" if len(kinds) > 1 else next(iter(kinds)), f"{total:,}")
            for kind, count in sorted(kinds.items()) if len(kinds) > 1 else ():
                table.add_row("", kind, f"{count:,}")
        console.print(table)

    def write(self, page: Path, *, seed: int, scenarios: int, seconds: float) -> None:
        """Put the figures into a page, in place of those that are there."""
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        if not after:
            raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
        said = (
            f"{scenarios} scenarios with seed {seed} in {seconds / 60:.0f} minutes, on "
            f"{datetime.now(UTC):%Y-%m-%d}: {_machine()}."
        )
        rows = [f"| {what} | {total:,} | {_said(kinds)} |" for what, total, kinds in self.lines()]
        table = "\n".join(["| figure | count | of which |", "|---|--:|---|", *rows])
        page.write_text(f"{before}{BEGIN}\n{said}\n\n{table}\n{END}{after}", encoding="utf-8", newline="\n")


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else -1


def _said(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, DuckDB {duckdb.__version__}, wats-extract {__version__}"
    )
