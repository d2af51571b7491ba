"""Read documents one by one: list their keys in the order of the cursor, and fetch them concurrently.

Documents are consumed in the order of their keys, in whatever order the requests finish. So all documents
before the cursor have been read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
import pyarrow as pa

from wats_extract import events
from wats_extract.cursor import Cursor
from wats_extract.errors import (
    RecordError,
    RequestError,
    ServerUnreachable,
    TokenRefused,
    Unreadable,
    WatsExtractError,
)
from wats_extract.flow import Chunk, Failure, Keys, Reply, Result, Row, Selection, Success, Window
from wats_extract.http.client import JSON
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.list_reader import ListReader
from wats_extract.readers.reader import GONE, KEYS_AHEAD, Listing, Query, RowsOf, Source, in_groups, label
from wats_extract.shred.budget import check_structure
from wats_extract.tables import Table

SHREDDED_TOGETHER = 32
"""The number of documents shredded together: few columns are built, and the documents fit the CPU cache."""

AHEAD = 64
"""The largest number of documents fetched ahead of the one being shredded. It bounds memory."""

FEW_AHEAD = 40
"""The same for ``outcomes``, which fills no chunks."""

KEYS_PER_WINDOW = 200

SAME_TRUNCATED = 6
"""How often the same truncated document has to come before the document itself counts as broken."""

AHEAD_BYTES = 64 * 2**20
"""The size of documents that wait to be shredded at which no further ones are requested."""

SHREDDED_BYTES = 16 * 2**20
"""The size of documents at which they are shredded although there are fewer of them."""

CHUNK_BYTES = 64 * 2**20
"""The size of rows at which a chunk is complete although it has fewer documents: it bounds a commit."""

OUT_OF_MEMORY = "it takes more memory than there is"

BEGINNING = 20_000
"""Bytes of an unreadable document that are kept for its failure."""


class DocumentShredder(Protocol):
    """Turns documents into rows of tables: the part of a shredder that :class:`ByKeyReader` uses."""

    def rows(self, body: bytes) -> list[Row]:
        """The keys and versions on a page of the list."""

    def document(self, key: str, version: int | None, body: bytes) -> Any:
        """Decode a document.

        Raises:
            Unreadable: the bytes are truncated, or have another format.
            RecordError: the document does not fit.
        """

    def shred(self, documents: Sequence[Any], options: Mapping[str, Any]) -> dict[Table, pa.RecordBatch]:
        """The rows of a few documents, by table.

        Raises:
            RecordError: one of them does not fit.
        """

    def value(self, document: Any) -> dict[str, Any]:
        """The document as decoded JSON."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document to fetch.

    Attributes:
        key: Its key, as the server writes it.
        version: Its version on the list, if it has one.
        cursor: The cursor after it.
        problem: Its failure, if it cannot be fetched.
        record: Its row on the list, if it was listed.
    """

    key: str
    version: int | None = None
    cursor: Cursor | None = None
    problem: Failure | None = None
    record: Any = None


@dataclass(frozen=True)
class ByKeyReader(ListReader):
    """Lists keys and fetches each document.

    Attributes:
        listing: Lists the keys.
        asked: The query parameters of the list, except those of its paging.
        route: The route of one document, with ``{key}`` in it, or with the names of the key's parts.
        query: Returns the query parameters of one document, from its key and the selection's options.
        shredder: Turns the documents into rows of tables.
        parts: Returns the parts of a key that the route names.
        accept: The content types of documents.
        body: Returns the JSON body, from the key and the selection; ``None`` if the route takes GET.
    """

    listing: Listing
    asked: Query
    route: str
    query: Callable[[str, Mapping[str, Any]], Query]
    shredder: DocumentShredder
    parts: Callable[[str], Mapping[str, str]] = lambda key: {"key": key}
    accept: str = JSON
    body: Callable[[str, Selection], Query] | None = None

    requests_per_item = 1

    @property
    def paging(self) -> str:
        """How the keys are listed, followed by ``by key``."""
        return f"{self.listing.paging}, by key"

    @property
    def rows_of(self) -> RowsOf:
        """Decodes the keys and versions on a page of the list."""
        return self.shredder.rows

    def list_query(self, window: Window) -> Query:  # noqa: ARG002 - the same for all
        """The query parameters of the list, except those of its paging."""
        return self.asked

    def keys_per_window(self) -> int:
        """The number of keys per window. Larger windows save nothing, and keys may come from a generator."""
        return KEYS_PER_WINDOW

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """Chunks of ``chunk_size`` documents, in the order of the cursor or of the window's keys.

        Raises:
            RequestError: a request for a page of the list fails after all retries.
        """
        if isinstance(window.bounds, Keys):
            yield from self._chunks(source, window, self._looked_up(source, window))
            return
        listed = _Listed()
        last = None
        with closing(self._list_keys(source, window, listed)) as keys:
            for chunk in self._chunks(source, window, islice(keys, window.selection.limit)):
                last = chunk.cursor
                yield chunk
                del chunk  # frees its rows while the next chunk is read
        if window.selection.limit is None and listed.end != last:
            yield Chunk(label(()), {}, {}, cursor=listed.end)

    def outcomes(
        self, source: Source, selection: Selection, keys: Iterable[str]
    ) -> Iterator[Result[dict[str, Any]]]:
        """Each document as decoded JSON or as a failure, in the order of ``keys``."""
        window = Window(source.resource, selection)
        wanted = (self._wanted(source, key, None) for key in keys)
        ahead = int(selection.options.get("chunk_size", FEW_AHEAD))
        for key, outcome in self._fetched(source, window, wanted, ahead=ahead):
            if isinstance(outcome, Failure):
                yield outcome
            else:
                yield Success(key.key, self.shredder.value(outcome))

    def fetch(self, source: Source, window: Window, key: Wanted) -> Any:
        """One document, or its failure."""
        if key.problem is not None:
            return key.problem
        tries = _Tries()

        def decode(reply: Reply) -> Any:
            return self._decode(key, reply, tries)

        query = self.query(key.key, window.selection.options)
        parts = {name: quote(part, safe="") for name, part in self.parts(key.key).items()}
        if not {".", ".."}.isdisjoint(parts.values()):  # in a path they would lead to another route
            return source.not_a_key(key.key)
        route = self.route.format(**parts)
        body = self.body(key.key, window.selection) if self.body else None
        try:
            return source.client.get(route, query=query, body=body, decode=decode, accept=self.accept)
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            return source.fetch_failure(key.key, error)
        except RecordError as error:
            return source.record_failure(key.key, error.message, raw=tries.beginning, url=f"/api/{route}")
        except MemoryError:
            return source.record_failure(key.key, OUT_OF_MEMORY, raw=tries.beginning, url=f"/api/{route}")

    def _decode(self, key: Wanted, reply: Reply, tries: _Tries) -> Any:
        """Decode a document.

        If the same unreadable bytes come twice, the document is broken and not the transfer. A truncated
        document has to come more often, because a proxy may cut each response at the same place. JSON that
        is not this document, such as the error object of a gateway, says nothing about the document. WATS
        returns ``null`` for an item that does not exist, but a gateway may return it once.
        """
        body = reply.body
        if body.strip() == b"null":
            tries.add(b"null")
            if tries.same < 2:
                raise Unreadable("the server returned null")
            raise RequestError(
                "the server returned null", code="NOT_FOUND", url=reply.url, http_status=200, hint=GONE
            )
        try:
            check_structure(body)
            return self.shredder.document(key.key, key.version, body)
        except RecordError:
            tries.add(body)
            raise
        except Unreadable as error:
            tries.add(body)
            enough = SAME_TRUNCATED if _is_truncated(body) else 2
            begin = body.lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
            if tries.same >= enough and begin in (b"{", b"[") and not _is_json(body):
                raise RecordError(f"it is not JSON: {error.message}") from error
            raise

    def _list_keys(self, source: Source, window: Window, listed: _Listed) -> Generator[Wanted]:
        found = self.listing.pages(source, window, self.rows_of, self.asked)
        # The next page is read while the documents of this page are fetched.
        with closing(in_background(found, ahead=0, check=source.check)) as pages:
            for page in pages:
                fresh = self.fresh(source, window, page)
                listed.end = page.end
                source.listen(events.ItemsListed(source.resource, len(fresh)))
                for row, place in fresh:
                    cursor = page.cursors[place]
                    yield Wanted(row.key, row.version, cursor, self._unlisted(source, row), row.record)
        source.listen(events.ItemsListed(source.resource, 0, final=True))

    def _unlisted(self, source: Source, row: Row) -> Failure | None:
        if self.listing.proper(row.key):
            return None
        return source.record_failure(row.key, row.problem or "its key cannot be requested", raw=row.raw)

    def _looked_up(self, source: Source, window: Window) -> Iterator[Wanted]:
        """The keys of the window, with their versions if the route of the list takes keys."""
        keys = window.bounds.keys if isinstance(window.bounds, Keys) else ()
        if self.listing.keys_at_once > KEYS_AHEAD:
            yield from (self._wanted(source, key, None) for key in keys)
            return
        for group in in_groups(keys, self.listing.keys_at_once):
            proper = [key for key in map(self.listing.proper, group) if key]
            found = self._look_up(source, window, proper) if proper else {}
            for key in group:
                yield self._wanted(source, key, found.get(self.listing.proper(key)))

    def _wanted(self, source: Source, key: str, row: Row | None) -> Wanted:
        proper = self.listing.proper(key)
        problem = None if proper else source.not_a_key(key)
        version, record = (row.version, row.record) if row else (None, None)
        return Wanted(proper or key, version, None, problem, record)

    def _look_up(self, source: Source, window: Window, keys: list[str]) -> dict[str, Row]:
        found = in_order(
            [keys],
            lambda some: self.listing.look_up(source, window, some, self.rows_of, self.asked),
            workers=1,
            ahead=1,
            check=source.check,
        )
        try:
            return next(found)[1]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError:
            return {}  # the documents can be loaded without their time_stamp

    def _fetched(
        self, source: Source, window: Window, keys: Iterable[Wanted], *, ahead: int = AHEAD
    ) -> Iterator[tuple[Wanted, Any]]:
        workers = source.client.connection.max_in_flight
        return in_order(
            keys,
            lambda key: self.fetch(source, window, key),
            workers=workers,
            ahead=max(2 * workers, ahead),
            weigh=_size,
            heaviest=AHEAD_BYTES,
            useful=source.client.useful_threads,
            check=source.check,
        )

    def _chunks(self, source: Source, window: Window, keys: Iterable[Wanted]) -> Iterator[Chunk]:
        """Chunks of fetched documents. If an error stops the reading, the unfinished chunk comes first."""
        size = int(window.selection.options.get("chunk_size", 200))
        chunk = _ChunkBuilder(self, source, window)
        try:
            for key, outcome in self._fetched(source, window, keys):
                if key.key in chunk or len(chunk) >= size or chunk.bytes >= CHUNK_BYTES:
                    full, chunk = chunk, _ChunkBuilder(self, source, window)
                    yield full.close()
                    full.judge()
                chunk.add(key, outcome)
                chunk.judge()
        except WatsExtractError as stop:
            if len(chunk):
                yield chunk.close()
            raise stop from None
        if len(chunk):
            yield chunk.close()
            chunk.judge()


def _size(outcome: Any) -> int:
    """The bytes of a document; a failure has none."""
    if isinstance(outcome, Failure):
        return 0
    return outcome.size if hasattr(outcome, "size") else len(outcome.raw)


def _is_json(body: bytes) -> bool:
    """Whether the body is JSON, as .NET writes it: with ``NaN`` and a byte order mark."""
    try:
        json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return True


def _is_truncated(body: bytes) -> bool:
    """Whether the body is truncated JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


