"""`MCP_OPENAPI=orders.yaml mcp-server serve`: an API without a line of code, in processes of its own."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from devstack.demo.api import app as shop
from tests.kit import shops, wire
from tests.kit.served import Served, running_server
from tests.kit.stack import free_port, until

pytestmark = pytest.mark.live


class Shop(msgspec.Struct):
    """The sample API behind two workers, whose document the test may write."""

    served: Served
    document: Path
    http: httpx.AsyncClient

    async def post(self, method: str, params: dict[str, Any], name: str = "") -> Any:
        token = await self.served.token("alice", "mcp:read orders:read")
        headers = wire.headers(method, name) if name else wire.headers(method)
        answer = await self.http.post(
            self.served.resource,
            json=wire.modern(method, params),
            headers={
                "authorization": f"Bearer {token}",
                "accept": "application/json, text/event-stream",
                "connection": "close",  # another one may be another worker's
                **{header.replace("_", "-"): value for header, value in headers.items()},
            },
        )
        assert token not in self.served.log.read_text()
        return answer.json()["result"]

    async def readiness(self) -> Any:
        return (await self.http.get(f"http://localhost:{self.served.port}/readyz")).json()


@pytest.fixture(scope="module")
async def over_the_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder, port = tmp_path_factory.mktemp("shop"), free_port()
    document = folder / "orders.yaml"
    document.write_bytes(shop.DOCUMENT.read_bytes())
    settings = {**shops.settings(port), "openapi": str(document), "openapi_reload_s": "1"}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(running_server(folder, "", workers=2, **settings))
        await stack.enter_async_context(shops.open_shop(served.issuer, port))
        http = httpx.AsyncClient(trust_env=False, timeout=30, transport=httpx.AsyncHTTPTransport(retries=5))
        yield Shop(served, document, await stack.enter_async_context(http))


async def test_a_document_and_an_audience_are_a_server(over_the_shop: Shop) -> None:
    result = await over_the_shop.post(
        "tools/call", {"name": "list_products", "arguments": {"limit": 1}}, "list_products"
    )
    assert len(result["structuredContent"]["items"]) == 1
    server = result["_meta"]["io.modelcontextprotocol/serverInfo"]
    assert (server["name"], server["title"], server["version"]) == ("orders", "Orders", "1.0.0")  # as the document says
    assert "an API was imported" in over_the_shop.served.log.read_text()


async def test_a_worker_begins_anew_while_the_document_is_broken(over_the_shop: Shop) -> None:
    """It serves what the others serve, readiness says so, and what is mended is served by all."""
    served, document = over_the_shop.served, over_the_shop.document
    whole = document.read_text()
    document.write_text(whole[:300])

    async def degraded() -> bool:
        return bool((await over_the_shop.readiness()).get("apis") == {"orders": "an older document is served"})

    first = served.workers()
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: _others(served, first))
    await until(degraded)
    assert len((await over_the_shop.post("tools/list", {}))["tools"]) == 7
    assert "a document cannot be taken; the one before is served" in served.log.read_text()
    document.write_text(whole.replace("operationId: listProducts", "operationId: listWares"))

    async def mended() -> bool:
        lists = [await over_the_shop.post("tools/list", {}) for _ in range(4)]
        return all("list_wares" in {one["name"] for one in told["tools"]} for told in lists)

    await until(mended)

    async def ready() -> bool:  # four answers may have been one worker's, and the other looks within its second
        return bool((await over_the_shop.readiness())["status"] == "ok")

    await until(ready)


async def _others(served: Served, first: list[int]) -> bool:
    now = served.workers()
    return len(now) == 2 and not set(now) & set(first)
