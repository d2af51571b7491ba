"""Where one resource stands in ``_wats_state``, and the bookkeeping rows that move it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from wats_extract.cursor import BEGINNING, Cursor, Pass, Position, position_to_text, same_place
from wats_extract.engine.job import Job, Task
from wats_extract.filters.odata import timestamp_text
from wats_extract.flow import Book, Chunk, Coverage, Destination, Selection
from wats_extract.state.coverage import CoveredRanges
from wats_extract.state.positions import position_in
from wats_extract.state.tables import COVERAGE, STATE


class ResourcePosition:
    """The position of one resource during a run.

    Args:
        job: The job of the run; its destination is open.
        task: The resource.
        run_id: The run, for the rows.
        number: The number of the run.
        now: The clock.

    Attributes:
        cursor: How far the resource has been read; ``None`` for the beginning.
        full_pass: The pass of a ``replace`` disposition; ``None`` for other dispositions.
        whole: Whether this reading goes to the end. With a ``limit`` it does not.
        selection: What to read, with an age in ``since`` fixed to its instant.
    """

    def __init__(
        self, job: Job, task: Task, *, run_id: str, number: int, now: Callable[[], datetime]
    ) -> None:
        self._task, self._run_id, self._now = task, run_id, now
        self._place = {"pipeline": job.pipeline, "resource": task.resource.name}
        stored = stored_position(job.destination, job.pipeline, task)
        self.full_pass: Pass | None = None
        if task.disposition == "replace":
            if job.full_refresh or not _is_open(stored.full_pass, number):
                stored = Position(full_pass=Pass(number), since=stored.since)
            self.full_pass = stored.full_pass
        self.cursor: Cursor | None = None if job.full_refresh else stored.cursor
        self.whole = task.selection.limit is None
        self.selection = selection_of(task, stored)
        self._stored_since = stored.since
        self._since = stored.since or (self.selection.since if task.since_is_age else None)
        self._began, self._began_at = self.cursor, now()
        self._rows = 0
        self._covered = CoveredRanges.of(job.destination, job.pipeline, task.resource.name)
        self._covers_ranges = False

    def after(self, chunk: Chunk) -> Book:
        """The rows to commit with a chunk; empty if nothing moves."""
        self._rows += len(chunk.landed)
        self._covers_ranges |= chunk.coverage is not None
        book = self.beside(chunk)
        stays = not chunk.landed and not chunk.failures and same_place(chunk.cursor, self.cursor)
        if chunk.cursor is not None and not stays:
            self.cursor = chunk.cursor
            return {**book, STATE: [self._state_row(ended=False)]}
        return book

    def beside(self, chunk: Chunk) -> Book:
        """The rows to commit with a chunk that does not move the cursor."""
        if chunk.coverage is None:
            return {}
        return {COVERAGE: self._covered.add(chunk.coverage, run_id=self._run_id)}

    def at_end(self) -> Book:
        """The rows to commit after the last chunk; empty if nothing was new."""
        if self.cursor == self._began and self.full_pass is None and self._since == self._stored_since:
            return {}
        state = {STATE: [self._state_row(ended=self.whole)]}
        if self._covers_ranges:
            return state
        goes_on = self._began is not None
        covered = [
            row
            for coverage in self._coverage()
            for row in self._covered.add(coverage, run_id=self._run_id, goes_on=goes_on)
        ]
        return {**state, COVERAGE: covered}

    def _coverage(self) -> list[Coverage]:
        """The coverage of a list that is not read range by range: in terms of its cursor and of ``start``."""
        if self.cursor is None:
            return []
        begin = self._began.place if self._began and self._began.field == self.cursor.field else ""
        covered = [Coverage(self.cursor.field, begin, self.cursor.place, self._rows, None, self.whole)]
        if self._task.resource.reader.lists_versions and self.cursor.field != "start":
            since, until = self.selection.since, self.selection.until
            begin = timestamp_text(since) if since else ""
            end = timestamp_text(min(until or self._began_at, self._began_at))
            covered.append(Coverage("start", begin, end, self._rows, None, self.whole))
        return covered

    def _state_row(self, *, ended: bool) -> dict[str, Any]:
        full_pass = None if self.full_pass is None else Pass(self.full_pass.first_run, ended)
        return self._place | {
            "selection": self._task.fingerprint,
            "cursor": position_to_text(Position(self.cursor, full_pass, self._since)),
            "updated_at": self._now(),
            "run_id": self._run_id,
        }


def _is_open(full_pass: Pass | None, number: int) -> bool:
    """Whether a pass is to be continued by the run with this number.

    If somebody emptied ``_wats_runs``, the runs of the pass are unknown and it begins again.
    """
    return full_pass is not None and not full_pass.ended and full_pass.first_run < number


def selection_of(task: Task, stored: Position) -> Selection:
    """The task's selection. An age in ``since`` bounds the first run, and means the same instant ever after.

    After the first run the cursor decides: reports that the server processes later are loaded, however old
    their ``start`` is.

    Args:
        task: The resource.
        stored: The position in the destination.
    """
    if not task.since_is_age:
        return task.selection
    return replace(task.selection, since=stored.since or task.selection.since, late_uploads=True)


def stored_position(destination: Destination, pipeline: str, task: Task) -> Position:
    """The position in the destination, for the task's selection.

    Raises:
        DestinationError: somebody changed the row.
    """
    place = {"pipeline": pipeline, "resource": task.resource.name, "selection": task.fingerprint}
    rows = destination.read(STATE, **place).to_pylist()
    return position_in(rows[0]) if rows else BEGINNING


def cursor_of(destination: Destination, pipeline: str, task: Task) -> Cursor | None:
    """Where the last run ended; ``None`` if the next run starts from the beginning."""
    if task.disposition == "replace":
        return None
    return stored_position(destination, pipeline, task).cursor
