"""Reads the list of reports, or full reports, into pyWATS's models with its async client.

``python pywats_async.py URL FOLDER (headers | reports)``

Its cache, which would keep every response, and its limit of 500 requests per minute are off. Its synchronous
client with ``parallel_execute`` fails for most reports, because each thread has an event loop of its own.
"""

import asyncio
import json
import sys
import time

from pydantic import ValidationError
from pywats import AsyncWATS
from pywats.core.coalesce import batch_map
from pywats.core.exceptions import PyWATSError

MAX_IN_FLIGHT = 10
ROWS_PER_PAGE = 10_000


async def headers(wats: AsyncWATS) -> list:
    found: list = []
    while page := await wats.report.query_headers(
        orderby="timeStamp asc", top=ROWS_PER_PAGE, skip=len(found)
    ):
        found += page
    return found


async def main() -> None:
    began = time.perf_counter()
    url, _, resource = sys.argv[1:]
    failures = 0

    async def fetch(uuid: str) -> None:
        nonlocal failures
        try:
            await wats.report.get_report(uuid)
        except (ValidationError, PyWATSError):
            failures += 1

    async with AsyncWATS(
        base_url=url, token="benchmark", enable_throttling=False, enable_cache=False
    ) as wats:
        found = await headers(wats)
        if resource == "reports":
            uuids = [str(header.uuid) for header in found]
            await batch_map(uuids, fetch, batch_size=1_000, max_concurrent=MAX_IN_FLIGHT)
    seconds = time.perf_counter() - began
    print(json.dumps({"items": len(found), "failures": failures, "seconds": seconds}))


asyncio.run(main())
