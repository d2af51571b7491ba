"""What a run tells on stderr while it goes: bars on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from wats_extract import events
from wats_extract.cli import output

LINE_EVERY = 10.0
"""Seconds between two lines about the same resource, where there is no terminal."""

WORTH_A_LINE = 5.0
"""Seconds from which a wait is told at once, where there is no terminal."""

WIDE = 72
"""Columns of a terminal from which there is room for more than the bar and its count."""


@contextmanager
def told() -> Iterator[events.Listener]:
    """A listener that tells on stderr what happens, in the way that suits it."""
    if output.on_terminal(sys.stderr):
        with Bars(output.console(sys.stderr)) as bars:
            yield bars.listen
    else:
        yield log()


def log() -> events.Listener:
    """A listener that writes plain lines."""
    return Log(_line).listen


# ── counting ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Tally:
    """How far a resource is.

    Attributes:
        started: When it began, by the clock.
        listed: Items that are known of.
        final: Whether these are all.
        fetched: Items fetched.
        committed: Items that have landed.
        failed: Items given up.
    """

    started: float
    listed: int = 0
    final: bool = False
    fetched: int = 0
    committed: int = 0
    failed: int = 0
    _recorded: int = 0

    @property
    def through(self) -> int:
        """Items fetched; what arrives in whole pages is fetched when it is committed."""
        return max(self.fetched, self.committed + self._recorded)

    @property
    def failures(self) -> int:
        """Items that failed, told one by one or with their chunk."""
        return max(self.failed, self._recorded)

    @property
    def count(self) -> str:
        """``1,200/3,000``, with a + while the list is still growing."""
        more = "" if self.final else "+"
        known = self.listed > self.through or (self.listed and self.final)
        return f"{output.number(self.through)}" + (f"/{output.number(self.listed)}{more}" if known else "")

    def rate(self, now: float) -> float:
        """Items a second, since it began."""
        return self.through / max(now - self.started, 0.001)

    def add(self, event: events.Event) -> None:
        """Count what happened."""
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
                self._recorded += event.failures
            case events.ResourceEnded():
                self.final = self.final or self.through >= self.listed
            case _:
                return


@dataclass
class Tallies:
    """How far each resource of a run is. Not thread-safe."""

    clock: Callable[[], float]
    by_resource: dict[str, Tally] = field(default_factory=dict)

    def add(self, event: events.Event) -> str:
        """Count what happened; the name of the resource that it happened to, or nothing."""
        if isinstance(event, events.ItemFailed):
            name = event.failure.resource
        else:
            name = getattr(event, "resource", "")
        if name:
            self.by_resource.setdefault(name, Tally(self.clock())).add(event)
        return name


class Wait:
    """What is waited for; of several waits at once, the longest."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = self._told_until = float("-inf")
        self._reason = ""

    def begin(self, event: events.Waiting) -> bool:
        """A wait begins, or is over before its time; false where one that lasts as long was told of."""
        until = self._clock() + event.seconds
        if not event.seconds and event.reason == self._reason:
            self._until = until
        if until <= self._until + 1:
            return False
        self._until, self._reason = until, event.reason
        news = until > self._told_until + 1
        self._told_until = max(until, self._told_until)
        return news

    def __str__(self) -> str:
        left = self._until - self._clock()
        return (
            f"{output.masked(self._reason).rstrip('.')}, next try in {math.ceil(left)} s" if left > 0 else ""
        )


# ── without a terminal ──────────────────────────────────────────────────────────────────────────


