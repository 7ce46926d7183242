"""Callers that go on while something is changed, each call over a connection of its own, so on whichever worker."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpx

from tests.kit import wire
from tests.kit.served import Served

Act = Callable[["Load"], Awaitable[None]]


class Load:
    """Who calls, with a user's token; how often that went well, and what did not."""

    def __init__(self, served: Served, token: str) -> None:
        self.served, self.token = served, token
        self.failed: list[str] = []
        self.done = 0

    async def post(self, body: dict[str, Any], token: str = "", **headers: str) -> httpx.Response:
        """One POST, whatever becomes of it; without the authorities, which cost more than the call."""
        sent = {"authorization": f"Bearer {token or self.token}", "accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.post(self.served.resource, json=body, headers={**sent, **named})

    async def result(self, body: dict[str, Any], token: str = "", **headers: str) -> dict[str, Any]:
        """Its result; raises `AssertionError` for anything else."""
        answer = await self.post(body, token, **headers)
        found = answer.json().get("result")
        assert answer.status_code == 200, answer.text
        assert found is not None, answer.text
        assert not found.get("isError"), answer.text
        return dict(found)

    async def text(self, tool: str) -> Any:
        """What a tool that gives JSON as its text has given."""
        found = await self.result(wire.legacy("tools/call", {"name": tool, "arguments": {}}))
        return json.loads(found["content"][0]["text"])

    @contextlib.asynccontextmanager
    async def going_on(self, acts: Iterable[Act]) -> AsyncIterator[None]:
        """Each act again and again until the block ends."""
        over = asyncio.Event()

        async def again(act: Act) -> None:
            while not over.is_set():
                try:
                    await act(self)
                    self.done += 1
                except (AssertionError, httpx.HTTPError, KeyError, ValueError) as error:
                    self.failed.append(f"{act.__qualname__}: {error!r}"[:500])

        callers = [asyncio.create_task(again(act)) for act in acts]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*callers)
