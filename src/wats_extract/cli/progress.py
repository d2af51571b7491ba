"""Progress on stderr: bars on a terminal, otherwise a log line about every ten seconds."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from wats_extract import events
from wats_extract.cli import output

LINE_INTERVAL = 10.0
"""Seconds between two log lines about progress."""

LONG_WAIT = 5.0
"""Seconds from which a wait gets a log line."""

WIDE = 72
"""Columns from which a terminal also has room for the committed items and the rate."""


@contextmanager
def shown() -> Iterator[events.Listener]:
    """Show progress while the block runs: as bars if stderr is a terminal, otherwise as log lines."""
    if output.on_terminal(sys.stderr):
        with Bars(output.console(sys.stderr)) as bars:
            yield bars.listen
    else:
        yield log_lines()


def log_lines() -> events.Listener:
    """Return a listener that writes log lines to stderr."""
    return Log(_write_line).listen


# ── counting ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Counts:
    """Progress of one resource.

    Attributes:
        started: When the resource started, in seconds of the clock.
        listed: Items listed so far.
        final: Whether the list is complete.
        fetched: Items fetched.
        committed: Items committed.
        failed: Items that failed, counted one by one.
        recorded: Failures that commits have recorded.
    """

    started: float
    listed: int = 0
    final: bool = False
    fetched: int = 0
    committed: int = 0
    failed: int = 0
    recorded: int = 0

    @property
    def done(self) -> int:
        """Items fetched. Readers of whole pages report no fetched items, so committed ones count as well."""
        return max(self.fetched, self.committed + self.recorded)

    @property
    def failures(self) -> int:
        """Items that failed. Some readers report failures only with the commit."""
        return max(self.failed, self.recorded)

    @property
    def text(self) -> str:
        """``1,200/3,000``, with a + while the list is still growing."""
        growing = "" if self.final else "+"
        total_known = self.listed > self.done or (self.listed and self.final)
        return f"{output.number(self.done)}" + (
            f"/{output.number(self.listed)}{growing}" if total_known else ""
        )

    def rate(self, now: float) -> float:
        """Items per second since the resource started."""
        return self.done / max(now - self.started, 0.001)

    def add(self, event: events.Event) -> None:
        """Count an event."""
        match event:
            case events.ItemsListed():
                self.listed += event.items
                self.final = self.final or event.final
            case events.ItemsFetched():
                self.fetched += event.items
            case events.ItemFailed():
                self.failed += 1
            case events.Committed():
                self.committed += event.items
                self.recorded += event.failures
            case events.ResourceEnded():
                self.final = self.final or self.done >= self.listed
            case _:
                return


@dataclass
class RunCounts:
    """Progress of all resources of a run. Not thread-safe."""

    clock: Callable[[], float]
    by_resource: dict[str, Counts] = field(default_factory=dict)

    def add(self, event: events.Event) -> str:
        """Count an event; return the name of its resource, or an empty string if it has none."""
        if isinstance(event, events.ItemFailed):
            name = event.failure.resource
        else:
            name = getattr(event, "resource", "")
        if name:
            self.by_resource.setdefault(name, Counts(self.clock())).add(event)
        return name


class Wait:
    """The current wait. Of several waits at the same time, it is the longest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = self._announced_until = float("-inf")
        self._reason = ""

    def update(self, event: events.Waiting) -> bool:
        """Handle the start or the early end of a wait.

        Returns:
            Whether the wait is worth a log line: no wait that lasts as long was reported before.
        """
        until = self._clock() + event.seconds
        if not event.seconds and event.reason == self._reason:
            self._until = until
        if until <= self._until + 1:
            return False
        self._until, self._reason = until, event.reason
        is_news = until > self._announced_until + 1
        self._announced_until = max(until, self._announced_until)
        return is_news

    def __str__(self) -> str:
        left = self._until - self._clock()
        return (
            f"{output.masked(self._reason).rstrip('.')}, next try in {math.ceil(left)} s" if left > 0 else ""
        )


# ── without a terminal ──────────────────────────────────────────────────────────────────────────


