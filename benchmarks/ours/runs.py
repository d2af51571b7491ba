"""Measures many small runs into one destination: ten new headers per run, from a server in the same process.

``python -m benchmarks.ours.runs RUNS FOLDER (duckdb | parquet)``

The growth is the time of the last ten runs, compared with that of the runs from the tenth on.
"""

import gzip
import json
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.internals import (
    REPORT_HEADERS,
    Client,
    Connection,
    Destination,
    DuckDB,
    HttpRequest,
    HttpResponse,
    Job,
    Parquet,
    Selection,
    Task,
    Tolerance,
    execute,
)
from benchmarks.server import App, Reports, Request

PER_RUN = 10
URL = "http://127.0.0.1"


def run(destination: Destination, reports: int) -> float:
    """Make a run against a server with so many reports; returns seconds."""
    app = App(Reports(reports), requests_per_minute=None, latency=0.0)

    def send(request: HttpRequest) -> HttpResponse:
        path, _, query = request.url.removeprefix(URL).partition("?")
        _, body, headers = app.respond(Request(path, query, {"accept-encoding": "gzip"}))
        return HttpResponse(
            200, {"content-type": "application/json"}, gzip.decompress(body) if headers else body
        )

    none = Tolerance.parse(0)
    tasks = [Task(REPORT_HEADERS, Selection())]
    job = Job("benchmark", tasks, destination, max_failures=none, stop_at_failures=none)
    connection = Connection(URL, token="benchmark", requests_per_minute=None)
    with Client(connection, transport=send) as client:
        began = time.perf_counter()
        done = execute(job, client)
        seconds = time.perf_counter() - began
    if done.resources["report_headers"].items != PER_RUN:
        raise SystemExit(f"a run loaded {done.resources['report_headers'].items} headers: {done.message}")
    return seconds


def main() -> None:
    runs, folder, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    destination: Destination = (
        DuckDB(folder / "wats.duckdb") if kind == "duckdb" else Parquet(folder / "lake")
    )
    took = [run(destination, PER_RUN * number) for number in range(1, runs + 1)]
    early, late = median(took[9:19]), median(took[-10:])
    print(json.dumps({"growth": {"run": late / early}, "seconds_per_run": [early, late]}))


main()
