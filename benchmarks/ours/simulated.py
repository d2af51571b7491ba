"""Extracts full reports of a server that is simulated within the process, so that the client is the limit.

``python -m benchmarks.ours.simulated REPORTS FOLDER``

What is left of a request is to inflate its answer; everything behind it is as in a run.
"""

import gzip
import json
import sys
import time
from pathlib import Path

from benchmarks.server import App, Reports
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.engine.job import Job, Task, Tolerance
from wats_extract.engine.run import execute
from wats_extract.fake.exchange import Request
from wats_extract.flow import Selection
from wats_extract.http import transport as http
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import Transport
from wats_extract.resources.reports import REPORTS

AT_A_TIME = 10
URL = "http://127.0.0.1"


def transport(app: App) -> Transport:
    """A transport that responds at once."""

    def send(request: http.Request) -> http.Response:
        path, _, query = request.url.removeprefix(URL).partition("?")
        _, body, headers = app.answer(Request("GET", path, query, {"accept-encoding": "gzip"}, b""))
        body = gzip.decompress(body) if headers else body
        return http.Response(200, {"content-type": "application/json"}, body)

    return send


def main() -> None:
    app = App(Reports(int(sys.argv[1])), requests_per_minute=None, latency=0.0)
    connection = Connection(URL, token="benchmark", requests_per_minute=None, max_in_flight=AT_A_TIME)
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
