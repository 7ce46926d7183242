"""The official Python client and FastMCP's, in both eras, over HTTP and over stdio."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastmcp
import httpx2
import pytest
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp import Client, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import listen

from tests.kit.servers.conformance import server
from tests.kit.stack import Stack, running_stack

ROOT = Path(__file__).parents[2]
FIXTURE = "tests.kit.servers.conformance:server"
STDIO = [sys.executable, "-m", "mcp_server", "stdio", FIXTURE]
SCOPES = "mcp:read mcp:write mcp:admin"
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")  # legacy methods


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("clients")), server) as running:
        yield running


class Heard:
    """What a client was told unasked."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.some = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        self.methods.append(getattr(message, "method", type(message).__name__))
        self.some.set()

    async def hears(self, method: str) -> None:
        async with asyncio.timeout(60):
            while method not in self.methods:
                self.some.clear()
                await self.some.wait()


async def fill_in(_: Any, params: Any) -> types.ElicitResult:
    assert params.requested_schema["properties"].keys() == {"username", "email"}
    return types.ElicitResult(action="accept", content={"username": "ann", "email": "ann@example.org"})


async def sample(_: Any, params: Any) -> types.CreateMessageResult:
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="sampled"), model="m", stop_reason="endTurn"
    )


@asynccontextmanager
async def python_client(stack: Stack, transport: str, mode: Any, heard: Heard) -> AsyncIterator[Client]:
    options: dict[str, Any] = {
        "mode": mode,
        "elicitation_callback": fill_in,
        "sampling_callback": sample,
        "message_handler": heard,
    }
    if transport == "stdio":
        params = StdioServerParameters(command=STDIO[0], args=STDIO[1:], cwd=ROOT)
        async with Client(params, **options) as client:
            yield client
        return
    headers = {"authorization": f"Bearer {await stack.token('carol', SCOPES)}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
        async with Client(streamable_http_client(stack.resource, http_client=http), **options) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_the_official_client_does_everything(stack: Stack, transport: str, mode: str) -> None:
    heard, steps = Heard(), list[float]()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with python_client(stack, transport, mode, heard) as client:
        assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
        assert "test_simple_text" in {tool.name for tool in (await client.list_tools()).tools}
        assert (await client.read_resource("test://template/7/data")).contents[0].uri == "test://template/7/data"
        prompt = await client.get_prompt("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"})
        assert prompt.messages[0].content.type == "text"
        ref = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        assert (await client.complete(ref, {"name": "arg1", "value": "tes"})).completion.values == ["test", "testing"]
        await client.call_tool("test_tool_with_progress", {}, progress_callback=note)
        assert steps == [0, 50, 100]
        asked = await client.call_tool("test_elicitation", {"message": "Who are you?"})
        assert "ann@example.org" in str(asked.content)
        assert "sampled" in str((await client.call_tool("test_sampling", {"prompt": "p"})).content)
        await (hear_legacy if mode == "legacy" else hear_modern)(client, heard)


async def hear_legacy(client: Client, heard: Heard) -> None:
    await client.session.subscribe_resource("test://watched-resource")
    await client.call_tool("touch_watched", {})
    await client.call_tool("test_trigger_tool_change", {})
    await heard.hears("notifications/tools/list_changed")
    await heard.hears("notifications/resources/updated")
    await client.session.unsubscribe_resource("test://watched-resource")


async def hear_modern(client: Client, _: Heard) -> None:
    uri = "test://watched-resource"
    async with client.listen(tools_list_changed=True, resource_subscriptions=[uri]) as subscription:
        assert subscription.honored.resource_subscriptions == [uri]
        seen = set()
        await client.call_tool("touch_watched", {})
        await client.call_tool("test_trigger_tool_change", {})
        async with asyncio.timeout(60):
            async for event in subscription:
                seen.add(type(event).__name__)
                if len(seen) == 2:
                    break


async def fastmcp_fills_in(message: str, response_type: Any, params: Any, context: Any) -> dict[str, str]:
    return {"username": "ann", "email": "ann@example.org"}


def http_transport(url: str, token: str) -> Any:
    return StreamableHttpTransport(url, headers={"authorization": f"Bearer {token}"})


def stdio_transport(url: str, token: str) -> Any:
    return StdioTransport(STDIO[0], STDIO[1:], cwd=str(ROOT), keep_alive=False)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("make", [http_transport, stdio_transport], ids=["http", "stdio"])
async def test_fastmcps_client_does_everything(stack: Stack, make: Callable[[str, str], Any], mode: Any) -> None:
    heard, steps = Heard(), list[float]()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    transport = make(stack.resource, await stack.token("carol", SCOPES))
    async with fastmcp.Client(
        transport, mode=mode, elicitation_handler=fastmcp_fills_in, message_handler=heard
    ) as client:
        assert "test_simple_text" in {tool.name for tool in await client.list_tools()}
        await client.call_tool("test_tool_with_progress", {}, progress_handler=note)
        assert steps == [0, 50, 100]
        asked = await client.call_tool("test_elicitation", {"message": "Who are you?"})
        assert "ann@example.org" in str(asked.content)
        if mode == "legacy":
            await client.session.subscribe_resource("test://watched-resource")
            await client.call_tool("touch_watched", {})
            await heard.hears("notifications/resources/updated")
        else:
            async with listen(client.session, resource_subscriptions=["test://watched-resource"]) as subscription:
                await client.call_tool("touch_watched", {})
                async with asyncio.timeout(60):
                    assert "ResourceUpdated" in type(await anext(subscription)).__name__
