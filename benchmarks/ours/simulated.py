"""Extracts full reports of a server that is simulated within the process, so that the client is the limit.

``python -m benchmarks.ours.simulated REPORTS FOLDER``

Of a request, only inflating its response is left. Everything after that is as in a run.
"""

import gzip
import json
import sys
import time
from pathlib import Path

from benchmarks.internals import (
    REPORTS,
    Client,
    Connection,
    DuckDB,
    HttpRequest,
    HttpResponse,
    Job,
    Selection,
    Task,
    Tolerance,
    Transport,
    execute,
)
from benchmarks.server import App, Reports, Request

MAX_IN_FLIGHT = 10
URL = "http://127.0.0.1"


def transport(app: App) -> Transport:
    """A transport that responds at once."""

    def send(request: HttpRequest) -> HttpResponse:
        path, _, query = request.url.removeprefix(URL).partition("?")
        _, body, headers = app.respond(Request(path, query, {"accept-encoding": "gzip"}))
        body = gzip.decompress(body) if headers else body
        return HttpResponse(200, {"content-type": "application/json"}, body)

    return send


def main() -> None:
    app = App(Reports(int(sys.argv[1])), requests_per_minute=None, latency=0.0)
    connection = Connection(URL, token="benchmark", requests_per_minute=None, max_in_flight=MAX_IN_FLIGHT)
    none = Tolerance.parse(0)
    destination = DuckDB(Path(sys.argv[2]) / "wats.duckdb")
    job = Job(
        "benchmark", [Task(REPORTS, Selection())], destination, max_failures=none, stop_at_failures=none
    )
    with Client(connection, transport=transport(app)) as client:
        began = time.perf_counter()
        done = execute(job, client)
        seconds = time.perf_counter() - began
    print(json.dumps({"items": done.resources["reports"].items, "seconds": seconds}))


main()
