"""Keyset paging by a text column: ``partNumber gt 'x'``, in the server's own order.

The server's collation decides how texts are ordered. So rows are not sorted here: each page begins after the
last text of the previous page. For the same reason the list cannot be divided into ranges. Reading ends with
a page that has no new rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wats_extract.filters import odata
from wats_extract.flow import Row, Window
from wats_extract.readers.reader import (
    Page,
    Query,
    RowsOf,
    Source,
    Undivided,
    everything_at_once,
    never_ending,
)


@dataclass(frozen=True)
class TextKeyset(Undivided):
    """An OData list that is paged by a text column.

    Attributes:
        route: The route below ``/api``.
        field: The text column that it is ordered by; its values are unique.
        page_size: The number of rows per request, the server's cap.
    """

    route: str
    field: str
    page_size: int = 1_000

    paging = "text keyset"
    keys_at_once = 100_000

    @property
    def cap(self) -> int:
        """The number of rows per request."""
        return self.page_size

    def proper(self, key: str) -> str:
        """The key itself: any text may be a key."""
        return key

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows, page by page, without repeated rows.

        Raises:
            PagingError: the server returns the same full page again and again.
            RequestError: a request fails after all retries.
        """
        after, largest = "", 0
        seen: set[str] = set()
        while found := self._request(source, window, rows, query, after):
            fresh = [row for row in found if row.key not in seen]
            largest = max(largest, len(found))
            if not fresh:
                self._check_end(found)
                return
            yield Page(fresh, [None] * len(fresh), cap=largest)
            seen.update(row.key for row in fresh)
            after = next(filter(None, map(self._text, reversed(found))), after)

    def look_up(
        self, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
    ) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, source, window, keys, rows, query)

    def _request(self, source: Source, window: Window, rows: RowsOf, query: Query, after: str) -> list[Row]:
        beyond = f"{self.field} gt {odata.quoted(after)}" if after else ""
        text = odata.both(window.selection.filter, beyond)
        page = query | {"$orderby": self.field, "$top": self.page_size} | ({"$filter": text} if text else {})
        return source.client.get(self.route, query=page, decode=lambda reply: rows(reply.body))

    def _check_end(self, found: list[Row]) -> None:
        """Raise for a full page without new rows: it is not the end, the server ignores the filter."""
        if len(found) >= self.page_size:
            raise never_ending(self.route, f"the server ignores '{self.field} gt'")

    def _text(self, row: Row) -> str:
        return str(getattr(row.record, self.field, None) or "")
