"""Extracts full reports of a server that is simulated within the process, so that the client is the limit.

``python -m benchmarks.ours.simulated REPORTS FOLDER``

What is left of a request is to inflate its answer; everything behind it is as in a run.
"""

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.server import App, Reports
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.engine.job import Job, Task, Tolerance
from wats_extract.engine.run import execute
from wats_extract.fake.exchange import Request
from wats_extract.flow import Selection
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import Answer
from wats_extract.resources.reports import REPORTS

AT_A_TIME = 10


class Simulated:
    """In the place of the wire: answers at once."""

    longest = 600.0

    def __init__(self, app: App) -> None:
        self._app = app

    def ask(self, url: str, **_: Any) -> Answer:
        """The server's answer, inflated."""
        path, _, query = url.partition("?")
        _, body, headers = self._app.answer(Request("GET", path, query, {"accept-encoding": "gzip"}, b""))
        body = gzip.decompress(body) if headers else body
        return Answer(200, body, "application/json", None, lambda: None)

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    app = App(Reports(int(sys.argv[1])), requests_per_minute=None, latency=0.0)
    connection = Connection(
        "http://127.0.0.1", token="benchmark", requests_per_minute=None, max_in_flight=AT_A_TIME
    )
    none = Tolerance.parse(0)
    destination = DuckDB(Path(sys.argv[2]) / "wats.duckdb")
    job = Job(
        "benchmark", [Task(REPORTS, Selection())], destination, max_failures=none, stop_at_failures=none
    )
    with Client(connection) as client:
        client._wire = Simulated(app)
        began = time.perf_counter()
        done = execute(job, client)
        seconds = time.perf_counter() - began
    print(json.dumps({"items": done.resources["reports"].items, "seconds": seconds}))


main()
