"""The position within one resource: the kinds of cursor, and their JSON in ``_wats_state``.

No other module knows the fields of a cursor. Each kind says how far it has come and whether another cursor is
at the same place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

import msgspec


class NumberCursor(msgspec.Struct, frozen=True):
    """The position in a list ordered by a growing number, such as a report's ``timeStamp``.

    Attributes:
        time_stamp: The number of the last row that was read.
        overlap_from: The next run reads rows whose number is greater than this one. It lies before
            ``time_stamp``, because rows become visible out of order.
    """

    time_stamp: int
    overlap_from: int

    field: ClassVar[str] = "time_stamp"

    @property
    def seen(self) -> int:
        """The largest version that has been read; -1 where versions are not what the cursor counts."""
        return self.time_stamp

    @property
    def place(self) -> str:
        """The position as text, as ``_wats_coverage`` has it."""
        return str(self.time_stamp)


class StartCursor(msgspec.Struct, frozen=True):
    """The position in a list that is read by ranges of time.

    Attributes:
        start: Everything before this instant has been read: an ISO 8601 timestamp in UTC.
    """

    start: str

    field: ClassVar[str] = "start"

    @property
    def seen(self) -> int:
        """The largest version that has been read: unknown, so -1."""
        return -1

    @property
    def place(self) -> str:
        """The position as text, as ``_wats_coverage`` has it."""
        return self.start

    @property
    def instant(self) -> datetime:
        """``start`` as a datetime."""
        return instant_of(self.start)


Cursor: TypeAlias = NumberCursor | StartCursor


class Pass(msgspec.Struct, frozen=True):
    """A full pass over a resource with ``write_disposition: replace``.

    Attributes:
        first_run: The number of the run that began the pass. At its end, the rows of earlier runs are swept.
        ended: Whether it has read everything. A pass that was interrupted is continued by the next run.
    """

    first_run: int
    ended: bool = False


class Position(msgspec.Struct, frozen=True):
    """What one row of ``_wats_state`` holds.

    Attributes:
        cursor: How far the resource has been read; ``None`` for the beginning.
        full_pass: The pass of a ``replace`` disposition; ``None`` for other dispositions.
        since: The instant that an age such as ``30 days ago`` meant in the first run of the selection;
            ``None`` if ``since`` is not an age.
    """

    cursor: Cursor | None = None
    full_pass: Pass | None = None
    since: datetime | None = None


BEGINNING = Position()


def same_place(one: Cursor | None, other: Cursor | None) -> bool:
    """Whether two cursors are at the same place; how far they reach back makes no difference."""
    if one is None or other is None:
        return one is other
    return (one.field, one.place) == (other.field, other.place)


def instant_of(text: str) -> datetime:
    """A timestamp as a datetime; one without an offset is UTC."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def cursor_to_json(cursor: Cursor | None) -> dict[str, Any]:
    """The cursor as a JSON object, ``{}`` for the beginning."""
    return {} if cursor is None else msgspec.to_builtins(cursor)


def cursor_from_json(value: object) -> Cursor | None:
    """Read a cursor from a JSON object such as ``{"time_stamp": 123456}``; ``{}`` is the beginning.

    ``overlap_from`` may be left out; then the next run begins right behind ``time_stamp``.

    Raises:
        ValueError: the object is not a cursor; the message says why.
    """
    if not isinstance(value, Mapping):
        raise ValueError("a cursor is a JSON object")
    if not value:
        return None
    known = {NumberCursor.field, StartCursor.field} & value.keys()
    if len(known) != 1:
        raise ValueError("a cursor has either time_stamp or start")
    if unknown := value.keys() - {NumberCursor.field, StartCursor.field, "overlap_from"}:
        raise ValueError(f"a cursor has no field {min(unknown)!r}")
    if StartCursor.field in value:
        if "overlap_from" in value:
            raise ValueError("overlap_from belongs to time_stamp, not to start")
        start = value[StartCursor.field]
        try:
            return StartCursor(start=_checked(start))
        except (TypeError, ValueError):
            raise ValueError(f"start is a timestamp such as 2026-01-31T00:00:00Z, not {start!r}") from None
    for name in (NumberCursor.field, "overlap_from"):
        if name in value and (not isinstance(value[name], int) or isinstance(value[name], bool)):
            raise ValueError(f"{name} is a whole number, not {value[name]!r}")
    number = value[NumberCursor.field]
    return NumberCursor(time_stamp=number, overlap_from=value.get("overlap_from", number - 1))


def _checked(start: str) -> str:
    instant_of(start)
    return start


def position_to_text(position: Position) -> str:
    """The text that ``_wats_state.cursor`` holds."""
    value = cursor_to_json(position.cursor)
    if position.full_pass is not None:
        value |= {
            "pass_first_run": position.full_pass.first_run,
            "pass_ended": position.full_pass.ended,
        }
    if position.since is not None:
        value["since"] = position.since.isoformat()
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def position_from_text(text: object) -> Position:
    """Read what ``_wats_state.cursor`` holds.

    Raises:
        ValueError: somebody changed the text, and it is not a position any more.
    """
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    first_run, ended = value.pop("pass_first_run", None), value.pop("pass_ended", True)
    since = value.pop("since", None)
    cursor = cursor_from_json(value)
    if first_run is not None and not isinstance(first_run, int):
        raise ValueError(f"pass_first_run is the number of a run, not {first_run!r}")
    full_pass = None if first_run is None else Pass(first_run, bool(ended))
    return Position(cursor, full_pass, None if since is None else _instant("since", since))


def _instant(name: str, text: Any) -> datetime:
    try:
        return instant_of(text)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is a timestamp, not {text!r}") from None
