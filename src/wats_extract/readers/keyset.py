"""Keyset paging: rows in the order of a number that only grows, each page from where the last one ended.

``timeStamp gt N``, ascending, 10,000 a page. Three things make it complete:

- *A short page proves nothing.* Some servers cap pages silently. Reading ends with an empty page, or
  with a page that holds nothing new and is smaller than pages which this server has been seen to give.
- *Ties.* Rows that share the last number of a page may have been cut off, so the next page begins with
  that number again; repeats are dropped. A tie larger than a page is read on by ``$skip``, each page from
  the last row of the one before: where that row is not found again, others have moved up, unseen.
- *Rows become visible out of order*, because servers process reports in parallel. Each reading begins
  a little before the cursor (5,000 numbers, but no more rows than the server gives in one answer) and
  leaves out what has landed in the same version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, overload

from wats_extract.errors import KeysetRefused, RequestError
from wats_extract.filters import odata
from wats_extract.filters.odata import time_range
from wats_extract.flow import Cursor, Row, Selection
from wats_extract.http.client import Client
from wats_extract.readers.reading import Page, Query, never_ending

SMALLEST_CAP = 10
"""No server caps pages below its own default of 10 rows."""

MOST_RESTARTS = 5
"""Times that a tie which moves while it is read is read again."""


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
    """Where a reading stands between two requests.

    Attributes:
        after: All rows up to this number have been given; below 0 at the very beginning.
        refusable: Whether no request that compares the field has been answered yet.
        given: Rows beyond it that have been given, each with a number that it does not exceed.
        largest: The most rows of an answer so far.
        skip: Rows to skip, while a tie larger than a page is read.
        anchor: The row that the next answer has to begin with; ``None`` for any.
        restarts: How often the tie has been begun again.
        before: The last numbers that were given.
    """

    after: int = -1
    refusable: bool = True
    given: dict[Hashable, int] = field(default_factory=dict)
    largest: int = 0
    skip: int | None = None
    anchor: Hashable = None
    restarts: int = 0
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
        KeysetRefused: the server does not filter or order by the field; nothing but the first page has
            been given then.
        PagingError: the pages contradict each other.
        RequestError: a page stays without a usable answer.
    """
    walk = _Walk() if cursor is None else _Walk(after=int(cursor["overlap_from"]))
    page_size = keyset.page_size
    if cursor is None and selection.limit is not None:
        page_size = min(page_size, max(selection.limit, SMALLEST_CAP))
    while True:
        asked = query | _question(keyset, selection, walk, page_size)
        answer = _ask(keyset, client, asked, rows, refusable=walk.refusable)
        walk.refusable = walk.after < 0
        if walk.anchor is not None and (not answer or _identity(answer[0]) != walk.anchor):
            _begin_tie_again(keyset, walk)
            continue
        _check_order(keyset, walk, [row.version for row in answer if row.version is not None])
        given, upto = walk.given, max(walk.given.values(), default=-1)
        fresh = [
            (place, row)
            for place, row in _placed(answer, walk)
            if place > upto or _identity(row) not in given  # what is beyond it has not been given
        ]
        if not fresh and len(answer) < max(walk.largest, min(SMALLEST_CAP, page_size)):
            return
        walk.largest = max(walk.largest, len(answer))
        found = []
        if fresh:
            cursors = _Cursors(keyset, walk, [place for place, _ in fresh])
            found = [Page([row for _, row in fresh], cursors, cap=walk.largest)]
        _advance(walk, answer)
        del answer, fresh  # a page takes tens of megabytes; nothing is kept of one that has been given
        while found:
            yield found.pop()


def _question(keyset: Keyset, selection: Selection, walk: _Walk, page_size: int) -> dict[str, Any]:
    after = f"{keyset.field} gt {walk.after}" if walk.after >= 0 else ""
    text = odata.both(selection.filter, time_range(selection), after)
    question: dict[str, Any] = {"$filter": text} if text else {}
    question |= {"$orderby": f"{keyset.field} asc", "$top": page_size}
    if walk.skip is not None:
        question |= {"$orderby": f"{keyset.field} asc,{keyset.key} asc", "$skip": walk.skip}
    return question


