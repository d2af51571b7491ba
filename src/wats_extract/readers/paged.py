"""Read a route whose pages are the data themselves: each page is a chunk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa

from wats_extract import events
from wats_extract.errors import RecordError, RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Chunk, Cursor, Failure, Result, Row, Success
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.reading import (
    KEYS_AHEAD,
    Listing,
    Page,
    PageShredder,
    Query,
    Reading,
    fresh_rows,
    in_groups,
    label,
    not_found,
    saturated,
)
from wats_extract.tables import Table


@dataclass(frozen=True)
class PagedReader:
    """A listing whose pages are chunks.

    Attributes:
        listing: How the route is paged.
        shredder: What becomes of a page.
    """

    listing: Listing
    shredder: PageShredder

    waits_for_commits = False

    @property
    def paging(self) -> str:
        """How, in a word or two."""
        return self.listing.paging

    @property
    def cap(self) -> int | None:
        """Rows asked for in one request, where it says how many."""
        return self.listing.cap

    def read(self, reading: Reading) -> Iterator[Chunk]:
        """One chunk a page, in the order of the cursor; the next page is asked for with the next chunk."""
        left = reading.selection.limit
        listed = self.listing.pages(reading, self.shredder.rows, _query(reading))
        with closing(in_background(listed, ahead=None, check=reading.check)) as ahead:
            for page in ahead if left != 0 else ():
                fresh = fresh_rows(reading, page)[:left]
                reading.listen(events.ItemsListed(reading.resource, len(fresh)))
                cursor = page.cursors[fresh[-1][1]] if fresh and len(fresh) == left else page.end
                chunk = self._chunk(reading, [row for row, _ in fresh], cursor, page)
                verdicts = [
                    (ok, len(list(rows))) for ok, rows in groupby(row.key in chunk.landed for row, _ in fresh)
                ]
                left = None if left is None else left - len(fresh)
                del page, fresh  # their records would live as long as the commit takes
                yield chunk
                del chunk
                for ok, times in verdicts:
                    reading.judge(ok, times)
                if left is not None and left <= 0:
                    return

    def read_keys(self, reading: Reading, keys: Iterable[str]) -> Iterator[Chunk]:
        """One chunk for a few keys, in their order; a key that the server does not have is a failure.

        The route itself stands for a list that was saturated, and a stretch of time for a part of one: all
        of it is read again.
        """
        for every, found in self._look_ups(reading, keys):
            spans = {key: span for key in every if (span := span_of(key))}
            for since, until in spans.values():
                within = replace(reading.selection, since=since, until=until)
                yield from self.read(replace(reading, selection=within))
            if self.listing.route in every:
                yield from self.read(reading)
            if group := [key for key in every if key not in spans and key != self.listing.route]:
                yield self._found(reading, group, found)

    def read_each(self, reading: Reading, keys: Iterable[str]) -> Iterator[Result[dict[str, Any]]]:
        """Each record as decoded JSON, or as the failure that it is, in the order of ``keys``."""
        for group, found in self._look_ups(reading, keys):
            for key in group:
                row = self._outcome(reading, key, found)
                if isinstance(row, Failure):
                    yield row
                elif row.record is None:
                    yield self._misfit(reading, row)
                else:
                    yield Success(row.key, self.shredder.value(row))

    def _look_ups(
        self, reading: Reading, keys: Iterable[str]
    ) -> Iterator[tuple[list[str], dict[str, Row] | RequestError]]:
        """Some keys at a time, and the rows that the server has for them, or why there is no answer."""

        def find(group: list[str]) -> dict[str, Row] | RequestError:
            rows = [key for key in group if key != self.listing.route and not span_of(key)]
            proper = [key for key in map(self.listing.proper, rows) if key]
            if not proper:
                return {}
            try:
                return self.listing.look_up(reading, proper, self.shredder.rows, _query(reading))
            except (TokenRefused, ServerUnreachable):
                raise
            except RequestError as error:
                return error

        workers = reading.client.connection.max_in_flight
        groups = in_groups(keys, self.listing.keys_at_once)
        ahead = max(1, min(workers, KEYS_AHEAD // self.listing.keys_at_once))
        useful = reading.client.useful_threads
        return in_order(groups, find, workers=workers, ahead=ahead, useful=useful, check=reading.check)

    def _found(self, reading: Reading, keys: list[str], found: dict[str, Row] | RequestError) -> Chunk:
        outcomes = [self._outcome(reading, key, found) for key in keys]
        chunk = self._chunk(reading, [row for row in outcomes if isinstance(row, Row)], None)
        missing = [failure for failure in outcomes if isinstance(failure, Failure)]
        return Chunk(label(keys), chunk.rows, chunk.landed, [*chunk.failures, *missing])

    def _outcome(self, reading: Reading, key: str, found: dict[str, Row] | RequestError) -> Row | Failure:
        """What came of one of the keys that were looked up together."""
        proper = self.listing.proper(key)
        if not proper:
            return not_found(reading, key, proper="")
        if isinstance(found, RequestError):
            return reading.fetch_failure(proper, found)
        return found.get(proper) or not_found(reading, key, proper=proper)

    def _chunk(
        self, reading: Reading, rows: Sequence[Row], cursor: Cursor | None, page: Page | None = None
    ) -> Chunk:
        whole = list({row.key: row for row in rows if row.record is not None}.values())
        failures = [self._misfit(reading, row) for row in rows if row.record is None]
        batches, landed, more = self._shred(reading, whole)
        failures += more
        if page is not None and page.saturated:
            place = page.window.key if page.window else self.listing.route
            failures.append(saturated(reading, self.listing.route, page.saturated, key=place))
        span = [row.version or 0 for row in (rows[0], rows[-1])] if rows else []
        window = page.window if page and len(rows) == len(page.rows) else None
        names = [*([window.key] if window else ()), *(row.key for row in rows)]
        return Chunk(
            label(names, *span),
            {table: [batch] for table, batch in batches.items()},
            landed,
            failures,
            cursor,
            self._healed(reading, page) if page else (),
            window,
        )

    def _healed(self, reading: Reading, page: Page) -> Sequence[str]:
        """The failures of the list itself that are over with a page."""
        if page.saturated:
            return ()
        if page.window is None:
            return (self.listing.route,)
        begin, end = map(datetime.fromisoformat, (page.window.begin, page.window.end))
        spans = {key: span for key in reading.known.failed if (span := span_of(key))}
        within = [key for key, span in spans.items() if begin <= span[0] and span[1] <= end]
        return (page.window.key, *within)

    def _shred(
        self, reading: Reading, rows: Sequence[Row]
    ) -> tuple[dict[Table, pa.RecordBatch], dict[str, int | None], list[Failure]]:
        """Rows at once; where one of them does not fit, that one is set apart and the rest again."""
        failures: list[Failure] = []
        try:
            batches = self.shredder.shred([row.record for row in rows]) if rows else {}
        except RecordError:
            rows, failures = self._set_apart(reading, rows)
            batches = self.shredder.shred([row.record for row in rows]) if rows else {}
        return batches, {row.key: row.version for row in rows}, failures

    def _set_apart(self, reading: Reading, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        fit, failures = [], []
        for row in rows:
            try:
                self.shredder.shred([row.record])
                fit.append(row)
            except RecordError as error:
                raw = json.dumps(self.shredder.value(row), separators=(",", ":")).encode()
                failures.append(reading.record_failure(row.key, error.message, raw=raw))
        return fit, failures

    def _misfit(self, reading: Reading, row: Row) -> Failure:
        return reading.record_failure(row.key, row.problem, raw=row.raw, url=f"/api/{self.listing.route}")


def _query(reading: Reading) -> Query:
    expand = reading.selection.options.get("expand") or ()
    return {"$expand": ",".join(expand)} if expand else {}


def span_of(key: str) -> tuple[datetime, datetime] | None:
    """The stretch of time that a failure's key stands for, or nothing where it is the key of a row."""
    begin, _, end = key.partition("/")
    try:
        return datetime.fromisoformat(begin), datetime.fromisoformat(end)
    except ValueError:
        return None
