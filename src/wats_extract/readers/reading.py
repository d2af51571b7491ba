"""What a reader is given, whichever way it pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from wats_extract import events
from wats_extract.errors import PagingError, RequestError
from wats_extract.flow import Cursor, Failure, Known, Row, Selection, Window
from wats_extract.http.client import Client
from wats_extract.tables import Table

T = TypeVar("T")

Query: TypeAlias = dict[str, str | int | bool]
"""What a route is asked, by parameter."""

RowsOf: TypeAlias = Callable[[bytes], list[Row]]
"""Reads the rows of an answer's body."""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer that this reading has not given yet, in the order of the cursor.

    Attributes:
        rows: The rows.
        cursors: The cursor after each row, ``None`` where there is none.
        cap: The most rows that the server has given in one answer so far.
        saturated: Why there may be rows that no answer gives, or empty.
        covered: The cursor after all that the answer held, where that is more than the rows.
        window: The stretch that it covers, where the list is read in stretches.
    """

    rows: Sequence[Row]
    cursors: Sequence[Cursor | None]
    cap: int
    saturated: str = ""
    covered: Cursor | None = None
    window: Window | None = None

    @property
    def end(self) -> Cursor | None:
        """The cursor after the page."""
        return self.covered or (self.cursors[-1] if self.cursors else None)


class Judge(Protocol):
    """Told of items whether they made it."""

    def __call__(self, ok: bool, times: int = 1) -> None:  # noqa: FBT001
        """So many items made it, or did not.

        Raises:
            TooManyFailures: too many do not.
        """


@dataclass(frozen=True)
class Reading:
    """One reading of one resource.

    Attributes:
        resource: The resource's name.
        client: Asks the server.
        selection: What is asked for.
        cursor: Where the last reading ended, or ``None``.
        known: What earlier runs know of items.
        judge: Told of each item whether it made it.
        listen: Told what happens.
        check: Called while waiting; raises to stop.
    """

    resource: str
    client: Client
    selection: Selection
    cursor: Cursor | None = None
    known: Known = field(default_factory=Known)
    judge: Judge = lambda ok, times=1: None
    listen: events.Listener = events.nobody
    check: Callable[[], None] = lambda: None

    def fetch_failure(self, key: str, error: RequestError) -> Failure:
        """An item that could not be fetched."""
        return Failure(
            resource=self.resource,
            key=key,
            stage="fetch",
            error_code=error.code,
            message=error.message,
            hint=error.hint,
            http_status=error.http_status,
            url=error.url,
            attempts=error.attempts,
            payload=error.payload,
        )

    def record_failure(self, key: str, message: str, *, raw: bytes, url: str = "") -> Failure:
        """An item that was fetched and does not fit its tables; ``raw`` is what was fetched."""
        return Failure(
            resource=self.resource,
            key=key,
            stage="shred",
            error_code="INVALID_RECORD",
            message=self.client.mask(message),
            hint="The record itself is odd; have it corrected in WATS, then retry.",
            url=url,
            payload=self.client.excerpt(raw),
        )


class PageShredder(Protocol):
    """What a reader of pages needs of a shredder."""

    def rows(self, body: bytes) -> list[Row]:
        """The records of a page."""

    def shred(self, records: Sequence[Any]) -> dict[Table, pa.RecordBatch]:
        """The rows of the records, by table."""

    def value(self, row: Row) -> dict[str, Any]:
        """The record as decoded JSON."""


class Listing(Protocol):
    """One way of paging a route: gives its rows in the order of the cursor, where there is one."""

    @property
    def route(self) -> str:
        """Below ``/api``."""

    @property
    def paging(self) -> str:
        """How, in a word or two."""

    @property
    def cap(self) -> int | None:
        """Rows that are asked for in one request; ``None`` where that is left to the server."""

    @property
    def keys_at_once(self) -> int:
        """How many keys one look-up may ask for."""

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty where it cannot be one of this route's."""

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows after the reading's cursor, and some before it."""

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:
        """The rows of some proper keys; those that the server does not have are left out."""


def everything_at_once(
    listing: Listing, reading: Reading, keys: list[str], rows: RowsOf, query: Query
) -> dict[str, Row]:
    """The rows of some keys, picked from all rows: for small lists that cannot be asked for keys."""
    wanted = set(keys)
    found = (row for page in listing.pages(reading, rows, query) for row in page.rows)
    return {row.key: row for row in found if row.key in wanted}


def fresh_rows(reading: Reading, page: Page) -> list[tuple[Row, int]]:
    """The rows of a page that have neither landed in this version nor been given up, with their place."""
    rows = [(row, place) for place, row in enumerate(page.rows)]
    if not reading.known.skip or not rows:
        return rows
    versions = [row.version for row in page.rows if row.version is not None]
    span = (min(versions), max(versions)) if versions else None
    landed, failed = reading.known.landed([row.key for row in page.rows], span), reading.known.failed
    if not landed and not failed:
        return rows
    seen = -1 if reading.cursor is None else reading.cursor.get("time_stamp", -1)
    return [
        (row, place)
        for row, place in rows
        if (row.version is None or row.key not in landed or landed[row.key] != row.version)
        and not (row.key in failed and (row.version or 0) <= seen)
    ]


def label(keys: Iterable[str], *places: int) -> str:
    """A chunk's name: its cursor range, and a digest of its keys so that no two chunks share a name."""
    digest = hashlib.blake2b("\n".join(keys).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return "-".join([*(f"{place:012d}" for place in places), digest])


def never_ending(resource: str, what: str) -> PagingError:
    """The error for a server whose pages do not advance."""
    return PagingError(
        f"{resource}: {what}, so that reading on would never end or would miss rows",
        hint="Please report this with the server's version (wats-extract check).",
    )


GONE = "It was deleted on the server, or the token does not reach it."


KEYS_AHEAD = 1_000
"""Keys taken in front of the one whose turn it is, or those of one look-up, where that takes more."""


def not_found(reading: Reading, key: str, *, proper: str) -> Failure:
    """A key that the server does not have, or that can be none of its keys where ``proper`` is empty."""
    if proper:
        message, hint = "the server has no such item", GONE
    else:
        message, hint = "it is not a uuid, or not a key of this resource", "Ask for items by their key."
    return Failure(reading.resource, proper or key, "fetch", "NOT_FOUND", message, hint=hint)


def saturated(reading: Reading, route: str, why: str, *, key: str) -> Failure:
    """A list that may be longer than what the server gives of it."""
    return Failure(
        reading.resource,
        key,
        "fetch",
        "WINDOW_SATURATED",
        why,
        hint="What came has landed. Ask for less at once, or have the server's cap raised.",
        url=f"/api/{route}",
    )


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items; takes no more than it gives."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
