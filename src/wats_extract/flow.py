"""The values that travel, and the protocols between the rooms: the whole design on one page.

::

    server ─get→ Reply ─read→ Page ─shred→ Chunk ─write→ staged ─commit(cursor)→ tables + _wats_…
           client      reader      shredder      destination        destination

*Read* turns a resource into pages, *shred* turns records into Arrow rows and failures, and a
:class:`Chunk` is what becomes durable at once: rows, failures and cursor together, or none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa

from wats_extract.tables import Rows, Table

if TYPE_CHECKING:
    from wats_extract.events import Listener
    from wats_extract.state.lock import Sighting

T = TypeVar("T")


Cursor: TypeAlias = dict[str, Any]
"""The position within one resource: a small JSON object, such as ``{"time_stamp": 123456}``."""


Asked: TypeAlias = Mapping[str, tuple[str, ...]]
"""What a statistic is asked by: a field of the WATS filter → its values."""


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────


# ── what goes wrong, item by item ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Success(Generic[T]):
    """An item that was extracted: its key and its value.

    Attributes:
        ok: ``True``, which tells it from a ``Failure``.
    """

    key: str
    value: T
    ok: ClassVar[Literal[True]] = True


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be extracted; it becomes a row of ``_wats_failures`` and the run goes on.

    Attributes:
        resource: The resource, such as ``reports``.
        key: The item's key, such as a report's uuid.
        stage: ``fetch``, ``shred`` or ``write``.
        error_code: ``NOT_FOUND``, ``TIMEOUT``, ``API_ERROR``, ``INVALID_RECORD``, ….
        message: What happened, in a sentence.
        hint: What to do about it.
        http_status: The last answer's status, or ``None``.
        url: What was asked, without host and without secrets.
        attempts: Requests that were sent for it.
        payload: The first 2 kB of what could not be read.
        ok: ``False``, which tells it from a ``Success``.
    """

    resource: str
    key: str
    stage: str
    error_code: str
    message: str
    hint: str = ""
    http_status: int | None = None
    url: str = ""
    attempts: int = 1
    payload: str = ""
    ok: ClassVar[Literal[False]] = False

    @property
    def details(self) -> dict[str, Any]:
        """What is known beside code and message: where it was asked for, how often, and what came."""
        names = ("resource", "key", "stage", "http_status", "url", "attempts", "payload")
        return {name: getattr(self, name) for name in names}

    @property
    def suggestions(self) -> list[str]:
        """What to do about it: the hint, where there is one."""
        return [self.hint] if self.hint else []


Result: TypeAlias = Success[T] | Failure


def collect_successes(results: Iterable[Result[T]]) -> list[T]:
    """The values of those that succeeded, in their order."""
    return [result.value for result in results if result.ok]


def collect_failures(results: Iterable[Result[T]]) -> list[Failure]:
    """Those that failed, in their order."""
    return [result for result in results if not result.ok]


def partition(results: Iterable[Result[T]]) -> tuple[list[T], list[Failure]]:
    """The values of those that succeeded and those that failed; ``results`` may be a generator."""
    values: list[T] = []
    failures: list[Failure] = []
    for result in results:
        if result.ok:
            values.append(result.value)
        else:
            failures.append(result)
    return values, failures


