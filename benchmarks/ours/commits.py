"""Commits pages of headers into tables that are large already, and into ten times larger ones.

``python -m benchmarks.ours.commits ROWS FOLDER (duckdb | parquet)``

Each commit has a page of new rows, or of rows that are there already and are replaced. What counts is what
the run waits for: the look-up of what has landed, and the commit.
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pyarrow as pa

from benchmarks.server import Reports
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.flow import Commit, Destination
from wats_extract.resources.reports import REPORT_HEADERS
from wats_extract.tables import TIMESTAMP

PAGE = 10_000
REPEATS = 5


def commit(destination: Destination, reports: Reports, begin: int) -> float:
    """Commit a page; how long that took, in seconds."""
    shredder = REPORT_HEADERS.reader.shredder
    rows = shredder.rows(reports.headers.page(begin, begin + PAGE))
    landed = {row.key: row.version for row in rows}
    batches = shredder.shred([row.record for row in rows])
    stamped = {
        table: [_stamped(batches[table], table.schema)] if table in batches else []
        for table in REPORT_HEADERS.tables
    }
    began = time.perf_counter()
    replaced = frozenset(destination.landed(REPORT_HEADERS.table, list(landed)))
    destination.commit(Commit(f"headers-{begin}", stamped, landed, replaced, {}))
    return time.perf_counter() - began


def _stamped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    moment = pa.scalar(datetime.now(UTC), TIMESTAMP)
    stamps = [pa.repeat(stamp, batch.num_rows) for stamp in (pa.scalar("benchmark"), moment)]
    return pa.RecordBatch.from_arrays([*batch.columns, *stamps], schema=schema)


def main() -> None:
    rows, folder, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    reports = Reports(10 * rows + REPEATS * PAGE)
    destination: Destination = (
        DuckDB(folder / "wats.duckdb") if kind == "duckdb" else Parquet(folder / "lake")
    )
    destination.open()
    destination.prepare(REPORT_HEADERS.tables)
    took: dict[int, float] = {}
    medians: dict[str, list[float]] = {"new": [], "replaced": []}
    for size in (rows, 10 * rows):
        for begin in range(0, size + REPEATS * PAGE, PAGE):
            if begin not in took:
                took[begin] = commit(destination, reports, begin)
        medians["new"].append(median(took[size + n * PAGE] for n in range(REPEATS)))
        places = range(0, size, max(PAGE, size // REPEATS // PAGE * PAGE))
        medians["replaced"].append(median(commit(destination, reports, begin) for begin in places))
    destination.close()
    growth = {name: larger / smaller for name, (smaller, larger) in medians.items()}
    print(json.dumps({"growth": growth, "seconds_a_commit": medians}))


main()
