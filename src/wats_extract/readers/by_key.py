"""Read documents one by one, by key: list the keys in the order of a cursor, fetch the documents concurrently.

Results are consumed in the order of their keys, however the requests finish. So the cursor moves over an
unbroken prefix only.
"""

from __future__ import annotations

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
from wats_extract.tables import Table

SHREDDED_TOGETHER = 32
"""The number of documents shredded together: few columns to build, and they stay in the processor's cache."""

AHEAD = 64
"""The largest number of documents fetched in advance of the one being shredded. It bounds memory."""

FEW_AHEAD = 40
"""The same for single outcomes, where no chunk has to be filled."""

KEYS_PER_WINDOW = 200

SAME_HALVES = 6
"""How often the same truncated document has to come before the document itself counts as broken."""


class DocumentShredder(Protocol):
    """What a reader of documents needs from a shredder."""

    def rows(self, body: bytes) -> list[Row]:
        """The keys and versions on a page of the list."""

    def document(self, key: str, version: int | None, body: bytes) -> Any:
        """Decode a document.

        Raises:
            Unreadable: the bytes are cut off, or have another format.
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
    """A document to fetch; ``record`` is its row on the list."""

    key: str
    version: int | None = None
    cursor: Cursor | None = None
    problem: Failure | None = None
    record: Any = None


@dataclass(frozen=True)
class ByKeyReader(ListReader):
    """Lists keys and fetches each document.

    Attributes:
        listing: Gives the keys.
        asked: The query parameters of the list, beside its paging.
        route: The route of one document, with ``{key}`` in it, or with the names of the key's parts.
        query: The query parameters of the document's route, from its key and the selection's options.
        shredder: Turns the documents into rows of tables.
        parts: The parts of a key that the route names.
        accept: The content types of documents.
        body: The JSON body, from the key and the selection, if the route is requested by POST.
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
        """How the keys are listed, then ``by key``."""
        return f"{self.listing.paging}, by key"

    @property
    def rows_of(self) -> RowsOf:
        """Reads the keys and versions on a page of the list."""
        return self.shredder.rows

    def list_query(self, window: Window) -> Query:  # noqa: ARG002 - the same for all
        """The query parameters of the list, beside its paging."""
        return self.asked

    def keys_per_window(self) -> int:
        """The number of keys in one window. Keys may come from a generator, so it is not larger than it pays."""
        return KEYS_PER_WINDOW

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """Chunks of ``chunk_size`` documents, in the order of the cursor or of the window's keys.

        Raises:
            RequestError: a request for a page of the list fails after all retries.
        """
        if isinstance(window.bounds, Keys):
            yield from self._chunks(source, window, self._looked_up(source, window))
            return
        end: list[Cursor | None] = []
        last = None
        with closing(self._listed(source, window, end)) as keys:
            for chunk in self._chunks(source, window, islice(keys, window.selection.limit)):
                last = chunk.cursor
                yield chunk
                del chunk  # it would stay in memory until the next one is full
        if end and window.selection.limit is None and end[-1] != last:
            yield Chunk(label(()), {}, {}, cursor=end[-1])

    def outcomes(
        self, source: Source, selection: Selection, keys: Iterable[str]
    ) -> Iterator[Result[dict[str, Any]]]:
        """Each document as decoded JSON, or as its failure, in the order of ``keys``."""
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
        before: list[bytes] = []

        def decode(reply: Reply) -> Any:
            return self._decode(key, reply, before)

        query = self.query(key.key, window.selection.options)
        parts = {name: quote(part, safe="") for name, part in self.parts(key.key).items()}
        if not {".", ".."}.isdisjoint(parts.values()):  # as parts of a path they would lead to another route
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
            return source.record_failure(
                key.key, error.message, raw=b"".join(before[-1:]), url=f"/api/{route}"
            )

    def _decode(self, key: Wanted, reply: Reply, before: list[bytes]) -> Any:
        """Decode a document. The same unreadable bytes twice mean that the document is broken, not the transfer.

        A truncated document has to come more often, because a proxy may cut each response at the same place.
        """
        body = reply.body
        if body.strip() == b"null":
            raise RequestError(
                "the server answers null", code="NOT_FOUND", url=reply.url, http_status=200, hint=GONE
            )
        if before and before[-1] != body:
            before.clear()
        before.append(body)
        try:
            return self.shredder.document(key.key, key.version, body)
        except Unreadable as error:
            enough = SAME_HALVES if _cut_off(body) else 2
            if len(before) >= enough and body.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
                raise RecordError(f"it is not JSON: {error.message}") from error
            raise

    def _listed(self, source: Source, window: Window, end: list[Cursor | None]) -> Generator[Wanted]:
        listed = self.listing.pages(source, window, self.rows_of, self.asked)
        # One page is read ahead while the documents of this page are fetched: more would only take memory.
        with closing(in_background(listed, ahead=0, check=source.check)) as ahead:
            for page in ahead:
                fresh = self.fresh(source, window, page)
                end[:] = [page.end]
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
        """The keys of the window with their versions, if the list can be asked for keys and has versions."""
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
        answer = in_order(
            [keys],
            lambda some: self.listing.look_up(source, window, some, self.rows_of, self.asked),
            workers=1,
            ahead=1,
            check=source.check,
        )
        try:
            return next(answer)[1]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError:
            return {}  # the documents are loaded all the same, without their time_stamp

    def _fetched(
        self, source: Source, window: Window, keys: Iterable[Wanted], *, ahead: int = AHEAD
    ) -> Iterator[tuple[Wanted, Any]]:
        workers = source.client.connection.max_in_flight
        return in_order(
            keys,
            lambda key: self.fetch(source, window, key),
            workers=workers,
            ahead=max(2 * workers, ahead),
            useful=source.client.useful_threads,
            check=source.check,
        )

    def _chunks(self, source: Source, window: Window, keys: Iterable[Wanted]) -> Iterator[Chunk]:
        """Chunks of fetched documents. If an error stops the reading, the chunk so far is yielded first."""
        size = int(window.selection.options.get("chunk_size", 200))
        chunk = _ChunkBuilder(self, source, window)
        try:
            for key, outcome in self._fetched(source, window, keys):
                if key.key in chunk or len(chunk) >= size:
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


