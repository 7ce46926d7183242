"""The floor of an imported call: the import's own HTTP client in a loop, and nothing around it."""

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

WARM_UP = 200
MARK = "bench-round "


async def _run(url: str, at_once: int, seconds: float) -> None:
    took: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(WARM_UP):
            await _once(session, url)
        began = time.perf_counter()
        await asyncio.gather(*(_loop(session, url, took, began + seconds) for _ in range(at_once)))
        lasted = time.perf_counter() - began
    took.sort()
    counted = {
        "requests": len(took),
        "microseconds": lasted * 1e6,
        "status": 0,
        "socket": 0,
        "p50": took[len(took) // 2] * 1e6,
        "p99": took[len(took) * 99 // 100] * 1e6,
        "used": 0,
    }
    print(MARK + json.dumps(counted))


async def _loop(session: aiohttp.ClientSession, url: str, took: list[float], until: float) -> None:
    while (now := time.perf_counter()) < until:
        await _once(session, url)
        took.append(time.perf_counter() - now)


async def _once(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url, headers={"authorization": "Bearer x"}) as response:
        await response.read()
        response.raise_for_status()


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
