"""Downloads and parses full reports with httpx's async client.

``python httpx_async.py URL FOLDER``
"""

import asyncio
import json
import sys
import time

import httpx
import orjson

MAX_IN_FLIGHT = 10
ROWS_PER_PAGE = 10_000


async def keys(client: httpx.AsyncClient) -> list[str]:
    found: list[str] = []
    query = {"$select": "uuid,timeStamp,start", "$orderby": "timeStamp asc", "$top": ROWS_PER_PAGE}
    while page := orjson.loads(
        (await client.get("/api/Report/Query/Header", params={**query, "$skip": len(found)})).content
    ):
        found += [row["uuid"] for row in page]
    return found


async def main() -> None:
    began = time.perf_counter()
    parsed = 0

    async def work() -> None:
        nonlocal parsed
        for uuid in waiting:
            response = await client.get(f"/api/Report/Wsjf/{uuid}?detailLevel=7")
            parsed += orjson.loads(response.content)["id"] == uuid

    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    async with httpx.AsyncClient(base_url=sys.argv[1], limits=limits) as client:
        waiting = iter(await keys(client))
        await asyncio.gather(*(work() for _ in range(MAX_IN_FLIGHT)))
    print(json.dumps({"items": parsed, "seconds": time.perf_counter() - began}))


asyncio.run(main())
