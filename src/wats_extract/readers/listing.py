"""Lists in the order of a number: by keyset, and for reports by windows where a server refuses that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from wats_extract import events
from wats_extract.errors import KeysetRefused, WatsExtractError
from wats_extract.flow import Row
from wats_extract.readers import keyset as by_keyset
from wats_extract.readers import window as by_window
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.reading import Page, Query, Reading, RowsOf

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class NumberedList:
    """Rows with a whole number that only grows, and that identifies them.

    Attributes:
        keyset: How the route is paged.
    """

    keyset: Keyset

    paging = "keyset"
    keys_at_once = 40
    """So many uuids fit in the 2 kB of query that IIS takes."""

    @property
    def route(self) -> str:
        """Below ``/api``."""
        return self.keyset.route

    @property
    def cap(self) -> int:
        """Rows asked for in one request."""
        return self.keyset.page_size

    def proper(self, key: str) -> str:
        """A whole number, or nothing."""
        return key if key.isdecimal() else ""

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows after the reading's cursor, and some before it.

        Raises:
            RequestError: a page stays without a usable answer.
            PagingError: the pages contradict each other.
        """
        return by_keyset.pages(
            self.keyset, reading.client, reading.selection, cursor=reading.cursor, rows=rows, query=query
        )

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some keys; keys that the server does not have are left out.

        What is missing is asked for again until an answer adds nothing, for the server may cap pages
        silently.
        """
        name, found = self.keyset.key, dict[str, Row]()
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            text = f"{name} eq {missing[0]}" if len(missing) == 1 else f"{name} in ({','.join(missing)})"
            answer = reading.client.get(
                self.route,
                query=query | {"$filter": text, "$top": len(missing) + 1},
                decode=lambda reply: rows(reply.body),
            )
            if not (more := {row.key: row for row in answer if row.key in missing}):
                break
            found |= more
        return found


@dataclass(frozen=True)
class ReportList(NumberedList):
    """Reports, in the order in which the server processed them; their keys are uuids."""

    def proper(self, key: str) -> str:
        """A uuid in lower case, or nothing: nothing else goes into a filter or a path."""
        return key.lower() if _UUID.fullmatch(key) else ""

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows after the reading's cursor, and some before it.

        Raises:
            RequestError: a page stays without a usable answer.
            PagingError: the pages contradict each other.
        """
        if reading.cursor is None or "overlap_from" in reading.cursor:
            try:
                yield from _not_before_the_second(super().pages(reading, rows, query))
                return
            except KeysetRefused as error:
                reading.listen(
                    events.Noted(
                        f"{reading.resource}: this server does not page by {self.keyset.field} "
                        f"({error.message}); reading windows on start instead, which takes more requests"
                    )
                )
        yield from by_window.pages(
            self.keyset,
            reading.client,
            reading.selection,
            cursor=reading.cursor,
            rows=rows,
            query=query,
            now=datetime.now(UTC),
        )


def _not_before_the_second(pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages; the first waits for the second, whose request is the first that can be refused."""
    waiting = list(islice(pages, 1))
    try:
        waiting += islice(pages, 1)
    except KeysetRefused:
        raise
    except WatsExtractError:
        yield from waiting
        raise
    while waiting:
        yield waiting.pop(0)  # nothing is kept of what has been given
    yield from pages
