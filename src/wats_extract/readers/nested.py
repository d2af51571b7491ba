"""Items that stand within the documents of another list, such as revisions within products.

Each item of the outer list is fetched, several at a time, and its document names the inner ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from wats_extract.errors import RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Row
from wats_extract.readers.ahead import in_order
from wats_extract.readers.reading import Listing, Page, Query, Reading, RowsOf


@dataclass(frozen=True)
class Nested:
    """What the documents of another list hold.

    Attributes:
        listing: The outer list.
        rows: Reads its rows.
        document: The route of one of its items, with ``{key}`` in it.
        keys: The inner keys that an outer document holds, from its key and its body.
        proper_key: An inner key as the server writes it; empty where it cannot be one.
    """

    listing: Listing
    rows: RowsOf
    document: str
    keys: Callable[[str, bytes], Iterable[str]]
    proper_key: Callable[[str], str]

    paging = "nested"
    keys_at_once = 100_000

    @property
    def route(self) -> str:
        """Below ``/api``."""
        return self.listing.route

    @property
    def cap(self) -> int | None:
        """Rows asked for in one request of the outer list."""
        return self.listing.cap

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty where it cannot be one."""
        return self.proper_key(key)

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """The inner keys of each page of the outer list; an outer document without an answer is a problem.

        Raises:
            RequestError: the outer list stays without a usable answer.
        """
        workers = reading.client.connection.max_in_flight
        for page in self.listing.pages(reading, self.rows, query):
            found = in_order(
                page.rows,
                lambda row: self._within(reading, row),
                workers=workers,
                ahead=2 * workers,
                useful=reading.client.useful_threads,
                check=reading.check,
            )
            inner = [row for _, rows in found for row in rows]
            yield Page(inner, [None] * len(inner), cap=page.cap, saturated=page.saturated)

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:  # noqa: ARG002
        """Nothing is known of a key before its document is fetched."""
        return {}

    def _within(self, reading: Reading, outer: Row) -> list[Row]:
        """The inner items of one outer; where it was deleted meanwhile, there are none."""
        if outer.problem:
            return [outer]
        route = self.document.format(key=quote(outer.key, safe=""))
        try:
            keys = reading.client.get(route, decode=lambda reply: list(self.keys(outer.key, reply.body)))
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            if error.code == "NOT_FOUND":
                return []
            return [Row(outer.key, None, problem=f"what is within it is unknown: {error.message}")]
        return [Row(key, None) for key in keys]
