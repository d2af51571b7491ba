"""Extracts full reports from a server in the same process, so that the client is the bottleneck.

``python -m benchmarks.ours.simulated REPORTS FOLDER``

Instead of a network, there is a function that decompresses a prepared document. Everything else is the same
as in a run.
"""

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.internals import (
    REPORTS,
    Answer,
    Client,
    Connection,
    DuckDB,
    Job,
    Selection,
    Task,
    Tolerance,
    execute,
)
from benchmarks.server import App, Reports, Request

MAX_IN_FLIGHT = 10


class SimulatedTransport:
    """Replaces the client's transport and responds at once."""

    longest = 600.0

    def __init__(self, app: App) -> None:
        self._app = app

    def ask(self, url: str, **_: Any) -> Answer:
        """The server's response, decompressed."""
        path, _, query = url.partition("?")
        request = Request(path, query, {"accept-encoding": "gzip"})
        _, body, headers = self._app.respond(request)
        body = gzip.decompress(body) if headers else body
        return Answer(200, body, "application/json", None, lambda: None)

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    app = App(Reports(int(sys.argv[1])), requests_per_minute=None, latency=0.0)
    connection = Connection(
        "http://127.0.0.1", token="benchmark", requests_per_minute=None, max_in_flight=MAX_IN_FLIGHT
    )
    none = Tolerance.parse(0)
    destination = DuckDB(Path(sys.argv[2]) / "wats.duckdb")
    job = Job(
        "benchmark", [Task(REPORTS, Selection())], destination, max_failures=none, stop_at_failures=none
    )
    with Client(connection) as client:
        client._wire = SimulatedTransport(app)
        began = time.perf_counter()
        done = execute(job, client)
        seconds = time.perf_counter() - began
    print(json.dumps({"items": done.resources["reports"].items, "seconds": seconds}))


main()
