"""Keyset paging: rows in the order of a growing number, each page after the last row of the previous page.

``timeStamp gt N``, ascending, 10,000 rows per page. Three rules make the result complete:

- *A short page is not the end.* Some servers cap pages silently. Reading ends with an empty page, or with a
  page that has no new rows and is smaller than other pages of this server.
- *Ties.* The end of a page may cut off rows that share its last number. So the next page begins with that
  number again, and repeated rows are dropped. A tie larger than a page is read on by ``$skip``; each of these
  pages begins with the last row of the previous one. If it does not, the tie has moved and is read again.
- *Rows become visible out of order*, because servers process reports in parallel. Each reading begins a
  little before the cursor (5,000 numbers, but no more rows than one page) and leaves out rows that are loaded
  in the same version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, overload

from wats_extract.cursor import Cursor, NumberCursor
from wats_extract.errors import KeysetRefused, RequestError
from wats_extract.filters import odata
from wats_extract.filters.odata import time_range
from wats_extract.flow import Bounds, Everything, Numbers, Row, Selection
from wats_extract.http.client import Client
from wats_extract.readers.reader import Page, Query, never_ending

SMALLEST_CAP = 10
"""No server caps pages below its own default of 10 rows."""

MOST_RESTARTS = 5
"""How often a tie that moves while it is read is read again."""


@dataclass(frozen=True)
class Keyset:
    """How a route is paged by a number.

    Attributes:
        route: The route below ``/api``.
        field: The growing number that rows are ordered by.
        key: The field that identifies a row.
        page_size: The number of rows per request, the server's cap.
        overlap: How many numbers before the cursor are read again.
    """

    route: str
    field: str
    key: str
    page_size: int = 10_000
    overlap: int = 5_000


@dataclass
class _Walk:
    """The state of a reading between two requests.

    Attributes:
        after: All rows up to this number are returned; negative at the beginning.
        refusable: Whether the server has not answered any request yet that compares the field.
        given: Rows beyond ``after`` that are returned, each with a number that it does not exceed.
        largest: The largest number of rows in a response so far.
        skip: How many rows to skip while a tie larger than a page is read.
        anchor: The row that the next response has to begin with; ``None`` for any.
        restarts: How often the tie was begun again.
        before: The numbers of the rows returned last.
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
    bounds: Numbers = Numbers(),  # noqa: B008 - frozen
) -> Iterator[Page]:
    """All rows within the bounds after the cursor, and some before it, page by page.

    Raises:
        KeysetRefused: the server does not filter or order by the field. At most the first page has been
            returned then.
        PagingError: the pages contradict each other.
        RequestError: a request fails after all retries.
    """
    walk = _Walk(after=_beginning(cursor, bounds))
    page_size = keyset.page_size
    if cursor is None and selection.limit is not None:
        page_size = min(page_size, max(selection.limit, SMALLEST_CAP))
    while True:
        asked = query | _question(keyset, selection, walk, page_size, bounds)
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
            if place > upto or _identity(row) not in given  # rows beyond it are certainly new
        ]
        if not fresh and len(answer) < max(walk.largest, min(SMALLEST_CAP, page_size)):
            return
        walk.largest = max(walk.largest, len(answer))
        found = []
        if fresh:
            cursors = _Cursors(keyset, walk, [place for place, _ in fresh])
            found = [Page([row for _, row in fresh], cursors, cap=walk.largest)]
        _advance(walk, answer)
        del answer, fresh  # a page takes tens of megabytes: keep nothing of it while the next one is read
        while found:
            yield found.pop()


