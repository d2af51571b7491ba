"""What a run reports while it goes; the progress bar, the log and ``--json`` are listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from wats_extract.flow import Failure


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins."""

    run_id: str
    pipeline: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceStarted:
    """A resource is next."""

    resource: str


@dataclass(frozen=True, slots=True)
class ItemsListed:
    """So many more items are known to be waiting; ``final`` when there will be no more."""

    resource: str
    items: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class ItemsFetched:
    """So many more items were fetched (not yet committed)."""

    resource: str
    items: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A chunk is durable: items that landed, rows by table, failures recorded."""

    resource: str
    items: int
    rows: dict[str, int] = field(default_factory=dict)
    failures: int = 0


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """An item was given up; the run goes on."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request waits: for what, and for how many seconds at most; 0 when that wait is over earlier."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class ResourceEnded:
    """A resource is through, or was stopped."""

    resource: str


Event: TypeAlias = (
    RunStarted
    | ResourceStarted
    | ItemsListed
    | ItemsFetched
    | Committed
    | ItemFailed
    | Waiting
    | Noted
    | ResourceEnded
)
Listener: TypeAlias = Callable[[Event], None]
"""Called from any thread; must be quick and must not raise."""


def nobody(event: Event) -> None:
    """A listener that ignores everything."""
