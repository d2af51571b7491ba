"""Items that no route lists, enumerated from the rows of a list that mentions them.

Units are known by the reports about them: each row of the list names some. An item is given once a
reading, where a page mentions it last, in the version of that row. The cursor is the list's own: it moves
past a row when the items of that row have landed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wats_extract.flow import Row
from wats_extract.readers.reading import Listing, Page, Query, Reading, RowsOf

LOOK_UP_ROWS = 1_000
"""Rows of a look-up; the newest come first, and their versions are what is looked for."""


@dataclass(frozen=True)
class Mentioned:
    """What the rows of a list mention.

    Attributes:
        listing: The list.
        keys: The keys of the items that a record of the list mentions.
        proper_key: A key as the server writes it; empty where it cannot be one.
        condition: The OData filter that finds the rows about some keys.
        order: What the list is ordered by, the version of its rows.
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
        """Below ``/api``."""
        return self.listing.route

    @property
    def cap(self) -> int | None:
        """Rows asked for in one request of the list that mentions them."""
        return self.listing.cap

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty where it cannot be one."""
        return self.proper_key(key)

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All items that are mentioned after the reading's cursor, and some before it.

        Raises:
            RequestError: a page stays without a usable answer.
            PagingError: the pages contradict each other.
        """
        given: set[int] = set()  # hashes take a fraction of the memory of keys
        for page in self.listing.pages(reading, rows, query):
            named = [(item, place) for place, row in enumerate(page.rows) for item in self._items(row)]
            last = {item.key: (item, place) for item, place in named}
            fresh = sorted(
                ((item, place) for key, (item, place) in last.items() if hash(key) not in given),
                key=lambda found: found[1],
            )
            given.update(map(hash, last))
            yield self._page(page, fresh)

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The items as the newest rows about them mention them."""
        question: Query = {
            "$filter": self.condition(keys),
            "$orderby": f"{self.order} desc",
            "$top": LOOK_UP_ROWS,
        }
        found = reading.client.get(self.route, query=query | question, decode=lambda reply: rows(reply.body))
        wanted = set(keys)
        items = [item for row in reversed(found) for item in self._items(row)]
        return {item.key: item for item in items if item.key in wanted}

    def _items(self, row: Row) -> Iterator[Row]:
        """The items of a row; a row that cannot be read stands for itself, and is a failure."""
        if row.record is None:
            yield row
            return
        for key in self.keys(row.record):
            yield Row(key, row.version, row.record)

    def _page(self, page: Page, items: list[tuple[Row, int]]) -> Page:
        """A page of items; the cursor reaches a row only with the last of its items."""
        cursors = []
        for index, (_, place) in enumerate(items):
            done = index + 1 == len(items) or items[index + 1][1] != place
            upto = place if done else place - 1
            cursors.append(page.cursors[upto] if upto >= 0 else None)
        return Page([item for item, _ in items], cursors, page.cap, page.saturated, covered=page.end)
