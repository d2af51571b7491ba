"""Keyset paging: rows in the order of a number that only grows, each page from where the last one ended.

``timeStamp gt N``, ascending, 10,000 a page. Three things make it complete:

- *A short page proves nothing.* Some servers cap pages silently. Reading ends with an empty page, or
  with a page that holds nothing new and is smaller than pages which this server has been seen to give.
- *Ties.* Rows that share the last number of a page may have been cut off, so the next page begins with
  that number again; repeats are dropped by key. A tie larger than a page is read on by ``$skip``.
- *Rows become visible out of order*, because servers process reports in parallel. Each reading begins
  a little before the cursor (5,000 numbers, but no more rows than the server gives in one answer) and
  leaves out what has landed in the same version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from wats_extract import odata
from wats_extract.client import Client
from wats_extract.errors import KeysetRefused, RequestError
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.readers.reading import Page, never_ending, time_range

Query: TypeAlias = dict[str, str | int | bool]

SMALLEST_CAP = 10
"""No server caps pages below its own default of 10 rows."""


@dataclass(frozen=True)
class Keyset:
    """How a route is paged by key.

    Attributes:
        route: Below ``/api``.
        field: The number that only grows.
        key: The field that identifies a row.
        page_size: Rows asked for in one request, the server's cap.
        overlap: Numbers before the cursor that are read again.
    """

    route: str
    field: str
    key: str
    page_size: int = 10_000
    overlap: int = 5_000


@dataclass
class _Walk:
    """Where a reading stands between two requests."""

    after: int | None
    largest: int = 0
    skip: int | None = None
    last: int = -1
    tied: set[str] = field(default_factory=set)
    before: list[int] = field(default_factory=list)


def pages(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    *,
    cursor: Cursor | None,
    rows: Callable[[bytes], list[Row]],
    query: Query,
) -> Iterator[Page]:
    """All rows after the cursor, and some before it, page by page.

    Raises:
        KeysetRefused: the server does not filter or order by the field.
        PagingError: the pages contradict each other.
        RequestError: a page stays without a usable answer.
    """
    walk = _Walk(after=None if cursor is None else int(cursor["overlap_from"]))
    page_size = keyset.page_size if cursor else min(keyset.page_size, selection.limit or keyset.page_size)
    while True:
        asked = query | _question(keyset, selection, walk, page_size)
        answer = _placed(_ask(keyset, client, asked, rows), walk)
        if not answer:
            return
        _check_order(keyset, walk, [place for place, _ in answer])
        fresh = [(at, row) for at, row in answer if at != walk.last or row.key not in walk.tied]
        ended = not fresh and len(answer) < max(walk.largest, SMALLEST_CAP)
        walk.largest = max(walk.largest, len(answer))
        if fresh:
            cursors = _cursors(keyset, walk, [place for place, _ in fresh])
            yield Page([row for _, row in fresh], cursors, cap=walk.largest)
        if ended:
            return
        _advance(walk, answer)


def _question(keyset: Keyset, selection: Selection, walk: _Walk, page_size: int) -> dict[str, Any]:
    after = "" if walk.after is None else f"{keyset.field} gt {walk.after}"
    text = odata.both(selection.filter, time_range(selection), after)
    question: dict[str, Any] = {"$filter": text} if text else {}
    question |= {"$orderby": f"{keyset.field} asc", "$top": page_size}
    if walk.skip is not None:
        question |= {"$orderby": f"{keyset.field} asc,{keyset.key} asc", "$skip": walk.skip}
    return question


def _ask(keyset: Keyset, client: Client, query: Query, rows: Callable[[bytes], list[Row]]) -> list[Row]:
    try:
        return client.get(keyset.route, query=query, decode=lambda reply: rows(reply.body))
    except RequestError as error:
        if error.http_status != 400:
            raise
        raise KeysetRefused(
            error.message,
            code=error.code,
            url=error.url,
            http_status=400,
            payload=error.payload,
            hint="Look at the resource's filter.",
        ) from error


def _placed(rows: Sequence[Row], walk: _Walk) -> list[tuple[int, Row]]:
    """Each row with its number; one that cannot be read stands where the one before it does."""
    place = walk.after or 0
    placed = []
    for row in rows:
        place = place if row.version is None else row.version
        placed.append((place, row))
    return placed


def _check_order(keyset: Keyset, walk: _Walk, places: Sequence[int]) -> None:
    if any(later < earlier for earlier, later in pairwise(places)):
        raise KeysetRefused(
            f"the server ignores $orderby={keyset.field}", code="API_ERROR", url=keyset.route, http_status=400
        )
    if walk.after is not None and places[0] < walk.after:
        raise never_ending(keyset.route, f"the server ignores '{keyset.field} gt {walk.after}'")


def _cursors(keyset: Keyset, walk: _Walk, places: Sequence[int]) -> list[Cursor]:
    """The cursor after each row. It reaches back by the overlap, but not over more rows than one answer."""
    line = [*walk.before, *places]
    reach = max(walk.largest, SMALLEST_CAP)
    cursors: list[Cursor] = []
    for index, place in enumerate(places, start=len(walk.before)):
        back = line[index - reach] if index >= reach else place - keyset.overlap
        start = min(max(place - keyset.overlap, back, 0), place - 1)
        cursors.append({"time_stamp": place, "overlap_from": start})
    walk.before = line[-keyset.page_size :]
    return cursors


def _advance(walk: _Walk, rows: Sequence[tuple[int, Row]]) -> None:
    """Go on after the last number but one, so that ties of the last number are seen again."""
    last = rows[-1][0]
    if walk.last != last:
        walk.tied = set()
    walk.last = last
    walk.tied |= {row.key for place, row in rows if place == last}
    if rows[0][0] != last:
        walk.after = next(place for place, _ in reversed(rows) if place != last)
        walk.skip = None
    else:  # nothing but one tie: go on within it, in an order that skipping can rely on
        walk.skip = 0 if walk.skip is None else walk.skip + len(rows)