def _cut_off(body: bytes) -> bool:
    """Whether the body is a truncated JSON text."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


class _ChunkBuilder:
    """A chunk while it is filled. Documents are shredded a few at a time."""

    def __init__(self, reader: ByKeyReader, source: Source, window: Window) -> None:
        self._reader, self._source, self._options = reader, source, window.selection.options
        self._pending: list[tuple[Wanted, Any]] = []
        self._keys: list[Wanted] = []
        self._seen: set[str] = set()
        self._verdicts: list[Failure | None] = []
        self._rows: dict[Table, list[pa.RecordBatch]] = {}
        self._failures: list[Failure] = []
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
        self.landed[key.key] = key.version
        if len(self._pending) >= SHREDDED_TOGETHER:
            self._shred()

    def close(self) -> Chunk:
        """The chunk."""
        self._shred()
        rows, self._rows = self._rows, {}
        places = [key.version or 0 for key in (self._keys[0], self._keys[-1])]
        return Chunk(
            label((key.key for key in self._keys), *places),
            rows,
            self.landed,
            self._failures,
            self._keys[-1].cursor,
        )

    def judge(self) -> None:
        """Count each document that was shredded or failed, once; may raise ``TooManyFailures``.

        The caller does this after it has yielded the chunk, because the error stops the reading.
        """
        verdicts, self._verdicts = self._verdicts, []
        for failure in verdicts:
            self._source.judge(failure)

    def _shred(self) -> None:
        pending, self._pending = self._pending, []
        try:
            self._take([document for _, document in pending])
        except RecordError:
            for key, document in pending:
                self._shred_alone(key, document)

    def _shred_alone(self, key: Wanted, document: Any) -> None:
        try:
            self._take([document])
        except RecordError as error:
            del self.landed[key.key]
            self._fail(self._source.record_failure(key.key, error.message, raw=document.raw))

    def _take(self, documents: list[Any]) -> None:
        if documents:
            for table, batch in self._reader.shredder.shred(documents, self._options).items():
                self._rows.setdefault(table, []).append(batch)
            self._verdicts += [None] * len(documents)

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure)
        self._source.listen(events.ItemFailed(failure))
        self._verdicts.append(failure)
