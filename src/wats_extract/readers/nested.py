"""List items that are nested in the documents of another list, such as revisions in products.

Each document of the outer list is fetched, several at a time, and its inner items are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from wats_extract.errors import RecordError, RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Row, Window
from wats_extract.readers.ahead import in_order
from wats_extract.readers.reader import Listing, Page, Query, RowsOf, Source, Undivided


@dataclass(frozen=True)
class Nested(Undivided):
    """The items in the documents of another list.

    Attributes:
        listing: The outer list.
        rows: Decodes the rows of the outer list.
        document: The route of one outer document, with ``{key}`` in it.
        keys: Returns the inner keys, from an outer document's key and body.
        proper_key: Returns an inner key as the server writes it; empty if it cannot be one.
    """

    listing: Listing
    rows: RowsOf
    document: str
    keys: Callable[[str, bytes], Iterable[str]]
    proper_key: Callable[[str], str]

    paging = "nested"
    keys_at_once = 100_000
    countable = False

    @property
    def route(self) -> str:
        """The route below ``/api``."""
        return self.listing.route

    @property
    def cap(self) -> int | None:
        """The number of rows of the outer list per request."""
        return self.listing.cap

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty if it cannot be one."""
        return self.proper_key(key)

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """The inner keys of each page of the outer list. An outer document that fails is a problem row.

        Raises:
            RequestError: a request for the outer list fails after all retries.
        """
        workers = source.client.connection.max_in_flight
        for page in self.listing.pages(source, window, self.rows, query):
            found = in_order(
                page.rows,
                lambda row: self._inside(source, row),
                workers=workers,
                ahead=2 * workers,
                useful=source.client.useful_threads,
                check=source.check,
            )
            inner = [row for _, rows in found for row in rows]
            yield Page(inner, [None] * len(inner), cap=page.cap, saturated=page.saturated)

    def look_up(
        self,
        source: Source,  # noqa: ARG002
        window: Window,  # noqa: ARG002
        keys: list[str],  # noqa: ARG002
        rows: RowsOf,  # noqa: ARG002
        query: Query,  # noqa: ARG002
    ) -> dict[str, Row]:
        """Nothing: whether a key exists is unknown until its document is fetched."""
        return {}

    def _inside(self, source: Source, outer: Row) -> list[Row]:
        """The inner items of one outer document; none if the document was deleted meanwhile."""
        if outer.problem:
            return [outer]
        route = self.document.format(key=quote(outer.key, safe=""))
        try:
            keys = source.client.get(route, decode=lambda reply: list(self.keys(outer.key, reply.body)))
        except (TokenRefused, ServerUnreachable):
            raise
        except (RequestError, RecordError) as error:
            if isinstance(error, RequestError) and error.code == "NOT_FOUND":
                return []
            return [Row(outer.key, None, problem=f"its contents are unknown: {error.message}")]
        return [Row(key, None) for key in keys]
