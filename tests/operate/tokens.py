"""Tokens with a short life, each caller's renewed while the issuer is there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from devstack.login import LoginFailed, fetch_token

CALLERS = ("alice", "bob", "carol")


class Tokens:
    """Who calls, and with what by now."""

    def __init__(self, issuer: str, resource: str, every_s: float) -> None:
        self._issuer, self._resource, self._every_s = issuer, resource, every_s
        self._held: dict[str, str] = {}
        self.renewals = 0

    def __getitem__(self, number: int) -> str:
        """The token of one of the callers."""
        return self._held[CALLERS[number % len(CALLERS)]]

    async def renew(self) -> None:
        """Log everybody in, one after the other."""
        for caller in CALLERS:
            answer = await asyncio.to_thread(fetch_token, self._issuer, caller, "openid mcp:read", self._resource)
            self._held[caller] = str(answer["access_token"])
            self.renewals += 1

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renewed until the block ends; while the issuer is away the last ones are good."""
        await self.renew()
        renewing = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            with contextlib.suppress(httpx.HTTPError, LoginFailed):
                await self.renew()
