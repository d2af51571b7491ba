"""List items that have no list of their own: they are found in the rows of a list that mentions them.

For example, each report mentions the unit that it is about. Within a page, an item is returned at the last
row that mentions it, with the version of that row. Later pages do not return it again. The cursor is the one
of the list: it moves past a row once all items of that row are returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wats_extract.flow import Row, Window
from wats_extract.readers.reader import Listing, Page, Query, RowsOf, Source, Undivided

LOOK_UP_ROWS = 1_000
"""The number of rows per look-up. The newest rows come first, because they have the current versions."""


@dataclass(frozen=True)
class Mentioned(Undivided):
    """The items that the rows of a list mention.

    The list cannot be divided: two parts of it may mention the same item.

    Attributes:
        listing: The list.
        keys: The keys of the items that a record of the list mentions.
        proper_key: A key as the server writes it; empty if it cannot be one.
        condition: The OData filter that finds the rows about some keys.
        order: The column with the version of the rows, which the list is ordered by.
    """

    listing: Listing
    keys: Callable[[Any], Iterable[str]]
    proper_key: Callable[[str], str]
    condition: Callable[[Iterable[str]], str]
    order: str = "timeStamp"

    paging = "mentioned"
    keys_at_once = 20

    @property
    def route(self) -> str:
        """The route below ``/api``."""
        return self.listing.route

    @property
    def cap(self) -> int | None:
        """The number of rows of the list per request."""
        return self.listing.cap

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty if it cannot be one."""
        return self.proper_key(key)

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All items mentioned after the window's cursor, and some before it.

        Raises:
            RequestError: a request fails after all retries.
            PagingError: the pages contradict each other.
        """
        returned: set[int] = set()  # hashes take a fraction of the memory of keys
        for page in self.listing.pages(source, window, rows, query):
            named = [(item, place) for place, row in enumerate(page.rows) for item in self._items(row)]
            last = {item.key: (item, place) for item, place in named}
            fresh = sorted(
                ((item, place) for key, (item, place) in last.items() if hash(key) not in returned),
                key=lambda found: found[1],
            )
            returned.update(map(hash, last))
            yield self._page(page, fresh)

    def look_up(
        self,
        source: Source,
        window: Window,  # noqa: ARG002
        keys: list[str],
        rows: RowsOf,
        query: Query,
    ) -> dict[str, Row]:
        """The items with the versions of the newest rows that mention them."""
        newest: Query = {
            "$filter": self.condition(keys),
            "$orderby": f"{self.order} desc",
            "$top": LOOK_UP_ROWS,
        }
        found = source.client.get(self.route, query=query | newest, decode=lambda reply: rows(reply.body))
        wanted = set(keys)
        items = [item for row in reversed(found) for item in self._items(row)]
        return {item.key: item for item in items if item.key in wanted}

    def _items(self, row: Row) -> Iterator[Row]:
        """The items that a row mentions. A row that cannot be decoded is returned itself and will fail."""
        if row.record is None:
            yield row
            return
        for key in self.keys(row.record):
            yield Row(key, row.version, row.record)

    def _page(self, page: Page, items: list[tuple[Row, int]]) -> Page:
        """A page of items. The cursor moves past a row with the last item of that row."""
        cursors = []
        for index, (_, place) in enumerate(items):
            done = index + 1 == len(items) or items[index + 1][1] != place
            upto = place if done else place - 1
            cursors.append(page.cursors[upto] if upto >= 0 else None)
        return Page([item for item, _ in items], cursors, page.cap, page.saturated, covered=page.end)