def _ask(
    keyset: Keyset, client: Client, query: Query, rows: Callable[[bytes], list[Row]], *, refusable: bool
) -> list[Row]:
    try:
        return client.get(keyset.route, query=query, decode=lambda reply: rows(reply.body))
    except RequestError as error:
        if error.http_status != 400 or not refusable:
            raise
        raise KeysetRefused(
            error.message,
            code=error.code,
            url=error.url,
            http_status=400,
            payload=error.payload,
            hint="Look at the resource's filter.",
        ) from error


def _placed(rows: Sequence[Row], walk: _Walk) -> Iterator[tuple[int, Row]]:
    """Each row with its number; one that cannot be read stands where the one before it does."""
    place = walk.after
    for row in rows:
        place = place if row.version is None else row.version
        yield place, row


def _identity(row: Row) -> Hashable:
    """What a row is known by when it comes again; the key of one that cannot be read may be its place."""
    return row.raw or (row.key, row.version)


def _check_order(keyset: Keyset, walk: _Walk, numbers: Sequence[int]) -> None:
    if any(later < earlier for earlier, later in pairwise(numbers)):
        problem = f"the server ignores $orderby={keyset.field}"
        if walk.largest:
            raise never_ending(keyset.route, problem)
        raise KeysetRefused(problem, code="API_ERROR", url=keyset.route, http_status=400)
    if numbers and numbers[0] <= walk.after:
        raise never_ending(keyset.route, f"the server ignores '{keyset.field} gt {walk.after}'")


class _Cursors(Sequence[Cursor]):
    """The cursor after each row, made when it is asked for: most never are.

    It reaches back by the overlap, but not over more rows than one answer.
    """

    def __init__(self, keyset: Keyset, walk: _Walk, places: Sequence[int]) -> None:
        self._overlap, self._reach = keyset.overlap, max(walk.largest, SMALLEST_CAP)
        self._line, self._before = [*walk.before, *places], len(walk.before)
        walk.before = self._line[-keyset.page_size :]

    def __len__(self) -> int:
        return len(self._line) - self._before

    @overload
    def __getitem__(self, index: int) -> Cursor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cursor]: ...
    def __getitem__(self, index: int | slice) -> Cursor | list[Cursor]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        at = range(self._before, len(self._line))[index]
        place = self._line[at]
        back = self._line[at - self._reach] if at >= self._reach else place - self._overlap
        start = min(max(place - self._overlap, back, 0), place - 1)
        return {"time_stamp": place, "overlap_from": start}


def _advance(walk: _Walk, rows: Sequence[Row]) -> None:
    """Go on after the last number but one, so that ties of the last number are seen again."""
    numbers = [row.version for row in rows if row.version is not None]
    last = numbers[-1] if numbers else sys.maxsize
    begun = next((i for i in reversed(range(len(rows))) if rows[i].version not in (None, last)), None)
    if begun is not None:
        walk.after = rows[begun].version or 0
        walk.given = {row: number for row, number in walk.given.items() if number > walk.after}
        walk.skip, walk.anchor, walk.restarts = None, None, 0
    elif walk.skip is None or (numbers and last != walk.after + 1):
        # Nothing but one tie: read it again, in an order that skipping can rely on.
        walk.after = last - 1 if numbers else walk.after
        walk.skip, walk.anchor = 0, None
    else:
        anchored = len(rows) > 1
        walk.skip += len(rows) - anchored
        walk.anchor = _identity(rows[-1]) if anchored else None
    walk.given |= {_identity(row): last for row in rows[0 if begun is None else begun + 1 :]}


def _begin_tie_again(keyset: Keyset, walk: _Walk) -> None:
    walk.skip, walk.anchor, walk.restarts = 0, None, walk.restarts + 1
    if walk.restarts > MOST_RESTARTS:
        raise never_ending(keyset.route, "the server ignores $skip")
