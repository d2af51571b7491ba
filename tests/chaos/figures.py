"""Counts what a chaos run did to extractions, and how they took it."""

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
"""The figures of the last run are between these lines of a page."""

ORDER = (
    "kills survived",
    "interrupts survived",
    "slowest end after an interrupt, ms",
    "full disks survived",
    "server restarts survived",
    "outages survived",
    "faults injected",
    "bad documents tried",
    "scans by a concurrent reader",
    "scans that saw an item in two versions",
    "readers refused by a lock",
    "runs refused because a reader had the file open",
    "runs ended early and repeated",
    "rows compared",
    "rows lost",
    "rows doubled",
    "documents requested twice",
)
"""The order of figures: first what was done, then what came of it. Other figures come before these."""


@dataclass
class Figures:
    """Named counts, each divided into kinds. Thread-safe."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, kind: str, count: int = 1) -> None:
        """Increase a count."""
        with self.lock:
            self.counts[name, kind] += count

    def maximum(self, name: str, kind: str, value: int) -> None:
        """Keep the largest of several values. The name begins with "slowest"."""
        with self.lock:
            self.counts[name, kind] = max(self.counts[name, kind], value)

    def of(self, name: str) -> int:
        """The total of a figure."""
        return sum(count for (each, _), count in self.counts.items() if each == name)

    def lines(self) -> list[tuple[str, int, dict[str, int]]]:
        """Each figure with its total and its kinds."""
        names = sorted({name for name, _ in self.counts}, key=_place)
        kinds = [{kind: count for (of, kind), count in self.counts.items() if of == name} for name in names]
        totals = [
            max(each.values()) if name.startswith("slowest") else sum(each.values())
            for name, each in zip(names, kinds, strict=True)
        ]
        return list(zip(names, totals, kinds, strict=True))

    def show(self, console: Console) -> None:
        """Print the figures as a table."""
        table = Table(box=None, pad_edge=False)
        table.add_column("figure")
        table.add_column("kind")
        table.add_column("count", justify="right")
        for name, total, kinds in self.lines():
            table.add_row(name, "" if len(kinds) > 1 else next(iter(kinds)), f"{total:,}")
            for kind, count in sorted(kinds.items()) if len(kinds) > 1 else ():
                table.add_row("", kind, f"{count:,}")
        console.print(table)

    def write(self, page: Path, *, seed: int, scenarios: int, seconds: float) -> None:
        """Replace the figures of a page by these.

        Raises:
            ValueError: the page does not have the lines ``BEGIN`` and ``END``.
        """
        text = page.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        if not after:
            raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
        heading = (
            f"{scenarios} scenarios with seed {seed} in {seconds / 60:.0f} minutes, on "
            f"{datetime.now(UTC):%Y-%m-%d}: {_machine()}."
        )
        rows = [f"| {name} | {total:,} | {_listed(kinds)} |" for name, total, kinds in self.lines()]
        table = "\n".join(["| figure | count | by kind |", "|---|--:|---|", *rows])
        page.write_text(
            f"{before}{BEGIN}\n{heading}\n\n{table}\n{END}{after}", encoding="utf-8", newline="\n"
        )


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else -1


def _listed(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, DuckDB {duckdb.__version__}, wats-extract {__version__}"
    )
