"""Read documents one by one, by key: listed in the order of a cursor, fetched concurrently, given in order.

The cursor moves over the unbroken prefix only, because results are consumed in the order of their keys,
however the requests finish.
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
from wats_extract.errors import (
    RecordError,
    RequestError,
    ServerUnreachable,
    TokenRefused,
    Unreadable,
    WatsExtractError,
)
from wats_extract.flow import Chunk, Cursor, Failure, Reply, Result, Row, Selection, Success
from wats_extract.http.client import JSON
from wats_extract.readers.ahead import in_background, in_order
from wats_extract.readers.reading import (
    GONE,
    KEYS_AHEAD,
    Listing,
    Page,
    Query,
    Reading,
    fresh_rows,
    in_groups,
    label,
    not_found,
    saturated,
)
from wats_extract.tables import Table

SHREDDED_TOGETHER = 32
"""Documents shredded at once: few columns to build, and they stay in a processor's cache."""

AHEAD = 64
"""Documents fetched in front of the one that is being shredded, at most; the memory they take is bounded."""

FEW_AHEAD = 40
"""The same where each document is handed on by itself, and nothing waits for a chunk to be full."""


SAME_HALVES = 6
"""How often the same half of a document comes before it is the document's own fault."""


class DocumentShredder(Protocol):
    """What a reader of documents needs of a shredder."""

    def rows(self, body: bytes) -> list[Row]:
        """The keys and versions on a page of the listing."""

    def document(self, key: str, version: int | None, body: bytes) -> Any:
        """A document from its bytes.

        Raises:
            Unreadable: the bytes are cut off, or not the format.
            RecordError: they do not fit.
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
    """A document to fetch; ``record`` is what the listing has of it."""

    key: str
    version: int | None = None
    cursor: Cursor | None = None
    problem: Failure | None = None
    record: Any = None


@dataclass(frozen=True)
class ByKeyReader:
    """Lists keys, fetches each document.

    Attributes:
        listing: Gives the keys.
        asked: What is asked of the listing beside its keys.
        route: Of one document, with ``{key}`` in it, or with the names of the key's parts.
        query: What the document's route is asked, from its key and the selection's options.
        shredder: What becomes of the documents.
        parts: The parts of a key that the route names.
        accept: The content types of documents.
        body: What is asked by POST, from the key and what is selected; ``None`` asks by GET.
    """

    listing: Listing
    asked: Query
    route: str
    query: Callable[[str, Mapping[str, Any]], Query]
    shredder: DocumentShredder
    parts: Callable[[str], Mapping[str, str]] = lambda key: {"key": key}
    accept: str = JSON
    body: Callable[[str, Selection], Query] | None = None

    waits_for_commits = False

    @property
    def paging(self) -> str:
        """How the keys are listed; then each is asked for by itself."""
        return f"{self.listing.paging}, by key"

    @property
    def cap(self) -> int | None:
        """Keys asked for in one request of the listing, where it says how many."""
        return self.listing.cap

    def read(self, reading: Reading) -> Iterator[Chunk]:
        """Chunks of ``chunk_size`` documents, in the order of the cursor."""
        end: list[Cursor | None] = []
        last = None
        with closing(self._listed(reading, end)) as keys:
            for chunk in self._chunks(reading, islice(keys, reading.selection.limit)):
                last = chunk.cursor
                yield chunk
                del chunk  # or it would live until the next one is whole
        if end and reading.selection.limit is None and end[-1] != last:
            yield Chunk(label(()), {}, {}, cursor=end[-1])

    def read_keys(self, reading: Reading, keys: Iterable[str]) -> Iterator[Chunk]:
        """Chunks of ``chunk_size`` documents, in the order of ``keys``; the cursor does not move."""
        return self._chunks(reading, self._looked_up(reading, keys))

    def read_each(self, reading: Reading, keys: Iterable[str]) -> Iterator[Result[dict[str, Any]]]:
        """Each document as decoded JSON, or as the failure that it is, in the order of ``keys``."""
        wanted = (self._wanted(reading, key, None) for key in keys)
        ahead = int(reading.selection.options.get("chunk_size", FEW_AHEAD))
        for key, outcome in self._fetched(reading, wanted, ahead=ahead):
            if isinstance(outcome, Failure):
                yield outcome
            else:
                yield Success(key.key, self.shredder.value(outcome))

    def fresh(self, reading: Reading, page: Page) -> list[tuple[Row, int]]:
        """The rows of a page of the listing whose documents are fetched, with their place."""
        return fresh_rows(reading, page)

    def fetch(self, reading: Reading, key: Wanted) -> Any:
        """One document, or the failure that it is."""
        if key.problem is not None:
            return key.problem
        before: list[bytes] = []

        def decode(reply: Reply) -> Any:
            return self._decode(key, reply, before)

        query = self.query(key.key, reading.selection.options)
        parts = {name: quote(part, safe="") for name, part in self.parts(key.key).items()}
        if not {".", ".."}.isdisjoint(parts.values()):  # in a path they mean another route
            return not_found(reading, key.key, proper="")
        route = self.route.format(**parts)
        body = self.body(key.key, reading.selection) if self.body else None
        try:
            return reading.client.get(route, query=query, body=body, decode=decode, accept=self.accept)
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            return reading.fetch_failure(key.key, error)
        except RecordError as error:
            return reading.record_failure(
                key.key, error.message, raw=b"".join(before[-1:]), url=f"/api/{route}"
            )

    def _decode(self, key: Wanted, reply: Reply, before: list[bytes]) -> Any:
        """The document; the same unreadable bytes twice are the record's own fault, not the transfer's.

        Half a document is the transfer's for longer: what cuts one off may cut another at the same place.
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

    def _listed(self, reading: Reading, end: list[Cursor | None]) -> Generator[Wanted]:
        listed = self.listing.pages(reading, self.shredder.rows, self.asked)
        # the next page is read while the documents of this one are: one page ahead takes memory enough
        with closing(in_background(listed, ahead=0, check=reading.check)) as ahead:
            for page in ahead:
                fresh = self.fresh(reading, page)
                end[:] = [page.end]
                reading.listen(events.ItemsListed(reading.resource, len(fresh)))
                for row, place in fresh:
                    cursor = page.cursors[place]
                    yield Wanted(row.key, row.version, cursor, self._unlisted(reading, row), row.record)
        reading.listen(events.ItemsListed(reading.resource, 0, final=True))

    def _unlisted(self, reading: Reading, row: Row) -> Failure | None:
        if self.listing.proper(row.key):
            return None
        return reading.record_failure(row.key, row.problem or "its key cannot be asked for", raw=row.raw)

    def _looked_up(self, reading: Reading, keys: Iterable[str]) -> Iterator[Wanted]:
        """The keys with their versions, as far as the listing knows them.

        A list that cannot be asked for keys has no versions either, and is not read for them.
        """
        if self.listing.keys_at_once > KEYS_AHEAD:
            yield from (self._wanted(reading, key, None) for key in keys)
            return
        for group in in_groups(keys, self.listing.keys_at_once):
            proper = [key for key in map(self.listing.proper, group) if key]
            found = self._look_up(reading, proper) if proper else {}
            for key in group:
                yield self._wanted(reading, key, found.get(self.listing.proper(key)))

    def _wanted(self, reading: Reading, key: str, row: Row | None) -> Wanted:
        proper = self.listing.proper(key)
        problem = None if proper else not_found(reading, key, proper="")
        version, record = (row.version, row.record) if row else (None, None)
        return Wanted(proper or key, version, None, problem, record)

    def _look_up(self, reading: Reading, keys: list[str]) -> dict[str, Row]:
        answer = in_order(
            [keys],
            lambda some: self.listing.look_up(reading, some, self.shredder.rows, self.asked),
            workers=1,
            ahead=1,
            check=reading.check,
        )
        try:
            return next(answer)[1]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError:
            return {}  # then the documents come without their time_stamp

    def _fetched(
        self, reading: Reading, keys: Iterable[Wanted], *, ahead: int = AHEAD
    ) -> Iterator[tuple[Wanted, Any]]:
        workers = reading.client.connection.max_in_flight
        return in_order(
            keys,
            lambda key: self.fetch(reading, key),
            workers=workers,
            ahead=max(2 * workers, ahead),
            useful=reading.client.useful_threads,
            check=reading.check,
        )

    def _chunks(self, reading: Reading, keys: Iterable[Wanted]) -> Iterator[Chunk]:
        """Chunks of fetched documents; when something stops the reading, what came before it is given."""
        size = int(reading.selection.options.get("chunk_size", 200))
        chunk = _Gathered(self, reading)
        try:
            for key, outcome in self._fetched(reading, keys):
                if key.key in chunk or len(chunk) >= size:
                    full, chunk = chunk, _Gathered(self, reading)
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
    """Whether it is the beginning of a JSON text, and no more."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


class _Gathered:
    """A chunk while it is filled; documents are shredded a few at a time.

    Nothing is judged before it is whole: a verdict may stop the reading, and the chunk so far is given then.
    """

    def __init__(self, reader: ByKeyReader, reading: Reading) -> None:
        self._reader, self._reading = reader, reading
        self._waiting: list[tuple[Wanted, Any]] = []
        self._keys: list[Wanted] = []
        self._seen: set[str] = set()
        self._verdicts: list[bool] = []
        self._rows: dict[Table, list[pa.RecordBatch]] = {}
        self._failures: list[Failure] = []
        self.landed: dict[str, int | None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._seen

    def add(self, key: Wanted, outcome: Any) -> None:
        """One more document, or the failure that it is."""
        self._keys.append(key)
        self._seen.add(key.key)
        self._reading.listen(events.ItemsFetched(self._reading.resource, 1))
        if isinstance(outcome, Failure):
            self._fail(outcome)
            return
        if why := getattr(outcome, "saturated", ""):
            self._failures.append(saturated(self._reading, self._reader.route, why, key=key.key))
        self._waiting.append((key, outcome))
        self.landed[key.key] = key.version
        if len(self._waiting) >= SHREDDED_TOGETHER:
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
        """Tell of each document what became of it, once; may raise ``TooManyFailures``."""
        verdicts, self._verdicts = self._verdicts, []
        for ok in verdicts:
            self._reading.judge(ok)

    def _shred(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            self._take([document for _, document in waiting])
        except RecordError:
            for key, document in waiting:
                self._shred_alone(key, document)

    def _shred_alone(self, key: Wanted, document: Any) -> None:
        try:
            self._take([document])
        except RecordError as error:
            del self.landed[key.key]
            self._fail(self._reading.record_failure(key.key, error.message, raw=document.raw))

    def _take(self, documents: list[Any]) -> None:
        if documents:
            for table, batch in self._reader.shredder.shred(
                documents, self._reading.selection.options
            ).items():
                self._rows.setdefault(table, []).append(batch)
            self._verdicts += [True] * len(documents)

    def _fail(self, failure: Failure) -> None:
        self._failures.append(failure)
        self._reading.listen(events.ItemFailed(failure))
        self._verdicts.append(False)
