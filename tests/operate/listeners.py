"""Listeners of both eras: each comes back when its stream ends, and remembers whether it ended as it should."""

import asyncio
import contextlib
import random
import time
from typing import Final

import aiohttp
import msgspec

from tests.kit import wire
from tests.kit.stack import until
from tests.operate.client import LEGACY, Client, listening
from tests.operate.pulse import PULSE
from tests.operate.records import Streams
from tests.operate.tokens import Tokens

FILTER: Final = {"toolsListChanged": True, "resourceSubscriptions": [PULSE]}
LEGACY_SHARE: Final = 10
"""Every so many-th stream is a legacy session's."""
AGAIN_S: Final = 1.0


class Listener:
    """One client that wants to hear always."""

    def __init__(self, client: Client, tokens: Tokens, number: int, seen: Streams) -> None:
        self._client, self._tokens, self._number, self._seen = client, tokens, number, seen
        self._legacy = number % LEGACY_SHARE == LEGACY_SHARE - 1
        self._session = ""
        self.open = self.cut_by_us = False
        self.heard_at = 0.0
        self._got: aiohttp.ClientResponse | None = None

    def cut(self) -> None:
        """Its connection ends as if its machine had gone."""
        if self._got is not None and self.open:
            self.cut_by_us = True
            self._got.close()

    async def run(self, over: asyncio.Event) -> None:
        """Listen again and again until the event; the last stream is heard to its end."""
        while not over.is_set():
            wait_s = await self._once()
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))

    async def _once(self) -> float:
        """One stream; how long to wait before the next."""
        try:
            if self._legacy:
                return await self._legacy_stream()
            return await self._modern_stream()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if self.cut_by_us:
                self.cut_by_us = False
                return 0.0
            if self.open:
                self._seen.broken += 1
                self._seen.faults[f"{'legacy' if self._legacy else 'modern'} stream: {type(error).__name__}"] += 1
            else:
                self._seen.not_now += 1
            return AGAIN_S
        finally:
            self.open = False

    async def _modern_stream(self) -> float:
        token = self._tokens[self._number]
        body = msgspec.json.encode(wire.modern("subscriptions/listen", {"notifications": FILTER}, self._number))
        async with self._client.fresh.post(self._client.url, data=body, headers=listening(token)) as got:
            if got.status != 200:
                return self._refused(got)
            if await self._hear(got):
                self._seen.whole += 1
                return AGAIN_S
        raise aiohttp.ClientPayloadError("no last frame")

    async def _legacy_stream(self) -> float:
        """A session's stream has no last frame; it ends as HTTP has it, or is broken."""
        token = self._tokens[self._number]
        if not self._session:
            answer = await self._client.open_session(token)
            if not answer.session:
                self._seen.not_now += 1
                return AGAIN_S
            subscribed = await self._client.legacy(token, "resources/subscribe", {"uri": PULSE}, session=answer.session)
            if subscribed.status != 200:
                self._seen.not_now += 1
                return AGAIN_S
            self._session = answer.session
        fields = {
            "authorization": f"Bearer {token}",
            "accept": "text/event-stream",
            "mcp-session-id": self._session,
            "mcp-protocol-version": LEGACY,
        }
        async with self._client.fresh.get(self._client.url, headers=fields) as got:
            if got.status != 200:
                if got.status == 404:
                    self._session = ""
                return self._refused(got)
            await self._hear(got)
            self._seen.whole += 1
        return AGAIN_S

    def _refused(self, got: aiohttp.ClientResponse) -> float:
        self._seen.not_now += 1
        if not got.headers.get("retry-after"):
            self._seen.faults[f"listen refused: {got.status}"] += 1
        return float(got.headers.get("retry-after", AGAIN_S))

    async def _hear(self, got: aiohttp.ClientResponse) -> bool:
        """Read to the end; whether the last frame was a result."""
        whole, self._got = False, got
        async for line in got.content:
            if not self.open:
                self.open = True
                self._seen.opened += 1
            if line.startswith(b"data: {"):
                message = msgspec.json.decode(line[6:])
                whole = message.get("result", {}).get("resultType") == "complete"
                if message.get("method") == "notifications/resources/updated":
                    self.heard_at = time.monotonic()
        return whole


class Listeners:
    """All listeners of a section."""

    def __init__(self, client: Client, tokens: Tokens, count: int) -> None:
        self.seen = Streams()
        self.all = [Listener(client, tokens, number, self.seen) for number in range(count)]

    async def run(self, over: asyncio.Event) -> None:
        """All of them, until the event and the end of their streams."""
        await asyncio.gather(*(one.run(over) for one in self.all))

    def open(self) -> list[Listener]:
        """Those whose stream is open."""
        return [one for one in self.all if one.open]

    async def hear(self, within_s: float, since: float) -> int:
        """Wait until every stream that was open then has heard something since; how many have not, in the end."""
        asked = self.open()

        def deaf() -> list[Listener]:
            return [one for one in asked if one.open and one.heard_at < since]

        async def heard() -> bool:
            return not deaf()

        with contextlib.suppress(TimeoutError):
            await until(heard, within_s)
        return len(deaf())
