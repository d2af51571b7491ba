"""Keyset paging: rows in the order of a growing number, each page after the last row of the previous page.

Requests say ``timeStamp gt N``, ascending, 10,000 rows per page. Three rules make the result complete:

- *A short page is not the end.* Some servers cap pages silently. Reading ends with an empty page, or with a
  page that has no new rows and is smaller than other pages of this server.
- *Ties.* The end of a page may separate rows with the same number. So the next page begins with that number
  again, and repeated rows are dropped. If a tie is larger than a page, the reader continues with ``$skip``:
  each of these pages begins with the last row of the previous one. If it does not, rows have moved meanwhile,
  and the tie is read again.
- *Rows become visible out of order*, because servers process reports in parallel. Each reading begins a
  little before the cursor (5,000 numbers, but no more rows than one page), and skips rows that are loaded in
  the same version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
"""How often a tie is read again because its rows move meanwhile."""


@dataclass(frozen=True)
class Keyset:
    """A route that is paged by a growing number.

    Attributes:
        route: The route below ``/api``.
        field: The field with the growing number.
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
class _State:
    """The state of a reading between two requests.

    Attributes:
        after: All rows up to this number have been returned; negative at the beginning.
        refusable: Whether no request that compares the field has succeeded yet.
        returned: The rows beyond ``after`` that have been returned, each with a number not below its own.
        largest: The largest number of rows in a response so far.
        skip: How many rows to skip, while a tie larger than a page is read.
        anchor: The row that the next response has to begin with; ``None`` for any row.
        restarts: How often the tie was started again.
        latest: The numbers of the rows returned last.
    """

    after: int = -1
    refusable: bool = True
    returned: dict[Hashable, int] = field(default_factory=dict)
    largest: int = 0
    skip: int | None = None
    anchor: Hashable = None
    restarts: int = 0
    latest: list[int] = field(default_factory=list)


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
            yielded then.
        PagingError: the pages contradict each other.
        RequestError: a request fails after all retries.
    """
    selection = _with_late_uploads(keyset, selection, cursor)
    state = _State(after=_beginning(cursor, bounds))
    page_size = keyset.page_size
    if cursor is None and selection.limit is not None:
        page_size = min(page_size, max(selection.limit, SMALLEST_CAP))
    while True:
        page_query = query | _page_query(keyset, selection, state, page_size, bounds)
        found = _request(keyset, client, page_query, rows, refusable=state.refusable)
        state.refusable = state.after < 0
        if state.anchor is not None and (not found or _identity(found[0]) != state.anchor):
            _restart_tie(keyset, state)
            continue
        _check_order(keyset, state, [row.version for row in found if row.version is not None])
        returned, upto = state.returned, max(state.returned.values(), default=-1)
        fresh = [
            (number, row)
            for number, row in _numbered(found, state)
            if number > upto or _identity(row) not in returned  # rows beyond upto are always new
        ]
        if not fresh and len(found) < max(state.largest, min(SMALLEST_CAP, page_size)):
            return
        state.largest = max(state.largest, len(found))
        page = []
        if fresh:
            cursors = _Cursors(keyset, state, [number for number, _ in fresh])
            page = [Page([row for _, row in fresh], cursors, cap=state.largest)]
        _advance(state, found)
        del found, fresh  # a page takes tens of megabytes: keep no reference while the next one is read
        if page:
            yield page.pop()


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
    """Divide everything after the cursor into ranges of the number; the last range has no upper bound.

    Two requests find the first and the last number.

    Raises:
        KeysetRefused: the server does not filter or order by the field.
        RequestError: a request fails after all retries.
    """
    selection = _with_late_uploads(keyset, selection, cursor)
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
    """The first or the last number after ``begin``; ``None`` if there are no rows."""
    text = odata.both(selection.filter, time_range(selection), f"{keyset.field} gt {begin}")
    outermost = query | {"$filter": text, "$orderby": f"{keyset.field} {order}", "$top": 1}
    found = _request(keyset, client, outermost, rows, refusable=True)
    return found[0].version if found else None


def _with_late_uploads(keyset: Keyset, selection: Selection, cursor: Cursor | None) -> Selection:
    """The selection, in which ``since`` bounds only the rows up to the cursor, if late uploads are wanted."""
    if not (selection.late_uploads and selection.since and isinstance(cursor, NumberCursor)):
        return selection
    late = f"{keyset.field} gt {cursor.time_stamp} or start ge {odata.timestamp_text(selection.since)}"
    return replace(selection, since=None, filter=odata.both(selection.filter, late))


def _beginning(cursor: Cursor | None, bounds: Numbers) -> int:
    """The number after which reading begins; -1 for the first row."""
    if bounds.after is not None:
        return bounds.after
    return cursor.overlap_from if isinstance(cursor, NumberCursor) else -1


def _page_query(
    keyset: Keyset, selection: Selection, state: _State, page_size: int, bounds: Numbers
) -> dict[str, Any]:
    after = f"{keyset.field} gt {state.after}" if state.after >= 0 else ""
    upto = f"{keyset.field} le {bounds.upto}" if bounds.upto is not None else ""
    text = odata.both(selection.filter, time_range(selection), after, upto)
    query: dict[str, Any] = {"$filter": text} if text else {}
    query |= {"$orderby": f"{keyset.field} asc", "$top": page_size}
    if state.skip is not None:
        query |= {"$orderby": f"{keyset.field} asc,{keyset.key} asc", "$skip": state.skip}
    return query


def _request(
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


def _numbered(rows: Sequence[Row], state: _State) -> Iterator[tuple[int, Row]]:
    """Each row with its number; a row that cannot be decoded gets the number of the row before it."""
    number = state.after
    for row in rows:
        number = number if row.version is None else row.version
        yield number, row


def _identity(row: Row) -> Hashable:
    """Identifies a row in later responses. A row that cannot be decoded may have no key but its place."""
    return row.raw or (row.key, row.version)


def _check_order(keyset: Keyset, state: _State, numbers: Sequence[int]) -> None:
    if any(later < earlier for earlier, later in pairwise(numbers)):
        if state.largest:
            raise never_ending(keyset.route, _ignored(keyset))
        raise KeysetRefused(_ignored(keyset), code="API_ERROR", url=keyset.route, http_status=400)
    if numbers and numbers[0] <= state.after:
        raise never_ending(keyset.route, f"the server ignores '{keyset.field} gt {state.after}'")


def _ignored(keyset: Keyset) -> str:
    return f"the server ignores $orderby={keyset.field}"


class _Cursors(Sequence[Cursor]):
    """The cursor after each row, created on access because most are never needed.

    The next reading begins before the cursor, by the overlap but by no more rows than one page.
    """

    def __init__(self, keyset: Keyset, state: _State, numbers: Sequence[int]) -> None:
        self._overlap, self._most_rows = keyset.overlap, max(state.largest, SMALLEST_CAP)
        self._numbers, self._first = [*state.latest, *numbers], len(state.latest)
        state.latest = self._numbers[-keyset.page_size :]

    def __len__(self) -> int:
        return len(self._numbers) - self._first

    @overload
    def __getitem__(self, index: int) -> Cursor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cursor]: ...
    def __getitem__(self, index: int | slice) -> Cursor | list[Cursor]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        at = range(self._first, len(self._numbers))[index]
        number = self._numbers[at]
        by_rows = self._numbers[at - self._most_rows] if at >= self._most_rows else number - self._overlap
        start = min(max(number - self._overlap, by_rows, 0), number - 1)
        return NumberCursor(time_stamp=number, overlap_from=start)


def _advance(state: _State, rows: Sequence[Row]) -> None:
    """Continue after the last number but one, so that rows with the last number are read again."""
    numbers = [row.version for row in rows if row.version is not None]
    last = numbers[-1] if numbers else sys.maxsize
    before_tie = next((i for i in reversed(range(len(rows))) if rows[i].version not in (None, last)), None)
    if before_tie is not None:
        state.after = rows[before_tie].version or 0
        state.returned = {row: number for row, number in state.returned.items() if number > state.after}
        state.skip, state.anchor, state.restarts = None, None, 0
    elif state.skip is None or (numbers and last != state.after + 1):
        # The whole page is one tie: read it again, in an order that $skip can rely on.
        state.after = last - 1 if numbers else state.after
        state.skip, state.anchor = 0, None
    else:
        anchored = len(rows) > 1
        state.skip += len(rows) - anchored
        state.anchor = _identity(rows[-1]) if anchored else None
    state.returned |= {_identity(row): last for row in rows[0 if before_tie is None else before_tie + 1 :]}


def _restart_tie(keyset: Keyset, state: _State) -> None:
    state.skip, state.anchor, state.restarts = 0, None, state.restarts + 1
    if state.restarts > MOST_RESTARTS:
        raise never_ending(keyset.route, "the server ignores $skip")
