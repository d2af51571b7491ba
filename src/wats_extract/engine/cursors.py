"""The cursors of a pipeline, shown and changed by hand: the rows of ``_wats_state``.

A cursor that is cleared stays as an empty row; the next run starts from the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wats_extract.cursor import (
    Cursor,
    Position,
    cursor_from_json,
    cursor_to_json,
    position_to_text,
)
from wats_extract.errors import ConfigurationError, DestinationError
from wats_extract.flow import Commit, Destination
from wats_extract.state.positions import position_in
from wats_extract.state.tables import STATE


@dataclass(frozen=True)
class Stored:
    """One cursor.

    Attributes:
        resource: The resource's name.
        selection: The selection of the cursor, as JSON: ``since``, ``until``, ``filter`` and server.
        cursor: The position; ``None`` for the beginning.
        unreadable: The text in the table, if somebody changed it and it is not a cursor any more.
    """

    resource: str
    selection: str
    cursor: Cursor | None
    unreadable: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Identifies the cursor within a pipeline."""
        return self.resource, self.selection

    def shown(self) -> dict[str, Any]:
        """The cursor as a JSON object, to be shown; ``{}`` for the beginning."""
        return {"unreadable": self.unreadable} if self.unreadable else cursor_to_json(self.cursor)

    def to_json(self) -> dict[str, Any]:
        """The cursor as it is exported."""
        return {
            "resource": self.resource,
            "selection": json.loads(self.selection),
            "cursor": self.shown(),
        }


@dataclass(frozen=True)
class Change:
    """A cursor before a change, as a JSON object, and after it."""

    before: dict[str, Any]
    after: Stored


def stored(destination: Destination, pipeline: str) -> list[Stored]:
    """The cursors of a pipeline, without those that were cleared."""
    rows = destination.read(STATE, pipeline=pipeline).to_pylist()
    return [each for each in map(_stored, rows) if each.cursor is not None or each.unreadable]


def _stored(row: Mapping[str, Any]) -> Stored:
    """The cursor in a row; one that cannot be read is shown as it is, so that it can be replaced."""
    try:
        return Stored(row["resource"], row["selection"], position_in(row).cursor)
    except DestinationError:
        return Stored(row["resource"], row["selection"], None, unreadable=str(row["cursor"]))


def changes(before: Iterable[Stored], after: Iterable[Stored]) -> list[Change]:
    """The cursors that would change. Cursors that ``after`` does not name stay as they are."""
    known = {each.place: each.shown() for each in before}
    pairs = [Change(known.get(each.place, {}), each) for each in after]
    return [pair for pair in pairs if pair.before != pair.after.shown()]


@contextmanager
def changing(
    destination: Destination,
    pipeline: str,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Callable[[Iterable[Change]], None]]:
    """Open the destination for this pipeline alone; gives a function that writes changes.

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
            destination.reconcile([STATE])
            yield write
        finally:
            destination.close()


def _row(pipeline: str, state: Stored, moment: datetime) -> dict[str, Any]:
    return {
        "pipeline": pipeline,
        "resource": state.resource,
        "selection": state.selection,
        "cursor": position_to_text(Position(state.cursor)),
        "updated_at": moment,
        "run_id": None,
    }


# ── from text ───────────────────────────────────────────────────────────────────────────────────


def written(text: str) -> Cursor:
    """Read a cursor as a user writes it: a JSON object such as ``{"time_stamp": 123456}``.

    Raises:
        ConfigurationError: the text is not a cursor.
    """
    try:
        return _cursor(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"the cursor is not JSON: {error}", hint=_EXAMPLE) from None


def imported(text: str, resources: Iterable[str]) -> list[Stored]:
    """Read an export of ``wats-extract state FILE export``.

    Raises:
        ConfigurationError: the text is not an export, or names a resource that the pipeline does not have.
    """
    names = set(resources)
    try:
        entries = json.loads(text)["cursors"]
        found = [
            Stored(each["resource"], _compact(each["selection"]), _cursor(each["cursor"])) for each in entries
        ]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ConfigurationError("this is not an export of wats-extract state FILE export") from None
    for each in found:
        if each.resource not in names:
            raise ConfigurationError(f"the pipeline has no resource {each.resource!r}")
    return found


_EXAMPLE = """Write it like '{"time_stamp": 123456}'; wats-extract state FILE shows the current cursors."""


def _cursor(value: object) -> Cursor:
    try:
        cursor = cursor_from_json(value)
    except ValueError as error:
        raise ConfigurationError(str(error), hint=_EXAMPLE) from None
    if cursor is None:
        raise ConfigurationError("a cursor is a JSON object that is not empty", hint=_EXAMPLE)
    return cursor


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
