"""One request that gives everything: small lists that the server does not page.

Nothing says that an answer was cut, but a list of exactly 1,000 or 10,000 rows, WATS's usual caps, may
well be: it is landed, and recorded as a ``WINDOW_SATURATED`` failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wats_extract.errors import RequestError
from wats_extract.flow import USUAL_CAPS, Row
from wats_extract.readers.reading import Page, Query, Reading, RowsOf, everything_at_once


@dataclass(frozen=True)
class Snapshot:
    """A route that gives all its rows at once.

    Attributes:
        route: Below ``/api``.
        query: What it is asked.
        instead: What a server that refuses ``query`` is asked, one after the other.
    """

    route: str
    query: Mapping[str, str | int | bool] = field(default_factory=dict)
    instead: tuple[Mapping[str, str | int | bool], ...] = ()

    paging = "single request"
    cap = None
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """Any key may be one of its rows'."""
        return key

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """The one page that there is, or one for each question of ``instead``.

        Raises:
            RequestError: it stays without a usable answer.
        """
        try:
            yield from self._page(reading, rows, {**self.query, **query})
        except RequestError as error:
            if error.http_status != 400 or not self.instead:
                raise
            for question in self.instead:
                yield from self._page(reading, rows, {**question, **query})

    def _page(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        found = reading.client.get(self.route, query=query, decode=lambda reply: rows(reply.body))
        count = len(found)
        cut = f"exactly {count:,} rows came, a usual cap: there may be more" if count in USUAL_CAPS else ""
        if found:
            yield Page(found, [None] * count, cap=count, saturated=cut)

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some keys."""
        return everything_at_once(self, reading, keys, rows, query)
