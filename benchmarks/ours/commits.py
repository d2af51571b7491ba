"""Measures commits of 10,000 headers into a large table, and into one that is ten times larger.

``python -m benchmarks.ours.commits ROWS FOLDER (duckdb | parquet)``

Each commit adds new rows, or replaces existing ones. The time includes the lookup of keys that a run makes
before each commit.
"""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pyarrow as pa

from benchmarks.internals import REPORT_HEADERS, TIMESTAMP, Commit, Destination, DuckDB, Parquet
from benchmarks.server import Reports

PAGE = 10_000
REPEATS = 5


def commit(destination: Destination, reports: Reports, begin: int) -> float:
    """Commit the page of headers that begins at a report number; returns seconds."""
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
    """The batch with the columns ``_wats_run_id`` and ``_wats_extracted_at``."""
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
    print(json.dumps({"growth": growth, "seconds_per_commit": medians}))


main()
