"""Progress events of a run. Progress bars, log lines and tests listen to them.

A run sends ``RunStarted``, then for each resource ``ResourceStarted``, the events of its items and commits,
and ``ResourceEnded``. ``Waiting`` and ``Noted`` may come at any time. Events only report: a listener cannot
change what a run does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from wats_extract.flow import Failure


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run has started; its row is in ``_wats_runs``.

    Attributes:
        run_id: The run's id.
        pipeline: The pipeline's name.
        resources: The resources that the run will read, in this order.
    """

    run_id: str
    pipeline: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceStarted:
    """The run has started to read a resource.

    Attributes:
        resource: The resource's name.
    """

    resource: str


@dataclass(frozen=True, slots=True)
class ItemsListed:
    """The server has listed more items to fetch.

    Attributes:
        resource: The resource's name.
        items: How many items were added to the list.
        final: Whether the list is complete now.
    """

    resource: str
    items: int
    final: bool = False


@dataclass(frozen=True, slots=True)
class ItemsFetched:
    """More items were fetched; they are not committed yet.

    Attributes:
        resource: The resource's name.
        items: How many items were fetched.
    """

    resource: str
    items: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit is durable.

    Attributes:
        resource: The resource's name.
        items: How many items the commit loaded.
        rows: Rows by table.
        failures: How many failures the commit recorded.
    """

    resource: str
    items: int
    rows: dict[str, int] = field(default_factory=dict)
    failures: int = 0


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """An item failed after all retries; the run continues.

    Attributes:
        failure: The failure, which names resource, key and reason.
    """

    failure: Failure


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request, or a lock, has to wait.

    Attributes:
        reason: The reason in a user's words, without a full stop.
        seconds: The longest time that the wait can take; 0 if a wait with this reason has ended early.
    """

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Noted:
    """A notice for the user; the run continues.

    Attributes:
        message: The notice, one line.
    """

    message: str


@dataclass(frozen=True, slots=True)
class ResourceEnded:
    """The run has finished a resource, or stopped in it.

    Attributes:
        resource: The resource's name.
    """

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
"""A function that receives events from any thread. It must return quickly and must not raise."""


def nobody(event: Event) -> None:
    """Ignore an event: the default listener."""
