"""The rows of a route in the order of its cursor: by keyset, or by windows where a server refuses that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from wats_extract import events
from wats_extract.errors import KeysetRefused
from wats_extract.flow import Row
from wats_extract.readers import keyset as by_keyset
from wats_extract.readers import window as by_window
from wats_extract.readers.keyset import Keyset, Query
from wats_extract.readers.reading import Page, Reading

KEYS_PER_LOOK_UP = 40
"""So many uuids fit in the 2 kB of query that IIS takes."""


def pages(
    keyset: Keyset, reading: Reading, rows: Callable[[bytes], list[Row]], query: Query
) -> Iterator[Page]:
    """All rows after the reading's cursor, and some before it.

    Raises:
        RequestError: a page stays without a usable answer.
        PagingError: the pages contradict each other.
    """
    client, selection, cursor = reading.client, reading.selection, reading.cursor
    if cursor is None or "overlap_from" in cursor:
        try:
            yield from by_keyset.pages(keyset, client, selection, cursor=cursor, rows=rows, query=query)
            return
        except KeysetRefused as error:
            reading.listen(
                events.Noted(
                    f"{reading.resource}: this server does not page by {keyset.field} ({error.message}); "
                    "reading windows on start instead, which takes more requests"
                )
            )
    now = datetime.now(UTC)
    yield from by_window.pages(keyset, client, selection, cursor=cursor, rows=rows, query=query, now=now)


def look_up(
    keyset: Keyset, reading: Reading, keys: list[str], rows: Callable[[bytes], list[Row]], query: Query
) -> dict[str, Row]:
    """The rows of some keys; keys that the server does not have are left out.

    ``keys`` are at most ``KEYS_PER_LOOK_UP`` uuids, checked to be such. What is missing is asked for
    again until an answer adds nothing, for the server may cap pages silently.
    """
    found: dict[str, Row] = {}
    while missing := [key for key in dict.fromkeys(keys) if key not in found]:
        text = (
            f"{keyset.key} eq {missing[0]}" if len(missing) == 1 else f"{keyset.key} in ({','.join(missing)})"
        )
        answer = reading.client.get(
            keyset.route,
            query=query | {"$filter": text, "$top": len(missing) + 1},
            decode=lambda reply: rows(reply.body),
        )
        if not (more := {row.key: row for row in answer if row.key in missing}):
            break
        found |= more
    return found
