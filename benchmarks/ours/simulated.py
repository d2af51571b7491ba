"""Extracts full reports of a server that is simulated within the process, so that the client is the limit.

``python -m benchmarks.ours.simulated REPORTS FOLDER``
"""

import json
import sys
import time
from pathlib import Path

import httpx2

from benchmarks.server import App, Reports
from wats_extract.client import Client, Connection
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.fake.exchange import Request
from wats_extract.flow import Selection
from wats_extract.resources.reports import REPORTS
from wats_extract.runner import Job, Task, execute
from wats_extract.settings import Tolerance

AT_A_TIME = 10


def main() -> None:
    reports, folder = Reports(int(sys.argv[1])), Path(sys.argv[2])
    app = App(reports, requests_per_minute=None, latency=0.0)

    def answer(request: httpx2.Request) -> httpx2.Response:
        query = request.url.query.decode()
        asked = Request(request.method, request.url.path, query, dict(request.headers), b"")
        status, body, headers = app.answer(asked)
        return httpx2.Response(status, headers=headers, content=body)

    connection = Connection(
        "http://127.0.0.1", token="benchmark", requests_per_minute=None, max_in_flight=AT_A_TIME
    )
    none = Tolerance.parse(0)
    task = Task(REPORTS, Selection())
    job = Job("benchmark", [task], DuckDB(folder / "wats.duckdb"), max_failures=none, stop_at_failures=none)
    began = time.perf_counter()
    with Client(connection, transport=httpx2.MockTransport(answer)) as client:
        done = execute(job, client)
    print(json.dumps({"items": done.resources["reports"].items, "seconds": time.perf_counter() - began}))


main()
