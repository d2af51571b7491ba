"""A connection to WATS: streams of what it has, and batches of what is asked for by key."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from wats_extract.engine.fetching import Fetched, Fetching, until_left
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import Moment
from wats_extract.flow import Chunk, Failure, Result, Selection
from wats_extract.frontends.asynchronous import awaited, awaited_each
from wats_extract.http.client import Client
from wats_extract.pipeline.opening import open_client
from wats_extract.pipeline.source import Source, connection
from wats_extract.readers.ahead import in_background
from wats_extract.readers.reading import Reading
from wats_extract.resources.catalogue import resource_named, table_named
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import Filter, select, whole_number
from wats_extract.tables import Table

T = TypeVar("T")


def connect(url: str | None = None, *, token: str | None = None, **limits: Any) -> Wats:
    """A connection to a WATS server.

    Args:
        url: The server's address, such as ``https://example.wats.com``; else ``WATS_URL``, else
            ``PYWATS_SERVER_URL``, else the embedded demo server.
        token: The API token; else ``WATS_TOKEN``, else ``PYWATS_API_TOKEN``.
        limits: ``requests_per_minute`` (500), ``max_in_flight`` (10), ``max_requests`` (no limit) and
            ``timeout`` (120 s), as in a pipeline file.

    Raises:
        ConfigurationError: one of these is wrong, or there is no token.
    """
    return Wats(connection(url, token, **limits))


def demo(*, reports: int | None = None, seed: int | None = None) -> Wats:
    """A connection to an embedded WATS server that starts now and ends with the connection.

    Args:
        reports: How many reports it has, 3,000 by default.
        seed: Which ones, 1 by default; the same seed gives the same reports.
    """
    given = {"reports": reports, "seed": seed}
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    return Wats(connection(f"demo?{query}" if query else "demo", ""))


class Stream(Iterator[pa.RecordBatch]):
    """Record batches while they arrive, in bounded memory; consumed once.

    Attributes:
        failures: Items that did not fit or could not be fetched, so far; look at them when it has ended.
    """

    def __init__(self, chunks: Iterator[Chunk], table: Table, client: Client) -> None:
        self.failures: list[Failure] = []
        self._client = client
        self._batches = self._read(until_left(chunks, client), table)

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def close(self) -> None:
        """Stop reading before the end; what is under way is given up."""
        self._batches.close()

    def stop(self) -> None:
        """The same from another thread: the one that reads gets ``Interrupted``, soon."""
        self._client.stop()

    def _read(self, chunks: Generator[Chunk], table: Table) -> Generator[pa.RecordBatch]:
        with closing(chunks):
            for chunk in chunks:
                self.failures.extend(chunk.failures)
                yield from chunk.rows.get(table, ())


class Wats:
    """A connection to a WATS server; closed by ``close()``, by leaving its ``with``, or with the process.

    Safe to share between threads: the request budget is shared too.
    """

    def __init__(self, source: Source) -> None:
        stack = ExitStack()
        self._client = stack.enter_context(open_client(source))
        # At the latest before the interpreter takes the embedded server's threads away.
        self._close = weakref.finalize(self, stack.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Wats at {self.url}>"

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.connection.url

    def close(self) -> None:
        """Close the connection, and the embedded server where there is one."""
        self._close()

    def stream(
        self,
        resource: str,
        *,
        table: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        filter: Filter | None = None,  # noqa: A002
        limit: int | None = None,
        **options: Any,
    ) -> Stream:
        """Read a resource from beginning to end, batch by batch, in bounded memory.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            table: Which of the resource's tables, such as ``steps``; its first by default.
            since: Reports that start at or after: a datetime, a date, or a text such as ``30 days ago``.
            until: Reports that start before.
            filter: ``{"part_number": ["A", "B"], "result": "Failed"}``, OData text, or a condition of
                :mod:`wats_extract.filters.condition`.
            limit: Stop after so many items (reports), in the server's processing order.
            options: The resource's own, as in a pipeline file: ``expand``, ``attachments``, ``charts``, ….

        Yields:
            Record batches of one page or chunk each (schema: the table's, without the ``_wats`` stamps).

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: the list itself stays without an answer.
        """
        declared = resource_named(resource)
        wanted = table_named(declared, table)
        selection = select(
            declared,
            since=since,
            until=until,
            filter=filter,
            limit=limit,
            options=_read_only(options),
        )
        reading = self._reading(declared, selection)
        chunks = declared.reader.read(reading)
        if not declared.reader.waits_for_commits:
            chunks = in_background(chunks, ahead=0, check=reading.check)
        return Stream(chunks, wanted, reading.client)

    def astream(self, resource: str, **selection: Any) -> AsyncGenerator[pa.RecordBatch]:
        """The same as :meth:`stream`, from asyncio: each batch is waited for in a thread.

        A task that is cancelled stops the reading first; that takes as long as a request at most.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            selection: What :meth:`stream` takes.

        Yields:
            Record batches, as :meth:`stream` does.

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: the list itself stays without an answer.
        """
        stream = self.stream(resource, **selection)
        return awaited_each(stream, stop=stream.stop, close=stream.close)

    def fetch(
        self,
        resource: str,
        keys: Iterable[str],
        *,
        chunk_size: int = 200,
        max_in_flight: int | None = None,
        fail_fast: bool = False,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Fetched:
        """Fetch items by key, concurrently, as Arrow tables; a key that fails never disturbs the others.

        What a key is and what it costs, by domain; ``docs/batch.md`` has every resource:

        =================  =========================================================  =====================
        domain             resources: route                                           keys, requests
        =================  =========================================================  =====================
        reports            ``reports``: ``Report/Wsjf/{uuid}``,                       uuids: one each, and
                           ``wsxf_reports``: ``Report/Wsxf/{uuid}``                   one more for forty
                           ``report_attachments``: ``Report/Attachment``              uuids: one a file
                           ``report_headers``: ``Report/Query/Header``                uuids: one for forty
        products           ``product_details``: ``Product/{part number}``, with       part numbers: one each
                           revisions and tags
                           ``products``: ``Product/Query``                            part numbers: the list
        assets             ``assets``: ``Asset``                                      asset ids: the list
                           ``asset_logs``: ``Asset/Log``                              log ids: one for forty
        production         ``units``: ``Production/Unit/{serial}/{part}``,            ``serial|part``: one
                           ``unit_verifications``: ``Production/UnitVerification``    each, one more for
                                                                                      twenty
                           ``serial_numbers``: ``Production/SerialNumbers``           their types: one each
        root cause         ``tickets``: ``RootCause/Tickets``                         ticket ids: the list
                           ``ticket_histories``: ``RootCause/Ticket``                 ticket ids: one each
        software           ``packages``: ``Software/Packages``                        package ids: the list
                           ``package_files``: ``Software/PackageFiles/{id}``          package ids: one each
        users              ``users``: ``SCIM/v2/Users``                               user ids: the list
        processes          ``processes``: ``App/Processes``                           codes: the list
        analytics          ``docs/batch.md``                                          questions: one each
        =================  =========================================================  =====================

        *The list*: the route cannot be asked for keys, so all of it is read, once for 100,000 keys.

        Every request counts in the connection's budget (500 a minute by default, which WATS enforces with
        429), so 5,000 reports take about ten minutes, whatever ``max_in_flight`` says: a batch waits for
        the budget, and when WATS asks for a pause.

        Memory is what the result needs, for it is returned whole, and beside that at most 200 documents,
        or one list. For more keys than fit, use :meth:`fetch_each`, or a pipeline.

        Args:
            resource: Its name; ``wats-extract resources`` lists them.
            keys: The keys; may be a generator, which is read only as far ahead as requests need it. A key
                that is given twice is fetched once.
            chunk_size: Documents that are gathered before ``on_progress`` hears of them.
            max_in_flight: Requests at the same time; the connection's (10 by default) also is the most.
            fail_fast: Whether the first failure is raised, and nothing more is asked for.
            on_progress: Told how many items are through, after each chunk.
            options: The resource's own, as in a pipeline file.

        Returns:
            Arrow tables, rows in the order of the keys, and the failures.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` says so; it has the ``Failure``.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        return self._fetching(
            resource,
            chunk_size=chunk_size,
            max_in_flight=max_in_flight,
            fail_fast=fail_fast,
            on_progress=on_progress,
            **options,
        ).tables(keys)

    def fetch_each(
        self,
        resource: str,
        keys: Iterable[str],
        *,
        chunk_size: int = 40,
        max_in_flight: int | None = None,
        fail_fast: bool = False,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Generator[Result[dict[str, Any]]]:
        """Fetch items by key, one outcome for each, in the order of the keys.

        Routes, keys and requests are those of :meth:`fetch`, but reports and units are not looked up in
        their list beforehand, which saves one request for forty or twenty. Requests count in the
        connection's budget in the same way, and what is not consumed is not asked for.

        Memory is some dozens of items, however many keys there are; where a list is read instead (see
        :meth:`fetch`), 100,000 keys and their rows.

        Args:
            resource: Its name; ``wats-extract resources`` lists them.
            keys: The keys; may be an endless generator, of which only some dozens are taken ahead, or
                100,000 where a list is read. A key that is given twice has two outcomes.
            chunk_size: Documents that are fetched in front of the one whose turn it is, at most.
            max_in_flight: Requests at the same time; the connection's (10 by default) also is the most.
            fail_fast: Whether the first failure is raised, and nothing more is asked for.
            on_progress: Told how many items are through, with each.
            options: The resource's own, as in a pipeline file.

        Yields:
            ``Success`` with the decoded JSON as its value, or ``Failure``; ``outcome.ok`` tells which.
            Leaving the loop early, or ``close()``, gives up what is under way.

        Raises:
            ConfigurationError: a name or a value is wrong; at once.
            KeyFailed: a key failed, and ``fail_fast`` says so; it has the ``Failure``.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        return self._fetching(
            resource,
            chunk_size=chunk_size,
            max_in_flight=max_in_flight,
            fail_fast=fail_fast,
            on_progress=on_progress,
            **options,
        ).each(keys)

    async def afetch(self, resource: str, keys: Iterable[str], **how: Any) -> Fetched:
        """The same as :meth:`fetch`, from asyncio: it works in a thread.

        Routes, keys, memory and the budget of requests are those of :meth:`fetch`; several at the same time
        share the connection's. A task that is cancelled stops the work first: waits end at once, no request
        follows, and those under way end by the connection's ``timeout``.

        Args:
            resource: Its name; ``wats-extract resources`` lists them.
            keys: The keys; a generator is read in the thread.
            how: What else :meth:`fetch` takes; ``on_progress`` is called in the thread.

        Returns:
            Arrow tables and failures.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` says so.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        fetching = self._fetching(resource, **how)
        return await awaited(partial(fetching.tables, keys), stop=fetching.stop)

    def afetch_each(
        self, resource: str, keys: Iterable[str], **how: Any
    ) -> AsyncGenerator[Result[dict[str, Any]]]:
        """The same as :meth:`fetch_each`, from asyncio: each outcome is waited for in a thread.

        Routes, keys, memory and the budget of requests are those of :meth:`fetch_each`, cancelling is as
        with :meth:`afetch`.

        Args:
            resource: Its name; ``wats-extract resources`` lists them.
            keys: The keys; a generator is read in the threads.
            how: What else :meth:`fetch_each` takes; ``on_progress`` is called in the threads.

        Yields:
            ``Success`` with the decoded JSON as its value, or ``Failure``, in the order of the keys.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` says so.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not answer any more.
        """
        fetching = self._fetching(resource, **how)
        outcomes = fetching.each(keys)
        return awaited_each(outcomes, stop=fetching.stop, close=outcomes.close)

    def _fetching(
        self,
        name: str,
        *,
        max_in_flight: int | None = None,
        fail_fast: bool = False,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Fetching:
        resource = resource_named(name)
        selection = select(resource, options=_read_only(options), by_key=True)
        reading = self._reading(resource, selection, max_in_flight)
        return Fetching(resource, reading, fail_fast, on_progress or (lambda done: None))

    def _reading(self, resource: Resource, selection: Selection, max_in_flight: int | None = None) -> Reading:
        _check(max_in_flight=max_in_flight)
        part = self._client.part(max_in_flight=max_in_flight, keeping=self)
        return Reading(resource.name, part, selection, check=part.check)


def _check(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is None:
            continue
        try:
            whole_number(number)
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from None


def _read_only(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if options.get("acknowledge"):
        raise ConfigurationError(
            "acknowledge: only a pipeline acknowledges what it has committed", hint="Leave it out to read."
        )
    return options
