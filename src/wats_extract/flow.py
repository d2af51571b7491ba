"""The values that pass between the packages: the whole design on one page.

::

    plan ─Window→ get ─Reply→ read ─Page→ shred ─Chunk→ commit(cursor) → tables + _wats_state + …
    reader        client      reader      shredder      destination

*Plan* divides a resource into windows, *read* turns a window into pages, *shred* turns records into Arrow
rows and failures. A :class:`Chunk` becomes durable as a whole: rows, failures and cursor together, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa

from wats_extract.cursor import Cursor
from wats_extract.tables import Rows, Table

if TYPE_CHECKING:
    from wats_extract.events import Listener
    from wats_extract.state.lock import Sighting

T = TypeVar("T")


Asked: TypeAlias = Mapping[str, tuple[str, ...]]
"""The fields of a WATS filter, each with its values."""


# ── results, item by item ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Success(Generic[T]):
    """An item that was extracted, with its value.

    Attributes:
        key: The item's key.
        value: The item, usually its decoded JSON.
        ok: ``True``; a ``Failure`` has ``False``.
    """

    key: str
    value: T
    ok: ClassVar[Literal[True]] = True


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be extracted. It becomes a row of ``_wats_failures``, and the run goes on.

    Attributes:
        resource: The resource, such as ``reports``.
        key: The item's key, such as a report's uuid.
        stage: ``fetch`` or ``shred``.
        error_code: ``NOT_FOUND``, ``TIMEOUT``, ``API_ERROR``, ``INVALID_RECORD``, ….
        message: What happened, in one sentence.
        hint: What to do about it.
        http_status: The status of the last response, or ``None``.
        url: Path and query of the request, without host and secrets.
        attempts: The number of requests sent for the item.
        payload: The first 2 kB of the response or record that could not be read.
        final: Whether fetching it once more in the same run is pointless although the code says otherwise.
        ok: ``False``; a ``Success`` has ``True``.
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
    final: bool = False
    ok: ClassVar[Literal[False]] = False

    @property
    def details(self) -> dict[str, Any]:
        """The request, its attempts and its response, by name."""
        names = ("resource", "key", "stage", "http_status", "url", "attempts", "payload")
        return {name: getattr(self, name) for name in names}

    @property
    def suggestions(self) -> list[str]:
        """What to do about it: the hint, if there is one."""
        return [self.hint] if self.hint else []


Result: TypeAlias = Success[T] | Failure


def collect_successes(results: Iterable[Result[T]]) -> list[T]:
    """The values of all successes, in order."""
    return [result.value for result in results if result.ok]


def collect_failures(results: Iterable[Result[T]]) -> list[Failure]:
    """All failures, in order."""
    return [result for result in results if not result.ok]


def partition(results: Iterable[Result[T]]) -> tuple[list[T], list[Failure]]:
    """The values of all successes, and all failures. ``results`` may be a generator."""
    values: list[T] = []
    failures: list[Failure] = []
    for result in results:
        if result.ok:
            values.append(result.value)
        else:
            failures.append(result)
    return values, failures


# ── windows and chunks ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, with its body already inflated.

    Attributes:
        status: The HTTP status.
        body: The body.
        url: The path and query of the request.
        content_type: The media type, as the server states it.
        headers: The headers that matter here, by lower-case name.
    """

    status: int
    body: bytes = field(repr=False)
    url: str
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One record of a page, decoded or not. A ``Struct`` is faster to create than a dataclass.

    Attributes:
        key: The record's key, or its place on the page if it has none.
        version: The value of its cursor field, or ``None`` if it has none.
        record: The typed record, or ``None`` if it does not fit its type.
        problem: Why it does not fit.
        raw: The text of a record that does not fit.
    """

    key: str
    version: int | None
    record: Any = None
    problem: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a resource to read, and in which detail.

    Attributes:
        since: Only reports that start at or after this instant.
        until: Only reports that start before this instant.
        filter: An OData ``$filter`` text, or empty.
        options: The resource's own options by name, such as ``expand``, ``chunk_size``, ``charts``.
        late_uploads: Whether reports that the server processed after the cursor are read even if they start
            before ``since``. So it is for a ``since`` that the user wrote as an age.
        asked: The fields of the WATS filter, for resources that take it instead of OData.
        limit: The number of items to stop after, in the order of the cursor; ``None`` for all.
    """

    since: datetime | None = None
    until: datetime | None = None
    filter: str = ""
    asked: Asked = field(default_factory=dict)
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    late_uploads: bool = False


class Everything(msgspec.Struct, frozen=True):
    """A window without bounds: everything in the selection, from the window's cursor on."""


class Numbers(msgspec.Struct, frozen=True):
    """The rows whose number (such as ``timeStamp``) is greater than ``after`` and at most ``upto``.

    ``None`` leaves that side open.
    """

    after: int | None = None
    upto: int | None = None


class Times(msgspec.Struct, frozen=True):
    """The rows from ``begin`` on and before ``end``; ``None`` leaves that side open."""

    begin: datetime | None = None
    end: datetime | None = None


class Keys(msgspec.Struct, frozen=True):
    """Some keys, in the order in which they are read."""

    keys: tuple[str, ...]


