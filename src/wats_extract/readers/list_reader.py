"""The common part of the readers of lists: planning windows, listing keys, and estimating."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

from wats_extract.cursor import Cursor
from wats_extract.errors import RequestBudgetSpent
from wats_extract.flow import Everything, Keys, Row, Selection, Times, Window
from wats_extract.readers.ahead import in_background
from wats_extract.readers.reader import (
    KEYS_AHEAD,
    Estimate,
    Listing,
    Page,
    Query,
    RowsOf,
    Source,
    fresh_rows,
    in_groups,
    span_of,
)

KEY_FIELDS = ("uuid", "timeStamp", "start")
"""The fields of a report that ``list_items`` requests."""


class ListReader:
    """A reader whose items are on a list."""

    listing: Listing
    reads_ahead = True
    requests_per_item = 0
    """The number of requests per item, in addition to the requests for the list."""

    @property
    def paging(self) -> str:
        """How the list is paged, in a word or two."""
        return self.listing.paging

    @property
    def cap(self) -> int | None:
        """The number of rows of the list per request; ``None`` if the server decides."""
        return self.listing.cap

    @property
    def keys_at_once(self) -> int:
        """The number of keys that one request of ``find`` takes."""
        return self.listing.keys_at_once

    @property
    def lists_versions(self) -> bool:
        """Whether ``list_items`` yields reports with their ``timeStamp``."""
        return self.listing.versioned

    @property
    def rows_of(self) -> RowsOf:
        """Reads the rows of a page of the list."""
        raise NotImplementedError

    def list_query(self, window: Window) -> Query:
        """The query parameters of the list, beside its paging."""
        raise NotImplementedError

    def keys_per_window(self) -> int:
        """The number of keys per window: enough for ten concurrent look-ups, or for one pass of the list."""
        return max(self.listing.keys_at_once, min(10 * self.listing.keys_at_once, KEYS_AHEAD))

    def fresh(self, source: Source, window: Window, page: Page) -> list[tuple[Row, int]]:
        """The rows of a page of the list, with their index, whose items have to be read."""
        return fresh_rows(source, window, page)

    # ── plan ──

    def plan(
        self,
        source: Source,
        selection: Selection,
        *,
        cursor: Cursor | None = None,
        keys: Iterable[str] | None = None,
        parts: int = 1,
    ) -> Iterator[Window]:
        """Divide the list into windows that are disjoint and together complete.

        Args:
            source: Where to read; with one part and no keys, planning sends no request.
            selection: Which rows, and in which detail. With a ``limit`` there is one window.
            cursor: Where an earlier reading ended.
            keys: Only these items. The keys of failures about a list are allowed too: the route stands for
                the whole list, and ``BEGIN/END`` for a range of time.
            parts: The number of windows wanted.

        Raises:
            RequestError: a request fails after all retries.
        """
        whole = Window(source.resource, selection, cursor=cursor)
        if keys is not None:
            for group in in_groups(keys, self.keys_per_window()):
                yield from self._windows_of(whole, group)
        elif parts <= 1 or selection.limit is not None:
            yield whole
        else:
            for bounds in self.listing.split(source, whole, self.rows_of, parts):
                yield replace(whole, bounds=bounds)

    def _windows_of(self, whole: Window, group: Sequence[str]) -> Iterator[Window]:
        spans = {key: span for key in group if (span := span_of(key))}
        for since, until in spans.values():
            yield replace(whole, bounds=Times(since, until))
        if self.listing.route in group:
            yield replace(whole, bounds=Everything())
        if items := tuple(key for key in group if key not in spans and key != self.listing.route):
            yield replace(whole, bounds=Keys(items))

    # ── list ──

    def list_items(self, source: Source, window: Window) -> Iterator[Page]:
        """The keys and versions of the items in a window, without their data.

        Raises:
            RequestError: a request fails after all retries.
        """
        return self._list(source, window, ())

    def find(self, source: Source, window: Window, keys: Sequence[str]) -> dict[str, Row]:
        """The keys and versions of the items that the server has, of those asked for."""
        return self.listing.look_up(source, window, [*keys], self.rows_of, self._key_query(window, ()))

    def estimate(self, source: Source, window: Window, *, pages: int) -> Estimate:
        """Estimate how many items are new, from at most this many pages of the list.

        Lists whose pages are the data itself are not read: counting their items would be reading them.
        """
        if not self.listing.countable:
            return Estimate()
        if not (self.listing.versioned or self.requests_per_item):
            return Estimate(requests=1, at_least=self.listing.cap is not None)
        before = source.client.requests
        found = Estimate(new=0, bytes=0 if self.listing.versioned and self.requests_per_item else None)
        few = islice(self._list(source, window, ("reportSize",)), pages)
        # Requests run in a background thread, so that this thread notices an interrupt.
        with closing(in_background(few, ahead=1, check=source.check)) as listed:
            self._count(source, window, listed, found, pages)
        found.requests = source.client.requests - before + self.requests_per_item * (found.new or 0)
        return found

    def _count(
        self, source: Source, window: Window, listed: Iterator[Page], found: Estimate, pages: int
    ) -> None:
        try:
            for number, page in enumerate(listed, start=1):
                fresh = fresh_rows(source, window, page)
                found.new = (found.new or 0) + len(fresh)
                if found.bytes is not None:
                    found.bytes += sum(_size(row) for row, _ in fresh)
                found.at_least = number == pages
        except RequestBudgetSpent:
            found.at_least = True

    def _list(self, source: Source, window: Window, also: Sequence[str]) -> Iterator[Page]:
        return self.listing.pages(source, window, self.rows_of, self._key_query(window, also))

    def _key_query(self, window: Window, also: Sequence[str]) -> Query:
        """The query that returns keys and versions only, if the route can select fields."""
        if not self.listing.versioned:
            return self.list_query(window)
        return {"$select": ",".join((*KEY_FIELDS, *also))}


def _size(row: Row) -> int:
    """A report's size in bytes; WATS gives it in kB."""
    size: Any = getattr(row.record, "reportSize", None)
    return int(size * 1000) if isinstance(size, int | float) else 0