class Log:
    """Writes a line when a resource starts or ends, and about every ten seconds in between.

    Args:
        write: Writes a line.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._counts, self._wait = RunCounts(clock), Wait(clock)
        self._last = clock()
        self._lock = threading.Lock()

    def listen(self, event: events.Event) -> None:
        """Receive an event, from any thread."""
        with self._lock:
            resource = self._counts.add(event)
            line = self._line(event, resource)
            if line:
                self._last = self._clock()
                self._write(line)

    def _line(self, event: events.Event, resource: str) -> str:
        match event:
            case events.ResourceStarted():
                return f"{resource}: started"
            case events.ResourceEnded():
                counts = self._counts.by_resource[resource]
                return f"{self._progress(resource)} in {output.seconds(self._clock() - counts.started)}"
            case events.Noted():
                return output.masked(event.message)
            case events.Waiting():
                is_news = self._wait.update(event)
                return str(self._wait) if is_news and event.seconds >= LONG_WAIT else ""
            case _:
                return self._periodic_line(resource)

    def _periodic_line(self, resource: str) -> str:
        now = self._clock()
        if not resource or now - self._last < LINE_INTERVAL:
            return ""
        return f"{self._progress(resource)}, {output.number(self._counts.by_resource[resource].rate(now))}/s"

    def _progress(self, resource: str) -> str:
        counts = self._counts.by_resource[resource]
        failures = f", {output.number(counts.failures)} failed" if counts.failures else ""
        return f"{resource}: {counts.text} fetched, {output.number(counts.committed)} committed{failures}"


def _write_line(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()


# ── on a terminal ───────────────────────────────────────────────────────────────────────────────


class Bars(Progress):
    """One progress bar per resource, with a line about the current wait below. Removed on exit."""

    def __init__(self, console: Console) -> None:
        self._wait = Wait(time.monotonic)  # first, because Progress calls get_renderables at once
        self._counts = RunCounts(time.monotonic)
        self._tasks_by_name: dict[str, TaskID] = {}
        self._counting = threading.Lock()
        columns = _columns(wide=console.width >= WIDE)
        super().__init__(*columns, console=console, transient=True, redirect_stdout=False, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bars, and the line about the current wait."""
        yield from super().get_renderables()
        if waiting := str(self._wait):
            yield Text(waiting, style="yellow", no_wrap=True, overflow="ellipsis")

    def listen(self, event: events.Event) -> None:
        """Receive an event, from any thread."""
        if isinstance(event, events.Noted):
            self.console.print(Text(output.masked(event.message)))
        with self._counting:
            if isinstance(event, events.Waiting):
                self._wait.update(event)
            elif resource := self._counts.add(event):
                self._draw(resource, ended=isinstance(event, events.ResourceEnded))

    def _draw(self, resource: str, *, ended: bool) -> None:
        counts = self._counts.by_resource[resource]
        task = self._tasks_by_name.get(resource)
        if task is None:
            task = self._tasks_by_name[resource] = self.add_task(resource, total=None, counts=counts)
        total = max(counts.listed, 1) if counts.final else None
        self.update(task, completed=max(counts.done, ended and counts.final), total=total)
        if ended:
            self.stop_task(task)


class _TaskText(ProgressColumn):
    """A column that shows a text about a task."""

    def __init__(self, text: Callable[[Task], str], style: str = "") -> None:
        super().__init__(Column(justify="right", no_wrap=True))
        self._text, self._style = text, style

    def render(self, task: Task) -> Text:
        """Return the text."""
        return Text(self._text(task), style=self._style)


def _columns(*, wide: bool) -> list[ProgressColumn]:
    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
    done = _TaskText(lambda task: _counts(task).text)
    failed, left = _TaskText(_failed, "red"), _TaskText(_left, "cyan")
    if wide:
        return [name, bar, done, _TaskText(_committed, "green"), failed, _TaskText(_rate, "dim"), left]
    return [name, bar, done, failed, left]


def _counts(task: Task) -> Counts:
    counts: Counts = task.fields["counts"]
    return counts


def _committed(task: Task) -> str:
    return f"{output.number(_counts(task).committed)} committed"


def _failed(task: Task) -> str:
    failures = _counts(task).failures
    return f"{output.number(failures)} failed" if failures else ""


def _rate(task: Task) -> str:
    speed = task.finished_speed or task.speed
    return f"{output.number(speed)}/s" if speed else ""


def _left(task: Task) -> str:
    left = task.time_remaining
    return f"{output.seconds(math.ceil(left))} left" if left and not task.finished else ""
