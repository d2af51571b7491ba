"""Loads the list of reports, or full reports, into flat tables with dlt's source for REST APIs.

``python dlt_rest_api.py URL FOLDER (headers | reports) (duckdb | parquet)``

These were the fastest settings: ten threads that fetch documents (each takes a page of keys, so pages are
small), processes that normalize, Parquet between its steps, and orjson.
"""

import json
import os
import sys
import time
from pathlib import Path

import dlt
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator
from dlt.sources.rest_api import rest_api_source

MAX_IN_FLIGHT = 10
KEYS_PER_THREAD = 50
ROWS_PER_PAGE = 10_000
LISTING = "Report/Query/Header"


def listing(rows: int, **query: str) -> dict:
    paging = OffsetPaginator(limit=rows, offset_param="$skip", limit_param="$top", total_path=None)
    return {
        "name": "headers",
        "endpoint": {
            "path": LISTING,
            "params": {"$orderby": "timeStamp asc", **query},
            "data_selector": "$",
            "paginator": paging,
        },
    }


DOCUMENTS = {
    "name": "reports",
    "parallelized": True,
    "endpoint": {
        "path": "Report/Wsjf/{resources.headers.uuid}",
        "params": {"detailLevel": 7, "includeChartdata": "true", "includeAttachments": "false"},
        "data_selector": "$",
        "paginator": "single_page",
    },
}

RESOURCES = {
    "headers": [listing(ROWS_PER_PAGE)],
    "reports": [
        listing(KEYS_PER_THREAD, **{"$select": "uuid,timeStamp,start"}) | {"selected": False},
        DOCUMENTS,
    ],
}
FILE_ROWS = {"headers": 25_000, "reports": 250}
"""Rows per intermediate file, so that there are enough files for every process."""


def main() -> None:
    began = time.perf_counter()
    url, folder, resource, destination = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    dlt.config["runtime.log_level"] = "ERROR"
    dlt.config["runtime.dlthub_telemetry"] = False
    dlt.config["extract.workers"] = MAX_IN_FLIGHT
    dlt.config["normalize.workers"] = os.cpu_count()
    dlt.config["sources.data_writer.file_max_items"] = FILE_ROWS[resource]
    source = rest_api_source(
        {
            "client": {"base_url": f"{url}/api/", "headers": {"Authorization": "Basic benchmark"}},
            "resources": RESOURCES[resource],
        }
    )
    places = {
        "duckdb": lambda: dlt.destinations.duckdb(str(folder / "wats.duckdb")),
        "parquet": lambda: dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri()),
    }
    pipeline = dlt.pipeline(
        "benchmark",
        pipelines_dir=str(folder / "state"),
        destination=places[destination](),
        dataset_name="extracted",
    )
    pipeline.run(source, loader_file_format="parquet")
    rows = pipeline.last_trace.last_normalize_info.row_counts
    seconds = time.perf_counter() - began
    print(json.dumps({"items": rows[resource], "rows": sum(rows.values()), "seconds": seconds}))


if __name__ == "__main__":  # the processes that normalize may import this file
    main()
