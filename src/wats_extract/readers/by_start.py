"""Read reports by windows on ``start``, paged with ``$skip``: for servers that refuse the keyset.

A window has an end, so rows that arrive meanwhile rarely shift its pages. Each reading begins some days
before the end of the previous one, because reports arrive late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from wats_extract.cursor import Cursor, StartCursor
from wats_extract.filters import odata
from wats_extract.filters.odata import time_range
from wats_extract.flow import Bounds, Everything, Row, Selection, Times
from wats_extract.http.client import Client
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.reader import Page, Query, RowsOf, never_ending

WIDTH = timedelta(days=30)

LOOK_BACK = timedelta(days=7)
"""How late a report may arrive and still be found by the next reading."""


def pages(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    *,
    cursor: Cursor | None,
    rows: RowsOf,
    query: Query,
    now: datetime,
) -> Iterator[Page]:
    """All rows from some days before the cursor, window by window.

    Raises:
        PagingError: the server ignores ``$skip``.
        RequestError: a request fails after all retries.
    """
    begin = _begin(keyset, client, selection, cursor, rows, query)
    largest = 0
    for window in _windows(begin, selection, now) if begin else ():
        for page in _window(keyset, client, window, rows, query):
            largest = max(largest, len(page))
            position = StartCursor(start=odata.timestamp_text(window.since or now))
            yield Page(page, [position] * len(page), cap=largest)


def split(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    *,
    cursor: Cursor | None,
    rows: RowsOf,
    query: Query,
    now: datetime,
    parts: int,
) -> list[Bounds]:
    """Divide everything from some days before the cursor into ranges of ``start``.

    Raises:
        RequestError: a request fails after all retries.
    """
    begin = _begin(keyset, client, selection, cursor, rows, query)
    end = min(selection.until or now, now)
    if begin is None or begin >= end:
        return [Everything()]
    edges = [begin + (end - begin) * place / parts for place in range(1, parts)]
    edges = sorted({edge.replace(microsecond=0) for edge in edges} - {begin.replace(microsecond=0)})
    lower = [begin if cursor is not None else None, *edges]
    return [Times(low, high) for low, high in zip(lower, [*edges, None], strict=True)]


def _window(
    keyset: Keyset, client: Client, window: Selection, rows: RowsOf, query: Query
) -> Iterator[list[Row]]:
    """The pages of one window. It ends with an empty page, because a short page is not the end."""
    skip, before = 0, [""]
    while page := _request(keyset, client, query | _page_query(keyset, window, skip), rows):
        if page[0].key == before[0]:
            raise never_ending(keyset.route, "the server ignores $skip")
        seen = set(before)  # a report that has just arrived shifts rows from the previous page to this one
        if fresh := [row for row in page if row.key not in seen]:
            yield fresh
        skip, before = skip + len(page), [row.key for row in page]


def _request(keyset: Keyset, client: Client, query: Query, rows: RowsOf) -> list[Row]:
    return client.get(keyset.route, query=query, decode=lambda reply: rows(reply.body))


def _page_query(keyset: Keyset, window: Selection, skip: int) -> Query:
    text = odata.both(window.filter, time_range(window))
    query: Query = {"$filter": text} if text else {}
    order = f"start asc,{keyset.key} asc"
    return query | {"$orderby": order, "$top": keyset.page_size} | ({"$skip": skip} if skip else {})


def _windows(begin: datetime, selection: Selection, now: datetime) -> Iterator[Selection]:
    """Adjacent windows. The last one ends with the selection, not now: station clocks may run ahead."""
    end = min(selection.until or now, now)
    while begin + WIDTH < end:
        yield replace(selection, since=begin, until=begin + WIDTH)
        begin += WIDTH
    yield replace(selection, since=begin)


def _begin(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    cursor: Cursor | None,
    rows: RowsOf,
    query: Query,
) -> datetime | None:
    """Where the first window begins; ``None`` if there are no rows at all."""
    if isinstance(cursor, StartCursor):
        back = cursor.instant - LOOK_BACK
        return max(back, selection.since or back)
    if selection.since is not None:
        return selection.since
    first = _request(keyset, client, query | _page_query(keyset, selection, 0) | {"$top": 1}, rows)
    return _start(first[0]) if first else None


def _start(row: Row) -> datetime:
    try:
        start = datetime.fromisoformat(row.record.start)
    except (AttributeError, TypeError, ValueError):
        return datetime(1990, 1, 1, tzinfo=UTC)  # before WATS existed, so that no report is missed
    return start if start.tzinfo else start.replace(tzinfo=UTC)
