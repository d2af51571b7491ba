"""Read lists whose pages are the data itself: each page becomes a chunk."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa

from wats_extract import events
from wats_extract.cursor import Cursor, instant_of
from wats_extract.errors import RecordError, RequestError, ServerUnreachable, TokenRefused, freed
from wats_extract.flow import Chunk, Failure, Keys, Result, Row, Selection, Success, Window
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.list_reader import ListReader
from wats_extract.readers.reader import (
    KEYS_AHEAD,
    Listing,
    Page,
    PageShredder,
    Query,
    RowsOf,
    Source,
    in_groups,
    label,
    span_of,
)
from wats_extract.tables import Table

SLICE_ROWS = 10_000
"""The most rows of a page that become one chunk. A list without paging can have millions of rows, which would
need much memory at once and hold up an interrupt."""


@dataclass(frozen=True)
class PagedReader(ListReader):
    """Reads a list whose pages become chunks.

    Attributes:
        listing: How the route is paged.
        shredder: Turns a page into rows of tables.
    """

    listing: Listing
    shredder: PageShredder

    @property
    def rows_of(self) -> RowsOf:
        """Reads the rows of a page."""
        return self.shredder.rows

    def list_query(self, window: Window) -> Query:
        """The query parameters of the list, beside its paging."""
        expand = window.selection.options.get("expand") or ()
        return {"$expand": ",".join(expand)} if expand else {}

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """One chunk per slice of a page, in the order of the cursor; one per look-up if the window has keys.

        A page is requested when its first chunk is asked for. A key that the server does not have is a
        failure.

        Raises:
            RequestError: a request for a page fails after all retries.
        """
        if isinstance(window.bounds, Keys):
            for group, found in self._look_ups(source, window, window.bounds.keys):
                yield self._found(source, group, found)
            return
        left = window.selection.limit
        listed = self.listing.pages(source, window, self.rows_of, self.list_query(window))
        with closing(in_background(listed, ahead=None, check=source.check)) as ahead:
            for page in _slices(ahead) if left != 0 else ():
                unread = self.fresh(source, window, page)
                fresh = unread[:left]
                page = page if len(fresh) == len(unread) else replace(page, whole=False)
                source.listen(events.ItemsListed(source.resource, len(fresh)))
                cursor = page.cursors[fresh[-1][1]] if fresh and len(fresh) == left else page.end
                chunk = self._chunk(source, [row for row, _ in fresh], cursor, page)
                outcomes = outcome_counts(chunk, [row.key for row, _ in fresh])
                left = None if left is None else left - len(fresh)
                # A page and its chunk take tens of megabytes: free the one during the commit, and the other
                # while the next page is read.
                del page, unread, fresh
                yield chunk
                del chunk
                for failure, times in outcomes:
                    source.judge(failure, times)
                if left is not None and left <= 0:
                    return

    def outcomes(
        self, source: Source, selection: Selection, keys: Iterable[str]
    ) -> Iterator[Result[dict[str, Any]]]:
        """Each record as decoded JSON or as a failure, in the order of ``keys``."""
        window = Window(source.resource, selection)
        for group, found in self._look_ups(source, window, keys):
            for key in group:
                row = self._outcome(source, key, found)
                if isinstance(row, Failure):
                    yield row
                elif row.record is None:
                    yield self._misfit(source, row)
                else:
                    yield Success(row.key, self.shredder.value(row))

    def _look_ups(
        self, source: Source, window: Window, keys: Iterable[str]
    ) -> Iterator[tuple[list[str], dict[str, Row] | RequestError]]:
        """Groups of keys, each with the rows that the server has for them or with the request's error."""

        def find(group: list[str]) -> dict[str, Row] | RequestError:
            proper = [key for key in map(self.listing.proper, group) if key and not span_of(key)]
            if not proper:
                return {}
            try:
                return self.listing.look_up(source, window, proper, self.rows_of, self.list_query(window))
            except (TokenRefused, ServerUnreachable):
                raise
            except RequestError as error:
                return freed(error)

        workers = source.client.connection.max_in_flight
        groups = in_groups(keys, self.listing.keys_at_once)
        ahead = max(1, min(workers, KEYS_AHEAD // self.listing.keys_at_once))
        useful = source.client.useful_threads
        return in_order(groups, find, workers=workers, ahead=ahead, useful=useful, check=source.check)

    def _found(self, source: Source, keys: list[str], found: dict[str, Row] | RequestError) -> Chunk:
        outcomes = [self._outcome(source, key, found) for key in keys]
        chunk = self._chunk(source, [row for row in outcomes if isinstance(row, Row)], None)
        missing = [failure for failure in outcomes if isinstance(failure, Failure)]
        return Chunk(label(keys), chunk.rows, chunk.landed, [*chunk.failures, *missing])

    def _outcome(self, source: Source, key: str, found: dict[str, Row] | RequestError) -> Row | Failure:
        """The row or the failure of one key of a look-up."""
        proper = self.listing.proper(key)
        if not proper:
            return source.not_a_key(key)
        if isinstance(found, RequestError):
            return source.fetch_failure(proper, found)
        return found.get(proper) or source.not_found(proper)

    def _chunk(
        self, source: Source, rows: Sequence[Row], cursor: Cursor | None, page: Page | None = None
    ) -> Chunk:
        whole = list({row.key: row for row in rows if row.record is not None}.values())
        failures = [self._misfit(source, row) for row in rows if row.record is None]
        batches, landed, more = self._shred(source, whole)
        failures += more
        if page is not None and page.saturated:
            key = page.coverage.key if page.coverage else self.listing.route
            failures.append(source.saturated(self.listing.route, page.saturated, key=key))
        span = [row.version or 0 for row in (rows[0], rows[-1])] if rows else []
        coverage = page.coverage if page and page.whole else None
        names = [*([coverage.key] if coverage else ()), *(row.key for row in rows)]
        return Chunk(
            label(names, *span),
            {table: [batch] for table, batch in batches.items()},
            landed,
            failures,
            cursor,
            self._healed(source, page) if page else (),
            coverage,
        )

    def _healed(self, source: Source, page: Page) -> Sequence[str]:
        """The keys of failures about the list or its ranges that this page resolves."""
        if page.saturated or not page.whole:
            return ()
        if page.coverage is None:
            return (self.listing.route,)
        begin, end = instant_of(page.coverage.begin), instant_of(page.coverage.end)
        spans = {key: span for key in source.known.failed if (span := span_of(key))}
        within = [key for key, span in spans.items() if begin <= span[0] and span[1] <= end]
        return (page.coverage.key, *within)

    def _shred(
        self, source: Source, rows: Sequence[Row]
    ) -> tuple[dict[Table, pa.RecordBatch], dict[str, int | None], list[Failure]]:
        """Shred all rows at once. If that fails, shred the rows that fit, and make failures of the others."""
        failures: list[Failure] = []
        try:
            batches = self.shredder.shred([row.record for row in rows]) if rows else {}
        except RecordError:
            rows, failures = self._separate(source, rows)
            batches = self.shredder.shred([row.record for row in rows]) if rows else {}
        return batches, {row.key: row.version for row in rows}, failures

    def _separate(self, source: Source, rows: Sequence[Row]) -> tuple[list[Row], list[Failure]]:
        fit, failures = [], []
        for row in rows:
            try:
                self.shredder.shred([row.record])
                fit.append(row)
            except RecordError as error:
                raw = json.dumps(self.shredder.value(row), separators=(",", ":")).encode()
                failures.append(source.record_failure(row.key, error.message, raw=raw))
        return fit, failures

    def _misfit(self, source: Source, row: Row) -> Failure:
        return source.record_failure(row.key, row.problem, raw=row.raw, url=f"/api/{self.listing.route}")


def _slices(pages: Iterable[Page]) -> Iterator[Page]:
    """Slices of the pages, without a reference to those that the consumer has taken."""
    for page in pages:
        slices = deque(page.slices(SLICE_ROWS))
        del page
        while slices:
            yield slices.popleft()


def outcome_counts(chunk: Chunk, keys: Sequence[str]) -> list[tuple[Failure | None, int]]:
    """The outcomes of a chunk's items, in order, for the judge: successes in a row are counted together."""
    failed = {failure.key: failure for failure in chunk.failures}
    outcomes = groupby(keys, key=lambda key: None if key in chunk.landed else failed[key])
    return [(failure, sum(1 for _ in group)) for failure, group in outcomes]
