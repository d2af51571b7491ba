"""The cursors of a pipeline, looked at and changed by hand: the rows of ``_wats_state``.

A cursor that is cleared stays as an empty row, for which the next run begins from the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wats_extract.errors import ConfigurationError, DestinationError
from wats_extract.flow import Commit, Cursor, Destination
from wats_extract.state.tables import STATE, cursor_in


@dataclass(frozen=True)
class Stored:
    """One cursor.

    Attributes:
        resource: Whose it is.
        selection: What it belongs to, as JSON: ``since``, ``until``, ``filter`` and server.
        cursor: The position; empty for the beginning.
    """

    resource: str
    selection: str
    cursor: Cursor

    @property
    def place(self) -> tuple[str, str]:
        """What identifies it within a pipeline."""
        return self.resource, self.selection

    def to_json(self) -> dict[str, Any]:
        """As it is exported."""
        return {
            "resource": self.resource,
            "selection": json.loads(self.selection),
            "cursor": self.cursor,
        }


@dataclass(frozen=True)
class Change:
    """A cursor before and after a change."""

    before: Cursor
    after: Stored


def stored(destination: Destination, pipeline: str) -> list[Stored]:
    """The cursors of a pipeline, those that were cleared left out."""
    rows = destination.read(STATE, pipeline=pipeline).to_pylist()
    found = [Stored(row["resource"], row["selection"], _readable(row)) for row in rows]
    return [each for each in found if each.cursor]


def _readable(row: Mapping[str, Any]) -> Cursor:
    """The cursor in a row; one that somebody spoiled is shown as it is, to be replaced."""
    try:
        return cursor_in(row)
    except DestinationError:
        return {"unreadable": row["cursor"]}


def changes(before: Iterable[Stored], after: Iterable[Stored]) -> list[Change]:
    """What would be different: cursors that ``after`` does not name stay as they are."""
    known = {each.place: each.cursor for each in before}
    pairs = [Change(known.get(each.place, {}), each) for each in after]
    return [pair for pair in pairs if pair.before != pair.after.cursor]


@contextmanager
def changing(
    destination: Destination,
    pipeline: str,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Callable[[Iterable[Change]], None]]:
    """The destination open under the pipeline's lock, and what writes changes into it.

    Raises:
        PipelineLocked: another process runs this pipeline.
        DestinationError: the destination cannot be opened.
    """

    def write(made: Iterable[Change]) -> None:
        moment = now()
        rows = [_row(pipeline, change.after, moment) for change in made]
        label = f"{pipeline}-state-{moment:%Y%m%dT%H%M%S%f}"
        destination.commit(Commit(label, {}, {}, frozenset(), {STATE: rows}))

    with destination.exclusive(pipeline):
        destination.open()
        try:
            destination.prepare([STATE])
            yield write
        finally:
            destination.close()


def _row(pipeline: str, state: Stored, moment: datetime) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "resource": state.resource,
        "selection": state.selection,
        "cursor": _compact(state.cursor),
        "updated_at": moment,
        "run_id": None,
    }


# ── from text ───────────────────────────────────────────────────────────────────────────────────


def written(text: str) -> Cursor:
    """A cursor as a user writes it: a JSON object, of reports ``{"time_stamp": 123456}``.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return _cursor(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"the cursor is not JSON: {error}", hint=_EXAMPLE) from None


def imported(text: str, resources: Iterable[str]) -> list[Stored]:
    """What ``state export`` wrote.

    Raises:
        ConfigurationError: it is something else, or names a resource that the pipeline does not have.
    """
    names = set(resources)
    try:
        entries = json.loads(text)["cursors"]
        found = [
            Stored(each["resource"], _compact(each["selection"], ascii_only=False), _cursor(each["cursor"]))
            for each in entries
        ]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ConfigurationError("this is not what wats-extract state FILE export writes") from None
    for each in found:
        if each.resource not in names:
            raise ConfigurationError(f"the pipeline has no resource {each.resource!r}")
    return found


_EXAMPLE = """Write it as in '{"time_stamp": 123456}'; wats-extract state FILE shows how it stands now."""


def _cursor(value: object) -> Cursor:
    if not isinstance(value, Mapping) or not value:
        raise ConfigurationError("a cursor is a JSON object that is not empty", hint=_EXAMPLE)
    cursor = dict(value)
    for name in ("time_stamp", "overlap_from"):
        if name in cursor and (not isinstance(cursor[name], int) or isinstance(cursor[name], bool)):
            raise ConfigurationError(f"{name} is a whole number", hint=_EXAMPLE)
    if "time_stamp" in cursor:
        cursor.setdefault("overlap_from", cursor["time_stamp"] - 1)
    return cursor


def _compact(value: object, *, ascii_only: bool = True) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=ascii_only)
