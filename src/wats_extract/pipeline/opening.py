"""Open the client and the destination that a pipeline file names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from wats_extract import events
from wats_extract.flow import Destination
from wats_extract.http import shared_budget
from wats_extract.http.client import Client, Connection
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.source import Source


@contextmanager
def open_client(
    source: Source, *, listen: events.Listener = events.nobody, stopping: threading.Event | None = None
) -> Iterator[Client]:
    """Open a client for a source; for the demo, the embedded server runs as long as the client.

    Args:
        source: The server and its limits.
        listen: Receives events, from any thread.
        stopping: Set it to end the requests in flight.

    Raises:
        ConfigurationError: there is no token for a real server.
    """
    with ExitStack() as stack:
        # The token is not a local variable, because a traceback may show the variables of every function.
        place = Connection(
            url=source.url,
            token=source.usable_token(),
            requests_per_minute=source.requests_per_minute,
            max_in_flight=source.max_in_flight,
            max_requests=source.max_requests,
            timeout=source.timeout,
            ca_file=source.ca_file,
            proxy=source.proxy.get_secret_value(),
        )
        if source.demo is not None:
            from wats_extract.fake import embedded

            url = stack.enter_context(embedded.serving(source.demo.reports, source.demo.seed))
            place = replace(place, url=url, token=embedded.TOKEN, ca_file=None, proxy="")
        budgets = shared_budget.folder() if source.demo is None else None
        yield stack.enter_context(Client(place, listen=listen, stopping=stopping, budgets=budgets))


def destination_of(pipeline: Pipeline) -> Destination:
    """The pipeline's destination, not yet opened; only the library that it needs is imported."""
    config = pipeline.destination
    if config.type == "duckdb":
        from wats_extract.destinations.duckdb import DuckDB

        return DuckDB(config.path, schema=config.schema_name)
    from wats_extract.destinations.parquet.folder import Parquet

    return Parquet(config.path)
