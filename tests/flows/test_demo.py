"""The demo as both authorization servers let it be used: a person's call becomes one of the API, as that person."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.demo.api.app import AUDIENCE, create
from devstack.demo.api.callers import Trust
from devstack.demo.orders import demo
from devstack.first_call import first_call
from tests.kit import wire
from tests.kit.authorities import SERVER_SECRET, Authority, claims, token
from tests.kit.stack import Running, free_port, running_mcp, serving

READS, WRITES = "orders:read", "orders:read orders:write"


class Demo:
    """The running server, and where its API is."""

    def __init__(self, mcp: Running, api: str) -> None:
        self.mcp, self.api = mcp, api

    async def call(self, bearer: str, name: str, **arguments: Any) -> httpx.Response:
        body = wire.modern("tools/call", {"name": name, "arguments": arguments})
        return await self.mcp.post(body, bearer, **wire.headers("tools/call", name))


@pytest.fixture
async def running(authority: Authority, tmp_path: Path) -> AsyncIterator[Demo]:
    port = free_port()
    api = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(create(Trust(authority.issuer, AUDIENCE, authority.issuer)), port))
        served = running_mcp(tmp_path, authority.issuer, authority.resource, demo(api), client_secret=SERVER_SECRET)
        yield Demo(await stack.enter_async_context(served), api)


async def test_a_call_goes_through_as_the_person_and_no_token_of_theirs_does(
    authority: Authority, running: Demo, caplog: pytest.LogCaptureFixture
) -> None:
    alices = (await token(authority, "alice", READS))["access_token"]
    with caplog.at_level(logging.DEBUG):
        answer = await running.call(alices, "list_orders", status="shipped", limit=2)
        report = await running.call(alices, "stock_report")
    assert [one["id"] for one in answer.json()["result"]["structuredContent"]["items"]] == [30, 28]
    assert report.json()["result"]["structuredContent"][-1]["sold_out"] == ["TEA-03"]
    subject = claims(alices)["sub"]
    heard = [one.getMessage() for one in caplog.records if one.name == "orders-api"]
    assert heard == [
        f"{path}  aud=orders-api sub={subject} azp={authority.resource}" for path in ("/orders", "/products")
    ]
    assert not any(part in caplog.text for part in (alices, alices.split(".")[1], alices.split(".")[2], "eyJ"))


async def test_what_changes_is_asked_for_and_then_done_in_the_persons_name(authority: Authority, running: Demo) -> None:
    reads = (await token(authority, "bob", READS))["access_token"]
    refused = await running.call(reads, "create_order", sku="CUP-01", quantity=2)
    assert refused.status_code == 403
    assert "orders:write" in refused.headers["www-authenticate"].partition('scope="')[2].partition('"')[0].split()
    writes = (await token(authority, "bob", WRITES))["access_token"]
    made = (await running.call(writes, "create_order", sku="CUP-01", quantity=2)).json()["result"]["structuredContent"]
    assert (made["created_by"], made["status"]) == ("bob", "open")
    assert (await running.call(reads, "cancel_order", order_id=made["id"])).status_code == 403
    done = (await running.call(writes, "cancel_order", order_id=made["id"])).json()["result"]
    assert not done.get("isError")
    again = (await running.call(writes, "cancel_order", order_id=made["id"])).json()["result"]
    assert (again["isError"], "cancelled" in again["content"][0]["text"]) == (True, True)


async def test_the_api_takes_no_token_that_was_not_exchanged(authority: Authority, running: Demo) -> None:
    own = (await token(authority, "carol", WRITES))["access_token"]
    answer = await running.mcp.http.get(f"{running.api}/orders", headers={"authorization": f"Bearer {own}"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


async def test_the_first_call_of_a_stack_tells_what_came_of_it(authority: Authority, running: Demo) -> None:
    told = await asyncio.to_thread(first_call, authority.issuer, authority.resource)
    assert told.endswith("exchanged for the API: Rooibos, Sencha, Cup (8 in all)")
    nobody = f"http://localhost:{free_port()}/mcp"
    assert "did not go through" in await asyncio.to_thread(first_call, authority.issuer, nobody)
