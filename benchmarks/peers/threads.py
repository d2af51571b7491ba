"""Downloads and parses full reports in threads, with httpx's synchronous client or with urllib3.

``python threads.py URL FOLDER (httpx | urllib3)``
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import orjson

MAX_IN_FLIGHT = 10
ROWS_PER_PAGE = 10_000
LISTING = (
    f"/api/Report/Query/Header?$select={quote('uuid,timeStamp,start')}&$orderby={quote('timeStamp asc')}"
    f"&$top={ROWS_PER_PAGE}&$skip="
)


def by_httpx(url: str) -> Callable[[str], bytes]:
    httpx = importlib.import_module("httpx")
    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    client = httpx.Client(base_url=url, limits=limits)
    return lambda path: client.get(path).content


def by_urllib3(url: str) -> Callable[[str], bytes]:
    urllib3 = importlib.import_module("urllib3")
    pool = urllib3.connectionpool.connection_from_url(
        url, maxsize=MAX_IN_FLIGHT, headers={"Accept-Encoding": "gzip"}
    )
    return lambda path: pool.request("GET", path).data


def main() -> None:
    get = {"httpx": by_httpx, "urllib3": by_urllib3}[sys.argv[3]](sys.argv[1])
    began = time.perf_counter()
    uuids: list[str] = []
    while page := orjson.loads(get(f"{LISTING}{len(uuids)}")):
        uuids += [row["uuid"] for row in page]

    def parsed(uuid: str) -> bool:
        return orjson.loads(get(f"/api/Report/Wsjf/{uuid}?detailLevel=7"))["id"] == uuid

    with ThreadPoolExecutor(MAX_IN_FLIGHT) as threads:
        items = sum(threads.map(parsed, uuids))
    print(json.dumps({"items": items, "seconds": time.perf_counter() - began}))


main()
