"""Read lists that come in one response: small lists that the server does not page.

A response does not tell whether it was cut. A list of exactly 1,000, 10,000 or 100,000 rows (WATS's usual
caps) may have been cut: it is loaded, and a ``WINDOW_SATURATED`` failure is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wats_extract.errors import RequestError
from wats_extract.flow import USUAL_CAPS, Row, Window
from wats_extract.readers.reader import Page, Query, RowsOf, Source, Undivided, everything_at_once


@dataclass(frozen=True)
class Snapshot(Undivided):
    """A route that returns all its rows at once.

    Attributes:
        route: The route below ``/api``.
        query: The query parameters.
        instead: The queries to send, one after the other, if the server refuses ``query``.
    """

    route: str
    query: Mapping[str, str | int | bool] = field(default_factory=dict)
    instead: tuple[Mapping[str, str | int | bool], ...] = ()

    paging = "single request"
    cap = None
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """The key itself: any text may be a key."""
        return key

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """One page, or one page per query of ``instead``.

        Raises:
            RequestError: the request fails after all retries.
        """
        try:
            yield from self._page(source, rows, {**self.query, **query})
        except RequestError as error:
            if error.http_status != 400 or not self.instead:
                raise
            for alternative in self.instead:
                yield from self._page(source, rows, {**alternative, **query})

    def _page(self, source: Source, rows: RowsOf, query: Query) -> Iterator[Page]:
        found = source.client.get(self.route, query=query, decode=lambda reply: rows(reply.body))
        count = len(found)
        cut = f"exactly {count:,} rows came, a usual cap; there may be more" if count in USUAL_CAPS else ""
        if found:
            page = [Page(found, [None] * count, cap=count, saturated=cut)]
            del found  # the consumer frees the rows as it goes
            yield page.pop()

    def look_up(
        self, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
    ) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, source, window, keys, rows, query)
