"""What a chaos run has done to the program, and what came of it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


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

    def show(self, console: Console) -> None:
        table = Table(box=None, pad_edge=False)
        table.add_column("figure")
        table.add_column("of which")
        table.add_column("count", justify="right")
        for what in dict.fromkeys(name for name, _ in self.counts):
            kinds = {kind: count for (name, kind), count in self.counts.items() if name == what}
            total = max(kinds.values()) if what.startswith("slowest") else sum(kinds.values())
            table.add_row(what, "" if len(kinds) > 1 else next(iter(kinds)), f"{total:,}")
            for kind, count in sorted(kinds.items()) if len(kinds) > 1 else ():
                table.add_row("", kind, f"{count:,}")
        console.print(table)
