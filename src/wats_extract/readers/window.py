"""Windows on ``start``, each read by ``$skip``: for servers that refuse the keyset.

A window is closed, so rows that arrive meanwhile rarely shift it; each reading begins some days before
the last one's end, because reports arrive late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from wats_extract.filters import odata
from wats_extract.filters.odata import time_range
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.http.client import Client
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.reading import Page, Query, never_ending

WIDTH = timedelta(days=30)
LOOK_BACK = timedelta(days=7)
"""How late a report may arrive and still be found by the next reading."""


def pages(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    *,
    cursor: Cursor | None,
    rows: Callable[[bytes], list[Row]],
    query: Query,
    now: datetime,
) -> Iterator[Page]:
    """All rows from some days before the cursor, window by window.

    Raises:
        PagingError: the server ignores ``$skip``.
        RequestError: a page stays without a usable answer.
    """
    begin = _begin(keyset, client, selection, cursor, rows, query)
    largest = 0
    for window in _windows(begin, selection, now) if begin else ():
        for answer in _window(keyset, client, window, rows, query):
            largest = max(largest, len(answer))
            position: Cursor = {"start": odata.timestamp_text(window.since or now)}
            yield Page(answer, [position] * len(answer), cap=largest)


def _window(
    keyset: Keyset, client: Client, window: Selection, rows: Callable[[bytes], list[Row]], query: Query
) -> Iterator[list[Row]]:
    """The answers of one window; an empty one ends it, for a short one proves nothing."""
    skip, before = 0, [""]
    while answer := _ask(keyset, client, query | _question(keyset, window, skip), rows):
        if answer[0].key == before[0]:
            raise never_ending(keyset.route, "the server ignores $skip")
        seen = set(before)  # again on this page, where a report that has arrived moves the others on
        if fresh := [row for row in answer if row.key not in seen]:
            yield fresh
        skip, before = skip + len(answer), [row.key for row in answer]


def _ask(keyset: Keyset, client: Client, query: Query, rows: Callable[[bytes], list[Row]]) -> list[Row]:
    return client.get(keyset.route, query=query, decode=lambda reply: rows(reply.body))


def _question(keyset: Keyset, window: Selection, skip: int) -> Query:
    text = odata.both(window.filter, time_range(window))
    question: Query = {"$filter": text} if text else {}
    order = f"start asc,{keyset.key} asc"
    return question | {"$orderby": order, "$top": keyset.page_size} | ({"$skip": skip} if skip else {})


def _windows(begin: datetime, selection: Selection, now: datetime) -> Iterator[Selection]:
    """Windows side by side; the last one has no end of its own, for clocks of stations may run ahead."""
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
    rows: Callable[[bytes], list[Row]],
    query: Query,
) -> datetime | None:
    """Where the first window begins; ``None`` where there is nothing at all."""
    if cursor is not None and "start" in cursor:
        back = datetime.fromisoformat(cursor["start"]) - LOOK_BACK
        return max(back, selection.since or back)
    if selection.since is not None:
        return selection.since
    first = _ask(keyset, client, query | _question(keyset, selection, 0) | {"$top": 1}, rows)
    return _start(first[0]) if first else None


def _start(row: Row) -> datetime:
    try:
        start = datetime.fromisoformat(row.record.start)
    except (AttributeError, TypeError, ValueError):
        return datetime(1990, 1, 1, tzinfo=UTC)  # before WATS: all windows are empty until its reports
    return start if start.tzinfo else start.replace(tzinfo=UTC)
