"""The interface of all readers, ``plan`` and ``read``, and the values that they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from wats_extract import events
from wats_extract.cursor import Cursor
from wats_extract.errors import PagingError, RequestError
from wats_extract.flow import Bounds, Chunk, Coverage, Failure, Known, Result, Row, Selection, Times, Window
from wats_extract.http.client import Client
from wats_extract.tables import Table

T = TypeVar("T")

Query: TypeAlias = dict[str, str | int | bool]
"""The query parameters of a request, by name."""

RowsOf: TypeAlias = Callable[[bytes], list[Row]]
"""Reads the rows from the body of a response."""

GONE = "It was deleted on the server, or the token does not reach it."

KEYS_AHEAD = 1_000
"""The largest number of keys that are taken ahead of the one being read."""


class Judge(Protocol):
    """Counts successes and failures, and decides whether the reading goes on."""

    def __call__(self, failure: Failure | None, times: int = 1) -> None:
        """Count items that failed, or items that succeeded if ``failure`` is ``None``.

        Raises:
            WatsExtractError: the reading has to stop.
        """


@dataclass(frozen=True)
class Source:
    """The server and the context that a reader reads one resource with.

    Attributes:
        resource: The resource's name.
        client: Sends the requests.
        known: The items that earlier runs loaded.
        judge: Counts each item that succeeds or fails.
        listen: Receives progress events.
        check: Called while waiting; raises to stop.
    """

    resource: str
    client: Client
    known: Known = field(default_factory=Known)
    judge: Judge = lambda failure, times=1: None
    listen: events.Listener = events.nobody
    check: Callable[[], None] = lambda: None

    def fetch_failure(self, key: str, error: RequestError) -> Failure:
        """The failure of an item that could not be fetched."""
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
            final=error.final,
        )

    def record_failure(self, key: str, message: str, *, raw: bytes, url: str = "") -> Failure:
        """The failure of an item that was fetched but does not fit its tables; ``raw`` is its text."""
        return Failure(
            resource=self.resource,
            key=key,
            stage="shred",
            error_code="INVALID_RECORD",
            message=self.client.mask(message),
            hint="The record itself is malformed. Have it corrected in WATS, then retry.",
            url=url,
            payload=self.client.excerpt(raw),
        )

    def not_found(self, key: str) -> Failure:
        """The failure of a key that the server does not have."""
        return Failure(self.resource, key, "fetch", "NOT_FOUND", "the server has no such item", hint=GONE)

    def not_a_key(self, key: str) -> Failure:
        """The failure of a text that cannot be a key of this resource."""
        message = "this is not a uuid, or not a key of this resource"
        return Failure(self.resource, key, "fetch", "NOT_FOUND", message, hint="Fetch items by their key.")

    def saturated(self, route: str, why: str, *, key: str) -> Failure:
        """The failure of a list that may have more rows than the server returned."""
        return Failure(
            self.resource,
            key,
            "fetch",
            "WINDOW_SATURATED",
            why,
            hint="The rows that came are loaded. Narrow the selection, or have the server's cap raised.",
            url=f"/api/{route}",
        )


@dataclass(frozen=True, slots=True)
class Page:
    """The new rows of one response, in the order of the cursor.

    Attributes:
        rows: The rows.
        cursors: The cursor after each row, ``None`` if there is none.
        cap: The largest number of rows in any response so far.
        saturated: Why the list may have rows that no response contains; empty if it has none.
        covered: The cursor after everything in the response, if that is further than the last row.
        coverage: The range that the page covers, for lists that are read range by range.
        whole: Whether it has all new rows of the response, or the last of them.
    """

    rows: Sequence[Row]
    cursors: Sequence[Cursor | None]
    cap: int
    saturated: str = ""
    covered: Cursor | None = None
    coverage: Coverage | None = None
    whole: bool = True

    @property
    def end(self) -> Cursor | None:
        """The cursor after the page."""
        return self.covered or (self.cursors[-1] if self.cursors else None)

    def slices(self, size: int) -> Iterator[Page]:
        """The page in slices of at most ``size`` rows. Only the last one covers a range or is saturated."""
        last = max(len(self.rows) - 1, 0) // size * size
        for first in range(0, last, size):
            rows, cursors = self.rows[first : first + size], self.cursors[first : first + size]
            yield Page(rows, cursors, self.cap, whole=False)
        yield replace(self, rows=self.rows[last:], cursors=self.cursors[last:]) if last else self


@dataclass
class Estimate:
    """How much a window holds, estimated without reading it.

    Attributes:
        new: The number of items that are not loaded yet; ``None`` if only a run can tell.
        requests: The number of requests that reading takes; ``None`` if only a run can tell.
        bytes: The size of the new documents on the server; ``None`` if no documents are fetched.
        at_least: Whether there may be more, because the list was not read to its end.
    """

    new: int | None = None
    requests: int | None = None
    bytes: int | None = None
    at_least: bool = False


class Reader(Protocol):
    """One way of reading a resource: plans windows, and turns each window into chunks.

    Everything that reads WATS (a run, ``stream``, ``fetch``, ``verify``, …) uses ``plan`` and ``read``.
    """

    @property
    def paging(self) -> str:
        """How the route is paged, in a word or two."""

    @property
    def cap(self) -> int | None:
        """The number of rows requested at once; ``None`` if the server decides."""

    @property
    def keys_at_once(self) -> int:
        """The number of keys that one request of ``find`` takes."""

    @property
    def reads_ahead(self) -> bool:
        """Whether the next chunk may be read while the previous one is being committed."""

    @property
    def lists_versions(self) -> bool:
        """Whether ``list_items`` yields reports with their ``timeStamp``, which ``verify`` compares."""

    def plan(
        self,
        source: Source,
        selection: Selection,
        *,
        cursor: Cursor | None = None,
        keys: Iterable[str] | None = None,
        parts: int = 1,
    ) -> Iterator[Window]:
        """Divide a selection into windows that are disjoint and together complete.

        Args:
            source: Where to read; with one part and no keys, planning sends no request.
            selection: Which rows, and in which detail.
            cursor: Where an earlier reading ended.
            keys: Only these items. The key of a failure about a range stands for that range.
            parts: The number of windows wanted. There are fewer if the route cannot be divided so far.
        """

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """Read one window, in the order of the cursor or of its keys.

        Items that are loaded in the same version (``source.known``) are skipped, unless the window has keys.
        An item that fails becomes a failure in its chunk. Reading changes nothing on the server.
        """

    def outcomes(
        self, source: Source, selection: Selection, keys: Iterable[str]
    ) -> Iterator[Result[dict[str, Any]]]:
        """Each item as decoded JSON or as a failure, in the order of ``keys``, which may be endless."""

    def list_items(self, source: Source, window: Window) -> Iterator[Page]:
        """The keys and versions of the items in a window, without their data."""

    def find(self, source: Source, window: Window, keys: Sequence[str]) -> dict[str, Row]:
        """The keys and versions of the items that the server has, of those asked for."""

    def estimate(self, source: Source, window: Window, *, pages: int) -> Estimate:
        """Estimate how much a window holds, from at most this many pages of its list."""


class PageShredder(Protocol):
    """Turns pages into rows of tables: the part of a shredder that :class:`PagedReader` uses."""

    def rows(self, body: bytes) -> list[Row]:
        """The records of a page."""

    def shred(self, records: Sequence[Any]) -> dict[Table, pa.RecordBatch]:
        """The rows of the records, by table."""

    def value(self, row: Row) -> dict[str, Any]:
        """The record as decoded JSON."""


class Listing(Protocol):
    """One way of paging a route. It yields rows in the order of the cursor, if there is one."""

    @property
    def route(self) -> str:
        """The route below ``/api``."""

    @property
    def paging(self) -> str:
        """How it is paged, in a word or two."""

    @property
    def cap(self) -> int | None:
        """The number of rows requested at once; ``None`` if the server decides."""

    @property
    def keys_at_once(self) -> int:
        """The number of keys that one call of ``look_up`` takes."""

    @property
    def versioned(self) -> bool:
        """Whether its rows are reports with a ``timeStamp``."""

    @property
    def countable(self) -> bool:
        """Whether listing the items costs little compared to reading them."""

    def proper(self, key: str) -> str:
        """The key as the server writes it; empty if it cannot be a key of this route."""

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:
        """Divide a window into at most this many disjoint parts."""

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:
        """All rows of the window after its cursor, and some before it."""

    def look_up(
        self, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
    ) -> dict[str, Row]:
        """The rows of some keys (as ``proper`` returns them), without those that the server does not have."""


class Undivided:
    """A listing that cannot be divided. Its rows have no versions, and listing them is cheap."""

    versioned = False
    countable = True

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:  # noqa: ARG002
        """One part: the whole window."""
        return [window.bounds]


def everything_at_once(
    listing: Listing, source: Source, window: Window, keys: list[str], rows: RowsOf, query: Query
) -> dict[str, Row]:
    """Look up keys by reading the whole list: for small lists whose route takes no keys."""
    wanted = set(keys)
    whole = replace(window, cursor=None)
    found = (row for page in listing.pages(source, whole, rows, query) for row in page.rows)
    return {row.key: row for row in found if row.key in wanted}


def selected(window: Window) -> Selection:
    """The window's selection, narrowed to the window's range of time if it has one."""
    selection, bounds = window.selection, window.bounds
    if not isinstance(bounds, Times):
        return selection
    since = max((each for each in (selection.since, bounds.begin) if each), default=None)
    until = min((each for each in (selection.until, bounds.end) if each), default=None)
    return replace(selection, since=since, until=until)


def fresh_rows(source: Source, window: Window, page: Page) -> list[tuple[Row, int]]:
    """The rows of a page, with their index, that are neither loaded in this version nor open failures."""
    rows = [(row, place) for place, row in enumerate(page.rows)]
    if not source.known.skip or not rows:
        return rows
    versions = [row.version for row in page.rows if row.version is not None]
    span = (min(versions), max(versions)) if versions else None
    landed, failed = source.known.landed([row.key for row in page.rows], span), source.known.failed
    if not landed and not failed:
        return rows
    seen = -1 if window.cursor is None else window.cursor.seen
    return [
        (row, place)
        for row, place in rows
        if (row.version is None or row.key not in landed or landed[row.key] != row.version)
        and not (row.key in failed and (row.version or 0) <= seen)
    ]


def span_of(key: str) -> tuple[datetime, datetime] | None:
    """The range of time that the key of a failure stands for; ``None`` if it is the key of an item."""
    begin, _, end = key.partition("/")
    try:
        return datetime.fromisoformat(begin), datetime.fromisoformat(end)
    except ValueError:
        return None


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, taken from the iterable one list at a time."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def label(keys: Iterable[str], *places: int) -> str:
    """The label of a chunk: its cursor range and a digest of its keys, so that labels are unique."""
    digest = hashlib.blake2b("\n".join(keys).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return "-".join([*(f"{place:012d}" for place in places), digest])


def never_ending(resource: str, what: str) -> PagingError:
    """The error for a server whose pages do not advance."""
    return PagingError(
        f"{resource}: {what}, so reading would never end or would miss rows",
        hint="Please report this with the server's version (wats-extract check).",
    )
