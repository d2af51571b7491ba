"""Offset paging by the rules of SCIM (RFC 7644 §3.4.2.4): ``startIndex`` from 1, ``count`` rows per page.

The offset advances by the number of rows received, because a server may return fewer than requested.
Reading ends with a page that has no new rows. So it also ends if a server ignores the offset and returns the
same rows again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wats_extract.flow import Row, Window
from wats_extract.readers.reader import Page, Query, RowsOf, Source, Undivided, everything_at_once


@dataclass(frozen=True)
class Offset(Undivided):
    """A SCIM list.

    Attributes:
        route: The route below ``/api``.
        page_size: The number of rows per request.
    """

    route: str
    page_size: int = 500

    paging = "offset"
    keys_at_once = 100_000

    @property
    def cap(self) -> int:
        """The number of rows per request."""
        return self.page_size

    def proper(self, key: str) -> str:
        """The key itself: any text may be a key."""
        return key

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """All rows, page by page, without repeated rows.

        Raises:
            RequestError: a request fails after all retries.
        """
        start, largest = 1, 0
        seen: set[str] = set()
        while True:
            page = {**query, "startIndex": start, "count": self.page_size}
            found = source.client.get(self.route, query=page, decode=lambda reply: rows(reply.body))
            fresh = [row for row in found if row.key not in seen]
            largest = max(largest, len(found))
            if not fresh:
                return
            yield Page(fresh, [None] * len(fresh), cap=largest)
            seen.update(row.key for row in fresh)
            start += len(found)

    def look_up(
        self, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
    ) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, source, window, keys, rows, query)