def split(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    *,
    cursor: Cursor | None,
    rows: Callable[[bytes], list[Row]],
    query: Query,
    parts: int,
) -> list[Bounds]:
    """Ranges of the number that together cover everything after the cursor; the last one has no end.

    Two requests find the first and the last number.

    Raises:
        KeysetRefused: the server does not filter or order by the field.
        RequestError: a request fails after all retries.
    """
    begin = _beginning(cursor, Numbers())
    first = _outermost(keyset, client, selection, begin, rows, query, order="asc")
    last = _outermost(keyset, client, selection, begin, rows, query, order="desc")
    if first is None or last is None:
        return [Everything()]
    if last < first:
        raise KeysetRefused(_ignored(keyset), code="API_ERROR", url=keyset.route, http_status=400)
    edges = sorted(
        {first - 1 + place * (last - first + 1) // parts for place in range(1, parts)} - {first - 1}
    )
    lower = [begin if begin >= 0 else None, *edges]
    return [Numbers(after, upto) for after, upto in zip(lower, [*edges, None], strict=True)]


def _outermost(
    keyset: Keyset,
    client: Client,
    selection: Selection,
    begin: int,
    rows: Callable[[bytes], list[Row]],
    query: Query,
    *,
    order: str,
) -> int | None:
    """The first or last number there is after ``begin``; ``None`` if there are no rows."""
    text = odata.both(selection.filter, time_range(selection), f"{keyset.field} gt {begin}")
    outermost = query | {"$filter": text, "$orderby": f"{keyset.field} {order}", "$top": 1}
    found = _ask(keyset, client, outermost, rows, refusable=True)
    return found[0].version if found else None


def _beginning(cursor: Cursor | None, bounds: Numbers) -> int:
    """The number after which to begin; -1 for the beginning."""
    if bounds.after is not None:
        return bounds.after
    return cursor.overlap_from if isinstance(cursor, NumberCursor) else -1


def _question(
    keyset: Keyset, selection: Selection, walk: _Walk, page_size: int, bounds: Numbers
) -> dict[str, Any]:
    after = f"{keyset.field} gt {walk.after}" if walk.after >= 0 else ""
    upto = f"{keyset.field} le {bounds.upto}" if bounds.upto is not None else ""
    text = odata.both(selection.filter, time_range(selection), after, upto)
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
            hint="Check the resource's filter.",
        ) from error


def _placed(rows: Sequence[Row], walk: _Walk) -> Iterator[tuple[int, Row]]:
    """Each row with its number; a row that cannot be read has the number of the row before it."""
    place = walk.after
    for row in rows:
        place = place if row.version is None else row.version
        yield place, row


def _identity(row: Row) -> Hashable:
    """Identifies a row when it comes again: the key of a row that cannot be read may only be its place."""
    return row.raw or (row.key, row.version)


def _check_order(keyset: Keyset, walk: _Walk, numbers: Sequence[int]) -> None:
    if any(later < earlier for earlier, later in pairwise(numbers)):
        if walk.largest:
            raise never_ending(keyset.route, _ignored(keyset))
        raise KeysetRefused(_ignored(keyset), code="API_ERROR", url=keyset.route, http_status=400)
    if numbers and numbers[0] <= walk.after:
        raise never_ending(keyset.route, f"the server ignores '{keyset.field} gt {walk.after}'")


def _ignored(keyset: Keyset) -> str:
    return f"the server ignores $orderby={keyset.field}"


class _Cursors(Sequence[Cursor]):
    """The cursor after each row, created on access, because most are never needed.

    A cursor reaches back by the overlap, but not over more rows than one page.
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
        return NumberCursor(time_stamp=place, overlap_from=start)


def _advance(walk: _Walk, rows: Sequence[Row]) -> None:
    """Continue after the last number but one, so that rows with the last number are read again."""
    numbers = [row.version for row in rows if row.version is not None]
    last = numbers[-1] if numbers else sys.maxsize
    begun = next((i for i in reversed(range(len(rows))) if rows[i].version not in (None, last)), None)
    if begun is not None:
        walk.after = rows[begun].version or 0
        walk.given = {row: number for row, number in walk.given.items() if number > walk.after}
        walk.skip, walk.anchor, walk.restarts = None, None, 0
    elif walk.skip is None or (numbers and last != walk.after + 1):
        # The whole page is one tie: read it again, in an order that $skip can rely on.
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
