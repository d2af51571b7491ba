"""Offset paging by SCIM's rules (RFC 7644 §3.4.2.4): ``startIndex`` from 1, ``count`` a page.

It advances by the rows received, not by the rows asked for, since a server may give fewer; it ends with
a page that holds nothing new. A server that ignores paging gives the same rows again, which ends it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wats_extract.flow import Row
from wats_extract.readers.reading import Page, Query, Reading, RowsOf, everything_at_once


@dataclass(frozen=True)
class Offset:
    """A SCIM list.

    Attributes:
        route: Below ``/api``.
        page_size: Rows asked for in one request.
    """

    route: str
    page_size: int = 500

    paging = "offset"
    keys_at_once = 100_000

    @property
    def cap(self) -> int:
        """Rows asked for in one request."""
        return self.page_size

    def proper(self, key: str) -> str:
        """Any key may be one of its rows'."""
        return key

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows, page by page; rows that come again are left out.

        Raises:
            RequestError: a page stays without a usable answer.
        """
        start, largest = 1, 0
        seen: set[str] = set()
        while True:
            asked = {**query, "startIndex": start, "count": self.page_size}
            found = reading.client.get(self.route, query=asked, decode=lambda reply: rows(reply.body))
            fresh = [row for row in found if row.key not in seen]
            largest = max(largest, len(found))
            if not fresh:
                return
            yield Page(fresh, [None] * len(fresh), cap=largest)
            seen.update(row.key for row in fresh)
            start += len(found)

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, reading, keys, rows, query)
