"""Keyset paging by a text: ``partNumber gt 'x'``, in the server's own order of texts.

How a server sorts texts is its collation's business: nothing is sorted here, and each page begins after
the last text of the one before. Reading ends with a page that holds nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wats_extract.filters import odata
from wats_extract.flow import Row
from wats_extract.readers.reading import (
    Page,
    Query,
    Reading,
    RowsOf,
    everything_at_once,
    never_ending,
)


@dataclass(frozen=True)
class TextKeyset:
    """An OData list that is paged by a text.

    Attributes:
        route: Below ``/api``.
        field: The text that it is ordered by; unique.
        page_size: Rows asked for in one request, the server's cap.
    """

    route: str
    field: str
    page_size: int = 1_000

    paging = "text keyset"
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
            PagingError: the server gives a full page again and again.
            RequestError: a page stays without a usable answer.
        """
        after, largest = "", 0
        seen: set[str] = set()
        while found := self._ask(reading, rows, query, after):
            fresh = [row for row in found if row.key not in seen]
            largest = max(largest, len(found))
            if not fresh:
                self._check_end(found)
                return
            yield Page(fresh, [None] * len(fresh), cap=largest)
            seen.update(row.key for row in fresh)
            after = next(filter(None, map(self._text, reversed(found))), after)

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, reading, keys, rows, query)

    def _ask(self, reading: Reading, rows: RowsOf, query: Query, after: str) -> list[Row]:
        beyond = f"{self.field} gt {odata.quoted(after)}" if after else ""
        text = odata.both(reading.selection.filter, beyond)
        asked = query | {"$orderby": self.field, "$top": self.page_size} | ({"$filter": text} if text else {})
        return reading.client.get(self.route, query=asked, decode=lambda reply: rows(reply.body))

    def _check_end(self, found: list[Row]) -> None:
        """A full page of known rows is no end: the server ignores what it is asked, and has a cap."""
        if len(found) >= self.page_size:
            raise never_ending(self.route, f"the server ignores '{self.field} gt'")

    def _text(self, row: Row) -> str:
        return str(getattr(row.record, self.field, None) or "")
