"""httpx's async client: downloads full reports and parses them, no more.

``python httpx_async.py URL FOLDER``
"""

import asyncio
import json
import sys
import time

import httpx
import orjson

AT_A_TIME = 10
ROWS_OF_A_PAGE = 10_000


async def keys(client: httpx.AsyncClient) -> list[str]:
    found: list[str] = []
    asked = {"$select": "uuid,timeStamp,start", "$orderby": "timeStamp asc", "$top": ROWS_OF_A_PAGE}
    while page := orjson.loads(
        (await client.get("/api/Report/Query/Header", params={**asked, "$skip": len(found)})).content
    ):
        found += [row["uuid"] for row in page]
    return found


async def main() -> None:
    began = time.perf_counter()
    parsed = 0

    async def work() -> None:
        nonlocal parsed
        for uuid in waiting:
            answer = await client.get(f"/api/Report/Wsjf/{uuid}?detailLevel=7")
            parsed += orjson.loads(answer.content)["id"] == uuid

    limits = httpx.Limits(max_connections=AT_A_TIME, max_keepalive_connections=AT_A_TIME)
    async with httpx.AsyncClient(base_url=sys.argv[1], limits=limits) as client:
        waiting = iter(await keys(client))
        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    print(json.dumps({"items": parsed, "seconds": time.perf_counter() - began}))


asyncio.run(main())