class Log:
    """Plain lines: where a resource begins and ends, and about every ten seconds how far it is.

    Args:
        write: Writes a line.
        clock: Seconds that only go up.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._tallies, self._wait = Tallies(clock), Wait(clock)
        self._last = clock()
        self._lock = threading.Lock()

    def listen(self, event: events.Event) -> None:
        """Told what happens, from any thread."""
        with self._lock:
            resource = self._tallies.add(event)
            line = self._line(event, resource)
            if line:
                self._last = self._clock()
                self._write(line)

    def _line(self, event: events.Event, resource: str) -> str:
        match event:
            case events.ResourceStarted():
                return f"{resource}: started"
            case events.ResourceEnded():
                tally = self._tallies.by_resource[resource]
                return f"{self._far(resource)} in {output.seconds(self._clock() - tally.started)}"
            case events.Noted():
                return output.masked(event.message)
            case events.Waiting():
                worth = self._wait.begin(event) and event.seconds >= WORTH_A_LINE
                return str(self._wait) if worth else ""
            case _:
                return self._now_and_then(resource)

    def _now_and_then(self, resource: str) -> str:
        now = self._clock()
        if not resource or now - self._last < LINE_EVERY:
            return ""
        return f"{self._far(resource)}, {output.number(self._tallies.by_resource[resource].rate(now))}/s"

    def _far(self, resource: str) -> str:
        tally = self._tallies.by_resource[resource]
        failures = f", {output.number(tally.failures)} failed" if tally.failures else ""
        return f"{resource}: {tally.count} fetched, {output.number(tally.committed)} committed{failures}"


def _line(text: str) -> None:
    with suppress(OSError):  # whoever read it is gone; the run goes on
        sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
        sys.stderr.flush()


# ── on a terminal ───────────────────────────────────────────────────────────────────────────────


class Bars(Progress):
    """One bar a resource, and below them what is waited for. Gone when it is left."""

    def __init__(self, console: Console) -> None:
        self._wait = Wait(time.monotonic)  # before Progress, which asks for it
        self._tallies = Tallies(time.monotonic)
        self._tasks_by_name: dict[str, TaskID] = {}
        self._counting = threading.Lock()
        columns = _columns(wide=console.width >= WIDE)
        super().__init__(*columns, console=console, transient=True, redirect_stdout=False, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and the line about the wait while there is one."""
        yield from super().get_renderables()
        if waiting := str(self._wait):
            yield Text(waiting, style="yellow", no_wrap=True, overflow="ellipsis")

    def listen(self, event: events.Event) -> None:
        """Told what happens, from any thread."""
        if isinstance(event, events.Noted):
            self.console.print(Text(output.masked(event.message)))
        with self._counting:
            if isinstance(event, events.Waiting):
                self._wait.begin(event)
            elif resource := self._tallies.add(event):
                self._draw(resource, ended=isinstance(event, events.ResourceEnded))

    def _draw(self, resource: str, *, ended: bool) -> None:
        tally = self._tallies.by_resource[resource]
        task = self._tasks_by_name.get(resource)
        if task is None:
            task = self._tasks_by_name[resource] = self.add_task(resource, total=None, tally=tally)
        total = max(tally.listed, 1) if tally.final else None
        self.update(task, completed=max(tally.through, ended and tally.final), total=total)
        if ended:
            self.stop_task(task)


class _Told(ProgressColumn):
    """A few words about a resource."""

    def __init__(self, tell: Callable[[Task], str], style: str = "") -> None:
        super().__init__(Column(justify="right", no_wrap=True))
        self._tell, self._style = tell, style

    def render(self, task: Task) -> Text:
        """The words."""
        return Text(self._tell(task), style=self._style)


def _columns(*, wide: bool) -> list[ProgressColumn]:
    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
    few = [name, bar, _Told(lambda task: _tally(task).count), _Told(_failed, "red"), _Told(_left, "cyan")]
    return [*few[:3], _Told(_committed, "green"), few[3], _Told(_rate, "dim"), few[4]] if wide else few


def _tally(task: Task) -> Tally:
    tally: Tally = task.fields["tally"]
    return tally


def _committed(task: Task) -> str:
    return f"{output.number(_tally(task).committed)} committed"


def _failed(task: Task) -> str:
    failures = _tally(task).failures
    return f"{output.number(failures)} failed" if failures else ""


def _rate(task: Task) -> str:
    speed = task.finished_speed or task.speed
    return f"{output.number(speed)}/s" if speed else ""


def _left(task: Task) -> str:
    left = task.time_remaining
    return f"{output.seconds(math.ceil(left))} left" if left and not task.finished else ""