@dataclass
class _Tries:
    """The latest tries of a document that brought the same unreadable bytes. It keeps no body.

    Attributes:
        same: How many there were.
        beginning: How the body begins.
    """

    same: int = 0
    beginning: bytes = b""
    _digest: bytes = b""

    def add(self, body: bytes) -> None:
        """Count a try."""
        digest = hashlib.blake2b(body).digest()
        self.same = self.same + 1 if digest == self._digest else 1
        self._digest, self.beginning = digest, body[:BEGINNING]


@dataclass
class _Listed:
    """How far the list has been read: the cursor after its last page."""

    end: Cursor | None = None


class _ChunkBuilder:
    """Collects documents into a chunk, and shreds them a few at a time.

    Attributes:
        landed: The documents: key → version.
        bytes: The size of the rows so far.
    """

    def __init__(self, reader: ByKeyReader, source: Source, window: Window) -> None:
        self._reader, self._source, self._options = reader, source, window.selection.options
        self._pending: list[tuple[Wanted, Any]] = []
        self._keys: list[Wanted] = []
        self._seen: set[str] = set()
        self._unjudged: list[Failure | None] = []
        self._rows: dict[Table, list[pa.RecordBatch]] = {}
        self._failures: list[Failure] = []
        self._pending_bytes = 0
        self.bytes = 0
        self.landed: dict[str, int | None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._seen

    def add(self, key: Wanted, outcome: Any) -> None:
        """Add a document, or its failure."""
        self._keys.append(key)
        self._seen.add(key.key)
        self._source.listen(events.ItemsFetched(self._source.resource, 1))
        if isinstance(outcome, Failure):
            self._fail(outcome)
            return
        if why := getattr(outcome, "saturated", ""):
            self._failures.append(self._source.saturated(self._reader.route, why, key=key.key))
        self._pending.append((key, outcome))
        self._pending_bytes += _size(outcome)
        self.landed[key.key] = key.version
        if len(self._pending) >= SHREDDED_TOGETHER or self._pending_bytes >= SHREDDED_BYTES:
            self._shred()

    def close(self) -> Chunk:
        """The finished chunk."""
        self._shred()
        versions = [key.version or 0 for key in (self._keys[0], self._keys[-1])]
        rows, self._rows = self._rows, {}  # this builder outlives the chunk: keep no rows in memory
        return Chunk(
            label((key.key for key in self._keys), *versions),
            rows,
            self.landed,
            self._failures,
            self._keys[-1].cursor,
        )

    def judge(self) -> None:
        """Report each document that was shredded or failed to the judge, once.

        The judge may stop the reading, so a full chunk is yielded before.

        Raises:
            WatsExtractError: the reading has to stop.
        """
        unjudged, self._unjudged = self._unjudged, []
        for failure in unjudged:
            self._source.judge(failure)

    def _shred(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if self._problem([document for _, document in pending]):
            for key, document in pending:
                if problem := self._problem([document]):
                    del self.landed[key.key]
                    self._fail(self._source.record_failure(key.key, problem, raw=document.raw))

    def _problem(self, documents: list[Any]) -> str:
        """Shred some documents together. Return why they do not fit, or an empty string."""
        try:
            self._take(documents)
        except RecordError as error:
            return error.message
        except MemoryError:
            return OUT_OF_MEMORY
        return ""

    def _take(self, documents: list[Any]) -> None:
        if documents:
            for table, batch in self._reader.shredder.shred(documents, self._options).items():
                self._rows.setdefault(table, []).append(batch)
                self.bytes += batch.get_total_buffer_size()
            self._unjudged += [None] * len(documents)

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure)
        self._source.listen(events.ItemFailed(failure))
        self._unjudged.append(failure)
