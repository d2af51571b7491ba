"""A connection to WATS: stream resources, divide them into windows, and fetch items by key."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from wats_extract.engine.fetching import AnyKeys, Fetched, Fetching
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import Moment
from wats_extract.flow import Result, Window
from wats_extract.frontends.asynchronous import AsyncMethods
from wats_extract.frontends.streaming import Stream
from wats_extract.pipeline.opening import open_client
from wats_extract.pipeline.source import DEMO, connection, source_of
from wats_extract.pipeline.source import Source as SourceSettings
from wats_extract.readers.ahead import in_background
from wats_extract.readers.reader import Source
from wats_extract.resources.catalogue import resource_named, table_named
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import Filter, select, whole_number
from wats_extract.tables import Table

T = TypeVar("T")


def connect(url: str | None = None, *, token: str | None = None, **limits: Any) -> Wats:
    """Connect to a WATS server. For the embedded demo server, use :func:`demo`.

    Variables come from the environment, else from the first ``.env`` file in the current folder or above it.

    Args:
        url: The server's address, such as ``https://example.wats.com``. The default is ``WATS_URL``, then
            ``PYWATS_SERVER_URL``.
        token: The API token. The default is ``WATS_TOKEN``, then ``PYWATS_API_TOKEN``.
        limits: ``requests_per_minute`` (500), ``max_in_flight`` (10), ``max_requests`` (no limit) and
            ``timeout`` (120 s), as in a pipeline file.

    Raises:
        ConfigurationError: a value is wrong, there is no server, or there is no token.
    """
    return Wats(connection(url, token, **limits))


def demo(*, reports: int | None = None, seed: int | None = None) -> Wats:
    """Start an embedded WATS server with made-up reports, and connect to it. It ends with the connection.

    Args:
        reports: The number of reports, 3,000 by default.
        seed: Selects the reports, 1 by default; the same seed gives the same reports.
    """
    given = {"reports": reports, "seed": seed}
    query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
    return Wats(source_of({"url": f"{DEMO}?{query}" if query else DEMO}))


class Wats(AsyncMethods):
    """A connection to a WATS server. It ends with ``close()``, with its ``with`` block, or with the process.

    Threads can share a connection; they share its request budget, too.
    """

    def __init__(self, source: SourceSettings) -> None:
        stack = ExitStack()
        self._client = stack.enter_context(open_client(source))
        # The embedded server has to stop before the interpreter ends its threads.
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
        """Close the connection, and stop the embedded server if there is one."""
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
        """Read a resource from beginning to end as record batches, in bounded memory.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            table: Which of the resource's tables, such as ``steps``; its first table by default.
            since: Only reports that start at or after: a datetime, a date, or a text such as ``30 days ago``.
            until: Only reports that start before.
            filter: ``{"part_number": ["A", "B"], "result": "Failed"}``, an OData text, or a condition of
                :mod:`wats_extract.filters.condition`.
            limit: Stop after so many items (reports), in the server's processing order.
            options: The resource's own options, as in a pipeline file: ``expand``, ``attachments``, ….

        Yields:
            One record batch per page or chunk (schema: the table's, without the ``_wats`` stamps).

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: a request for the list fails after all retries.
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
        return self._stream(declared, wanted, lambda source: declared.reader.plan(source, selection))

    def plan(
        self,
        resource: str,
        *,
        parts: int = 1,
        since: Moment | None = None,
        until: Moment | None = None,
        filter: Filter | None = None,  # noqa: A002
        limit: int | None = None,
        **options: Any,
    ) -> list[Window]:
        """Divide a resource into windows, to be read by several processes or machines.

        The windows are disjoint, and together they are what :meth:`stream` reads. They pickle, and
        :meth:`read` reads each of them in any process and in any order. Report lists are divided by
        ``timeStamp`` (two requests find its range), lists with a time filter by time, statistics by question.
        Other lists cannot be divided and give one window, and so does a ``limit``.

        Args:
            resource: Such as ``report_headers`` or ``reports``.
            parts: The number of windows wanted; there may be fewer.
            since: Reports that start at or after: a datetime, a date, or a text such as ``30 days ago``.
            until: Reports that start before.
            filter: A mapping, an OData text or a condition, as for :meth:`stream`.
            limit: Stop after so many items.
            options: The resource's own options, as in a pipeline file.

        Raises:
            ConfigurationError: a name or a value is wrong.
            RequestError: a request fails after all retries.
        """
        _check(parts=parts)
        declared = resource_named(resource)
        selection = select(
            declared,
            since=since,
            until=until,
            filter=filter,
            limit=limit,
            options=_read_only(options),
        )
        source = self._source(declared)
        try:
            return list(declared.reader.plan(source, selection, parts=parts))
        finally:
            source.client.stop()

    def read(self, window: Window, *, table: str | None = None) -> Stream:
        """Read one window of :meth:`plan`, batch by batch, in bounded memory.

        Args:
            window: A window of any process's plan.
            table: Which of the resource's tables, such as ``steps``; its first by default.

        Yields:
            Record batches (schema: the table's, without the ``_wats`` stamps).

        Raises:
            ConfigurationError: the resource has no such table.
            RequestError: a request for the list fails after all retries.
        """
        declared = resource_named(window.resource)
        return self._stream(declared, table_named(declared, table), lambda source: [window])

    def _stream(self, resource: Resource, table: Table, plan: Callable[[Source], Iterable[Window]]) -> Stream:
        source, reader = self._source(resource), resource.reader
        chunks = (chunk for window in plan(source) for chunk in reader.read(source, window))
        return Stream(in_background(chunks, ahead=0, check=source.check), table, source.client)

    def fetch(
        self,
        resource: str,
        keys: AnyKeys,
        *,
        chunk_size: int = 200,
        max_in_flight: int | None = None,
        fail_fast: bool = False,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Fetched:
        """Fetch items by key, concurrently, as Arrow tables. A key that fails never affects the others.

        The keys of each domain, and the requests that they cost; ``docs/batch.md`` has every resource:

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

        *The list*: the route takes no keys, so the whole list is read, once per 100,000 keys.

        Every request counts against the connection's request budget (500 per minute by default; WATS enforces
        it with status 429). So 5,000 reports take about ten minutes, whatever ``max_in_flight`` is.

        The result is returned whole, so memory is what it needs, plus at most 200 documents or one list. For
        more keys than fit into memory, use :meth:`fetch_each`, or a pipeline.

        Args:
            resource: The resource's name; ``wats-extract resources`` lists them.
            keys: The keys, or a single one. Whole numbers and UUIDs are converted to text; any other value
                becomes a failure. A generator is read only some hundred keys ahead. A repeated key is
                fetched once.
            chunk_size: The number of documents between two calls of ``on_progress``.
            max_in_flight: The number of concurrent requests, at most that of the connection (10 by default).
            fail_fast: Whether to raise the first failure and stop.
            on_progress: Receives the number of items done, after each chunk.
            options: The resource's own options, as in a pipeline file.

        Returns:
            Arrow tables with rows in the order of the keys, and the failures.

        Raises:
            ConfigurationError: a name or a value is wrong.
            KeyFailed: a key failed, and ``fail_fast`` is set; the error has the ``Failure``.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not respond any more.
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
        keys: AnyKeys,
        *,
        chunk_size: int = 40,
        max_in_flight: int | None = None,
        fail_fast: bool = False,
        on_progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Generator[Result[dict[str, Any]]]:
        """Fetch items by key as decoded JSON, one outcome per key, in the order of the keys.

        Routes, keys, requests and the request budget are those of :meth:`fetch`, with one difference: reports
        and units are not looked up in their list first, which saves one request per 40 or 20 keys. Keys that
        the caller does not consume are not requested.

        Memory is a few dozen items, however many keys there are. If a list is read instead (see
        :meth:`fetch`), it is 100,000 keys and their rows.

        Args:
            resource: The resource's name; ``wats-extract resources`` lists them.
            keys: The keys, or a single one, as for :meth:`fetch`. A generator may be endless: it is read a
                few dozen keys ahead, or 100,000 if a list is read. A repeated key has two outcomes.
            chunk_size: The largest number of documents that are fetched ahead.
            max_in_flight: The number of concurrent requests, at most that of the connection (10 by default).
            fail_fast: Whether to raise the first failure and stop.
            on_progress: Receives the number of items done, after each item.
            options: The resource's own options, as in a pipeline file.

        Yields:
            ``Success`` with the decoded JSON as its value, or ``Failure``; ``outcome.ok`` tells which.
            Leaving the loop early, or ``close()``, abandons requests in flight.

        Raises:
            ConfigurationError: a name or a value is wrong; raised at the call.
            KeyFailed: a key failed, and ``fail_fast`` is set; the error has the ``Failure``.
            TokenRefused: the token is wrong.
            ServerUnreachable: the server does not respond any more.
        """
        return self._fetching(
            resource,
            chunk_size=chunk_size,
            max_in_flight=max_in_flight,
            fail_fast=fail_fast,
            on_progress=on_progress,
            **options,
        ).each(keys)

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
        _check(max_in_flight=max_in_flight)
        source = self._source(resource, max_in_flight=max_in_flight)
        return Fetching(resource, source, selection, fail_fast, on_progress or (lambda done: None))

    def _source(self, resource: Resource, *, max_in_flight: int | None = None) -> Source:
        """A part of the connection, to be stopped by itself."""
        part = self._client.part(max_in_flight=max_in_flight, keeping=self)
        return Source(resource.name, part, check=part.check)


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
