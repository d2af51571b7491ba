"""Lists ordered by a growing number, read by keyset. Report lists fall back to windows on ``start``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from wats_extract import events
from wats_extract.cursor import NumberCursor
from wats_extract.errors import KeysetRefused, WatsExtractError
from wats_extract.filters import odata
from wats_extract.flow import Bounds, Numbers, Row, Selection, Times, Window
from wats_extract.readers import by_start
from wats_extract.readers import keyset as by_keyset
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.reader import Page, Query, RowsOf, Source, selected

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class NumberedList:
    """Rows that are identified by a growing whole number.

    Attributes:
        keyset: How the route is paged.
    """

    keyset: Keyset

    paging = "keyset"
    versioned = False
    countable = True
    keys_at_once = 40
    """IIS accepts a query of 2 kB, which holds 40 uuids."""

    @property
    def route(self) -> str:
        """The route below ``/api``."""
        return self.keyset.route

    @property
    def cap(self) -> int:
        """The number of rows per request."""
        return self.keyset.page_size

    def proper(self, key: str) -> str:
        """The key if it is a whole number; otherwise empty."""
        return key if key.isdecimal() else ""

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:
        """Ranges of the number; the last one has no upper bound.

        Raises:
            RequestError: a request fails after all retries.
        """
        return by_keyset.split(
            self.keyset,
            source.client,
            window.selection,
            cursor=window.cursor,
            rows=rows,
            query={},
            parts=parts,
        )

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows after the window's cursor, and some before it.

        Raises:
            RequestError: a request fails after all retries.
            PagingError: the pages contradict each other.
        """
        bounds = window.bounds if isinstance(window.bounds, Numbers) else Numbers()
        return by_keyset.pages(
            self.keyset,
            source.client,
            window.selection,
            cursor=window.cursor,
            rows=rows,
            query=query,
            bounds=bounds,
        )

    def look_up(
        self,
        source: Source,
        window: Window,  # noqa: ARG002
        keys: list[str],
        rows: RowsOf,
        query: Query,
    ) -> dict[str, Row]:
        """The rows of some keys, without those that the server does not have.

        A server may cap pages silently, so missing keys are requested again until a response adds none.
        """
        name, found = self.keyset.key, dict[str, Row]()
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            text = f"{name} eq {missing[0]}" if len(missing) == 1 else f"{name} in ({','.join(missing)})"
            page = source.client.get(
                self.route,
                query=query | {"$filter": text, "$top": len(missing) + 1},
                decode=lambda reply: rows(reply.body),
            )
            if not (more := {row.key: row for row in page if row.key in missing}):
                break
            found |= more
        return found


@dataclass(frozen=True)
class ReportList(NumberedList):
    """Reports in the order in which the server processed them. Their keys are uuids."""

    versioned = True

    def proper(self, key: str) -> str:
        """The key as a lower-case uuid; otherwise empty. No other text goes into a filter or a path."""
        return key.lower() if _UUID.fullmatch(key) else ""

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:
        """Ranges of the number, or of ``start`` if the server refuses the keyset.

        Raises:
            RequestError: a request fails after all retries.
        """
        if window.cursor is None or isinstance(window.cursor, NumberCursor):
            try:
                return super().split(source, window, rows, parts)
            except KeysetRefused as error:
                self._note(source, error)
        return by_start.split(
            self.keyset,
            source.client,
            window.selection,
            cursor=window.cursor,
            rows=rows,
            query={},
            now=datetime.now(UTC),
            parts=parts,
        )

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows after the window's cursor, and some before it.

        Raises:
            RequestError: a request fails after all retries.
            PagingError: the pages contradict each other.
        """
        numbered = window.cursor is None or isinstance(window.cursor, NumberCursor)
        if numbered and not isinstance(window.bounds, Times):
            try:
                yield from _hold_first(super().pages(source, window, rows, query))
                return
            except KeysetRefused as error:
                self._note(source, error)
        yield from by_start.pages(
            self.keyset,
            source.client,
            self._within(window),
            cursor=window.cursor,
            rows=rows,
            query=query,
            now=datetime.now(UTC),
        )

    def _within(self, window: Window) -> Selection:
        """The selection of a window for reading by ``start``: bounds on the number go into the filter."""
        selection, bounds = selected(window), window.bounds
        if not isinstance(bounds, Numbers):
            return selection
        after = f"{self.keyset.field} gt {bounds.after}" if bounds.after is not None else ""
        upto = f"{self.keyset.field} le {bounds.upto}" if bounds.upto is not None else ""
        return replace(selection, filter=odata.both(selection.filter, after, upto))

    def _note(self, source: Source, error: KeysetRefused) -> None:
        source.listen(
            events.Noted(
                f"{source.resource}: this server does not page by {self.keyset.field} ({error.message}). "
                "Reading time windows on start instead, which takes more requests."
            )
        )


def _hold_first(pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages. The first one is held until the second request succeeds, which a server may refuse."""
    held = deque(islice(pages, 1))
    try:
        held.extend(islice(pages, 1))
    except KeysetRefused:
        raise
    except WatsExtractError:
        yield from held
        raise
    while held:
        yield held.popleft()  # keep no reference to a page: it takes tens of megabytes
    yield from pages