# ── what travels ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the server, body already inflated."""

    status: int
    body: bytes = field(repr=False)
    url: str
    content_type: str = ""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One record of a page, read or not; there are many, so it is no dataclass, which takes longer to make.

    Attributes:
        key: What identifies it, or the place it was found at where it has no key.
        version: Its cursor field, or ``None`` where it has none.
        record: The typed record, or ``None`` where it does not fit.
        problem: Why it does not fit.
        raw: The text that does not fit.
    """

    key: str
    version: int | None
    record: Any = None
    problem: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a resource is asked for, and in which detail.

    Attributes:
        since: Reports that start at or after this instant.
        until: Reports that start before this instant.
        filter: An OData ``$filter`` text, or empty.
        options: The resource's own options by name, such as ``expand``, ``chunk_size``, ``charts``.
        asked: The fields of the WATS filter, for resources that are asked by it and not by OData.
        limit: Items after which to stop, in the order of the cursor; ``None`` for all.
    """

    since: datetime | None = None
    until: datetime | None = None
    filter: str = ""
    asked: Asked = field(default_factory=dict)
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a list that was read; it becomes a row of ``_wats_windows``.

    Attributes:
        begin: The first instant in it, as text.
        end: The first instant after it.
        rows: What the server gave of it.
        cap: The most rows that it gives in one answer, as far as is known.
        complete: Whether that is all that there is.
    """

    begin: str
    end: str
    rows: int
    cap: int
    complete: bool

    @property
    def key(self) -> str:
        """What it is called in ``_wats_failures``."""
        return f"{self.begin}/{self.end}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is committed at once.

    Attributes:
        label: A name that follows from resource and cursor range; a repeated commit has the same one.
        rows: Shredded batches by table (schema: ``Table.shredded_schema``).
        landed: The items in it: key → version (``None`` where the resource has no version).
        failures: The items that did not make it.
        cursor: The position after this chunk, or ``None`` if it does not move.
        healed: Keys beside those landed whose open failures are over.
        window: What it covers, where it is all that the server gave of a stretch.
    """

    label: str
    rows: Rows
    landed: Mapping[str, int | None]
    failures: Sequence[Failure] = ()
    cursor: Cursor | None = None
    healed: Sequence[str] = ()
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier runs know of items, so that a reader need not ask for them again.

    Attributes:
        landed: Which of some keys have landed, and in which version; those of other versions than from the
            least to the largest that are given may be left out.
        failed: The keys with an open failure; they are left to ``retry`` until they change on the server.
        skip: Whether items that have landed in the same version are left out (a full pass reads them all).
    """

    landed: Callable[[Sequence[str], tuple[int, int] | None], Mapping[str, int | None]] = (
        lambda keys, versions: {}
    )
    failed: frozenset[str] = frozenset()
    skip: bool = True


# ── destinations ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Commit:
    """Rows, cursor and failures that a destination makes durable together, or not at all.

    Attributes:
        label: The name of the commit. A repeated commit has the same label. The Parquet destination names its
            files after it.
        rows: Stamped rows by table (schema: ``Table.schema``). The earlier rows of replaced items are deleted
            from these tables, so every table of the resource is listed, even one without rows. The first
            one with an owner column is the main table: it has a row for every item.
        landed: The items in this commit: key → version.
        replaced: The items of ``landed`` whose earlier rows are deleted, matched by ``Table.owner``.
        book: Rows of bookkeeping tables, as dictionaries. Each row replaces the row with the same key.
        sweep_before: Deletes the rows of these tables whose ``_wats_extracted_at`` is earlier, at the end of
            a full pass. ``None`` deletes nothing.
        kept: Keys of items whose rows are not swept, because the pass could not read these items.
        upsert: Whether items of ``landed`` that the main table has are replaced too. The destination looks
            them up within the commit, so rows that another process has committed in the meantime count.
    """

    label: str
    rows: Rows
    landed: Mapping[str, int | None]
    replaced: frozenset[str]
    book: Mapping[Table, Sequence[Mapping[str, Any]]]
    sweep_before: datetime | None = None
    kept: frozenset[str] = frozenset()
    upsert: bool = False


class Destination(Protocol):
    """Where tables are loaded. One thread opens and closes it and makes the commits, one at a time.

    Raises:
        DestinationError: from every method; the message names the place and the operation.
    """

    while_waiting: Callable[[str, float], None]
    """Called a few times per second while the destination waits for another process, with the reason and the
    remaining seconds until it gives up. May raise to stop the wait."""

    @property
    def place(self) -> str:
        """Where the tables are, for messages: a path or a URL without secrets."""

    def exclusive(
        self,
        pipeline: str,
        *,
        check: Callable[[], None] = lambda: None,
        listen: Listener = lambda event: None,
    ) -> AbstractContextManager[None]:
        """Keep every other run of the pipeline out for the duration of the ``with`` block.

        May be entered before :meth:`open`. Within the block, each commit first checks that no other process
        has taken over.

        Args:
            pipeline: The name of the pipeline.
            check: Called several times per second while it is unclear whether another machine still runs
                the pipeline. May raise to stop the wait.
            listen: Receives an event when such a wait begins and ends.

        Raises:
            PipelineLocked: Another process runs the pipeline. Also raised by commits within the block.
        """

    def holder(self, pipeline: str) -> Sighting | None:
        """Which process runs the pipeline, or ``None``. May be called without :meth:`open`."""

    def open(self, *, read_only: bool = False) -> None:
        """Open the destination, finish or undo an interrupted commit, and delete stale staging files.

        With ``read_only`` nothing is created or deleted, and a destination that does not exist yet is empty.
        """

    def close(self) -> None:
        """Close the destination."""

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create missing tables, add missing columns, and check the types of existing columns."""

    def landed(
        self, table: Table, keys: Sequence[str], *, versions: tuple[int, int] | None = None
    ) -> dict[str, int | None]:
        """Return which of ``keys`` have a row in ``table`` (by its owner column): key → latest version.

        Sees durable rows only. May be called from another thread during a commit.

        Args:
            table: The table.
            keys: Keys of items.
            versions: The lowest and the highest version of interest. Keys with other versions only may be
                missing from the result, which avoids reading a large table.
        """

    def commit(self, commit: Commit) -> None:
        """Make a commit durable before returning: all of it or, after an error, nothing.

        The same commit twice leaves the same tables.
        """

    def read(self, table: Table, **equal: str) -> pa.Table:
        """Return the rows of a (bookkeeping) table whose columns equal the given texts."""

    def scan(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Iterate over some columns of all rows, in no order, batch by batch. A missing table is empty."""

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Count rows by table name. Missing tables are left out."""


USUAL_CAPS = frozenset({1_000, 10_000, 100_000})