Bounds: TypeAlias = Everything | Numbers | Times | Keys


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a resource that one worker reads, in any process and on any machine.

    A window is a small value that pickles. The windows of one plan are disjoint, and together they cover
    the selection.

    Attributes:
        resource: The resource's name; a worker looks the declaration up by it.
        selection: Which rows, and in which detail.
        bounds: Which part of them: a range of numbers, a range of time, or some keys.
        cursor: Where an earlier reading ended, ``None`` for the beginning.
    """

    resource: str
    selection: Selection
    bounds: Bounds = field(default_factory=Everything)
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """A range that was read; it becomes a row of ``_wats_coverage``.

    Attributes:
        field: What the range is a range of: ``time_stamp`` or ``start``.
        begin: The first position in it, as text; empty where the range has no lower bound.
        end: The position that it reaches: the last one for ``time_stamp``, the first one after it for
            ``start``.
        rows: The number of rows that the server returned for it.
        cap: The most rows that the server returns in one response, as far as is known; ``None`` if unknown.
        complete: Whether these are all rows there are.
    """

    field: str
    begin: str
    end: str
    rows: int
    cap: int | None
    complete: bool

    @property
    def key(self) -> str:
        """The key of a failure about this range, in ``_wats_failures``."""
        return f"{self.begin}/{self.end}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is committed together.

    Attributes:
        label: A name derived from resource and cursor range; a repeated commit has the same label.
        rows: Shredded batches by table (schema: ``Table.shredded_schema``).
        landed: The items in it: key → version (``None`` where the resource has no version).
        failures: The items that could not be fetched or shredded.
        cursor: The position after this chunk, or ``None`` if it does not move.
        healed: Keys beside those in ``landed`` whose open failures are resolved.
        coverage: The range that this chunk covers, for resources that are read range by range.
        acknowledge: The routes of queue items to delete on the server once the chunk is durable.
    """

    label: str
    rows: Rows
    landed: Mapping[str, int | None]
    failures: Sequence[Failure] = ()
    cursor: Cursor | None = None
    healed: Sequence[str] = ()
    coverage: Coverage | None = None
    acknowledge: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier runs loaded, so that a reader can skip it.

    Attributes:
        landed: Returns which of some keys are loaded, with their versions. With a range of versions, keys
            whose version lies outside the range may be missing from the result.
        failed: The keys with an open failure. They are left to ``retry`` until they change on the server.
        skip: Whether to skip items that are loaded in the same version (a full pass reads all of them).
    """

    landed: Callable[[Sequence[str], tuple[int, int] | None], Mapping[str, int | None]] = (
        lambda keys, versions: {}
    )
    failed: frozenset[str] = frozenset()
    skip: bool = True


# ── destinations ────────────────────────────────────────────────────────────────────────────────

Book: TypeAlias = Mapping[Table, Sequence[Mapping[str, Any]]]
"""Rows of bookkeeping tables, by table."""


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
        book: Rows of bookkeeping tables, as dictionaries. They replace earlier rows as
            :meth:`wats_extract.tables.Table.booked` does.
        sweep_except: At the end of a full pass, the ids of its runs: deletes the rows of these tables that
            other runs have loaded. ``None`` deletes nothing.
        kept: Keys of items whose rows are not swept, because the pass could not read these items.
        upsert: Whether items of ``landed`` that the main table has are replaced too. The destination looks
            them up within the commit, so rows that another process has committed in the meantime count.
        thorough: Whether rows of replaced items may be anywhere, because somebody changed the tables by hand.
            Otherwise a destination may look for them where earlier commits have put them.
        keeps_unchanged: Whether items whose rows are equal to the existing ones in every table are left out.
            Their rows keep the stamps of the run that wrote them.
    """

    label: str
    rows: Rows
    landed: Mapping[str, int | None]
    replaced: frozenset[str]
    book: Book
    sweep_except: frozenset[str] | None = None
    kept: frozenset[str] = frozenset()
    upsert: bool = False
    thorough: bool = False
    keeps_unchanged: bool = False


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

    def reconcile(self, tables: Sequence[Table], *, append: bool = False) -> None:
        """Drop rows that are there twice, because an older copy of some files was laid over newer ones.

        Args:
            tables: All tables of one resource, the main table first, or one bookkeeping table.
            append: Whether an item may have several copies, extracted by several commits.
        """

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

    def scan(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        batch_rows: int = 10_000,
        least: tuple[str, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Iterate over some columns of all rows, in no order. A missing table is empty.

        Args:
            table: The table.
            columns: The names of the columns, in the order wanted.
            batch_rows: The largest number of rows per batch. It bounds memory if columns hold large values.
            least: A column and its smallest value, for only some of the rows; statistics prune the others.
        """

    def largest(self, table: Table, column: str) -> int | None:
        """Return the largest value in a column of whole numbers; ``None`` if it has no value."""

    def count(self, tables: Iterable[Table]) -> dict[str, int]:
        """Count rows by table name. Missing tables are left out."""


USUAL_CAPS = frozenset({1_000, 10_000, 100_000})
