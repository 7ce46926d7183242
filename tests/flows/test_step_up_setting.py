"""A refused call told as a tool's result, to whom, with the challenge in it; and how tools list what they ask for."""

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, NeedsScopes, any_of
from mcp_server.protocol import revisions
from tests.kit import wire
from tests.kit.stack import Stack, running_stack
from tests.kit.tokens import Forge

META = "mcp/www_authenticate"
CHATGPT = "openai-mcp/1.0.0"
OTHER = "codex-mcp-client/0.171.0"
HELP = "https://wiki.example/rights?of=mcp"


def offering() -> McpServer:
    server = McpServer("offering")

    @server.tool(public=True)
    async def hello() -> str:
        """Say hello."""
        return "hello"

    @server.tool(scopes={"mcp:write", "mcp:infer"}, meta={"example.com/x": 1})
    async def change() -> str:
        """Change it."""
        return "changed"

    @server.tool
    async def look() -> str:
        """Look at it."""
        return "looked"

    @server.resource("offering://secret", scopes={"mcp:admin"})
    async def secret() -> str:
        """Be told it."""
        return "secret"

    @server.prompt(scopes={"mcp:admin"})
    async def ask() -> str:
        """Ask it."""
        return "asked"

    deciding(server)
    return server


def deciding(server: McpServer) -> None:
    """Tools whose scopes are no plain set."""

    @server.tool(scopes=any_of({"mcp:write"}, {"mcp:admin", "mcp:infer"}))
    async def either() -> str:
        """Do it in one way or another."""
        return "done"

    @server.tool(scopes={"mcp:read", "orders:refund:{order_id}"})
    async def refund(order_id: int) -> str:
        """Give it back."""
        return f"refunded {order_id}"

    @server.tool(scopes=lambda arguments, _: {f"orders:{len(arguments)}"})
    async def decide(kind: str) -> str:
        """Need what depends on it."""
        return kind

    @server.tool(scopes={"mcp:read"}, fresh=60)
    async def sign() -> str:
        """Sign it, soon after a login."""
        return "signed"

    @server.tool(scopes={"mcp:read"})
    async def late(ctx: Context, speak: bool = False) -> str:
        """Find out what it needs."""
        if speak:
            await ctx.progress(1)
        raise NeedsScopes({"mcp:admin"})


@asynccontextmanager
async def running(folder: Path, mode: str, **more: str) -> AsyncIterator[Stack]:
    async with running_stack(folder, offering(), ready=True, step_up=mode, **more) as stack:
        yield stack
        assert stack.watched.wrong == []


async def sent(stack: Stack, revision: str, token: str | None, agent: str, **params: Any) -> Any:
    """A call as this revision makes it, from whoever says to be `agent`."""
    method = next(one for one in ("tools/call", "resources/read", "prompts/get") if one in params)
    named: dict[str, Any] = params.pop(method)
    named |= params
    if revision == wire.MODERN:
        headers = wire.headers(method, named.get("name", named.get("uri")))
        return await stack.post(wire.modern(method, named), token, user_agent=agent, **headers)
    message = wire.legacy(method, named)
    return await stack.post(message, token, user_agent=agent, mcp_protocol_version=revision)


def told(answer: Any) -> Any:
    """The challenges of a tool's result, which is all of the answer."""
    assert (answer.status_code, "www-authenticate" in answer.headers) == (200, False)
    result = answer.json()["result"]
    assert result["isError"] is True
    challenges = result["_meta"][META]
    assert isinstance(challenges, list)
    return challenges


WRITE = {"tools/call": {"name": "change"}}
EVERY = [*revisions.LEGACY, *revisions.MODERN]


READERS = {"challenge": set[str](), "both": {CHATGPT}, "error": {CHATGPT, OTHER, "", "Mozilla/5.0 openai-mcp"}}
"""Who is told in a result of a scope that is missing."""


@pytest.mark.parametrize("mode", READERS)
async def test_who_is_told_of_a_missing_scope_in_a_result(tmp_path: Path, mode: str) -> None:
    """The challenge is the header's, word for word, wherever it stands."""
    async with running(tmp_path, mode) as stack:
        narrow, wide = await stack.token("bob", "mcp:read"), await stack.token("bob", "mcp:write mcp:infer")
        for revision, agent in itertools.product(EVERY, sorted(READERS["error"])):
            answer = await sent(stack, revision, narrow, agent, **WRITE)
            if agent in READERS[mode]:
                (challenge,) = told(answer)
                assert "mcp:infer, mcp:write" in answer.json()["result"]["content"][0]["text"]
            else:
                assert answer.status_code == 403
                challenge = answer.headers["www-authenticate"]
                assert META not in answer.text
            assert challenge == (
                'Bearer error="insufficient_scope", '
                'error_description="The access token does not have the scope that this operation needs", '
                f'resource_metadata="{stack.resource.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")}", '
                f'scope="{"mcp:infer mcp:write" if revision == wire.MODERN else "mcp:infer mcp:read mcp:write"}"'
            )
            line = stack.audited()[-1]
            assert (line["decision"], line["reason"], line["tool"]) == ("deny", "insufficient_scope", "change")
            assert sorted(line["needed"]) == ["mcp:infer", "mcp:write"]
            changed = await sent(stack, revision, wide, agent, **WRITE)
            assert changed.json()["result"]["content"][0]["text"] == "changed"


@pytest.mark.parametrize("mode", ["both", "error"])
async def test_a_stranger_is_told_to_log_in_in_the_way_that_is_read(tmp_path: Path, mode: str) -> None:
    """A 401 is mishandled by nobody; without it none but ChatGPT would log in."""
    async with running(tmp_path, mode) as stack:
        for revision in ("2025-11-25", wire.MODERN):
            (challenge,) = told(await sent(stack, revision, None, CHATGPT, **WRITE))
            assert challenge.startswith('Bearer error="insufficient_scope", error_description="Authentication is req')
            # as a first login asks for
            assert 'scope="mcp:admin mcp:infer mcp:read mcp:write orders:refund"' in challenge
            refused = await sent(stack, revision, None, OTHER, **WRITE)
            assert refused.status_code == 401
            assert "error=" not in refused.headers["www-authenticate"]
            assert (await sent(stack, revision, "spoiled", CHATGPT, **WRITE)).status_code == 401


@pytest.mark.parametrize("revision", ["2025-11-25", wire.MODERN])
@pytest.mark.parametrize(
    "asked", [{"resources/read": {"uri": "offering://secret"}}, {"prompts/get": {"name": "ask", "arguments": {}}}]
)
async def test_what_is_no_tool_has_no_such_result(tmp_path: Path, revision: str, asked: dict[str, Any]) -> None:
    async with running(tmp_path, "error") as stack:
        answer = await sent(stack, revision, await stack.token("alice"), CHATGPT, **asked)
        assert answer.status_code == 403
        assert 'scope="mcp:admin' in answer.headers["www-authenticate"]
        assert "error" in answer.json()


async def test_an_item_of_a_batch_has_its_result_among_the_others(tmp_path: Path) -> None:
    async with running(tmp_path, "error") as stack:
        token = await stack.token("alice")
        batch = [wire.legacy("tools/call", {"name": name}, name) for name in ("look", "change", "look")]
        answer = await stack.post(batch, token, mcp_protocol_version="2025-03-26")
        assert (answer.status_code, [one["id"] for one in answer.json()]) == (200, ["look", "change", "look"])
        assert [one["result"].get("isError", False) for one in answer.json()] == [False, True, False]
    async with running(tmp_path, "both") as stack:
        answer = await stack.post(batch, await stack.token("alice"), mcp_protocol_version="2025-03-26")
        assert answer.status_code == 403


@pytest.mark.parametrize("mode", ["both", "error"])
async def test_what_is_found_out_on_the_way_is_told_in_the_same_way(tmp_path: Path, mode: str) -> None:
    """Also when the answer has begun, where a status would come too late."""
    async with running(tmp_path, mode) as stack:
        token = await stack.token("alice")
        for revision, speak in itertools.product(("2025-11-25", wire.MODERN), (False, True)):
            named = {"name": "late", "arguments": {"speak": speak}}
            (challenge,) = told(await sent(stack, revision, token, CHATGPT, **{"tools/call": named}))
            assert 'error="insufficient_scope"' in challenge
            assert "mcp:admin" in challenge


@pytest.mark.parametrize("mode", ["both", "error"])
async def test_a_login_that_is_too_old_is_told_to_who_reads_it(tmp_path: Path, mode: str) -> None:
    """RFC 9470 §3 has 401 for it, which is the header's for everybody else, of a batch as well."""
    async with running(tmp_path, mode) as stack:
        token, named = Forge(stack).token(auth_time=int(time.time()) - 3600), {"tools/call": {"name": "sign"}}
        for revision in ("2025-11-25", wire.MODERN):
            answer = await sent(stack, revision, token, CHATGPT, **named)
            (challenge,) = told(answer)
            assert challenge.startswith('Bearer error="insufficient_user_authentication"')
            assert 'max_age="60"' in challenge
            assert "mcp:read" not in answer.json()["result"]["content"][0]["text"]  # that is not what is missing
            refused = await sent(stack, revision, token, OTHER, **named)
            assert (refused.status_code, 'max_age="60"' in refused.headers["www-authenticate"]) == (401, True)
        batch = [wire.legacy("tools/call", {"name": name}, name) for name in ("look", "sign")]
        refused = await stack.post(batch, token, user_agent=OTHER, mcp_protocol_version="2025-03-26")
        assert refused.status_code == 401
        among = await stack.post(batch, token, user_agent=CHATGPT, mcp_protocol_version="2025-03-26")
        assert [one["result"].get("isError", False) for one in among.json()] == [False, True]


async def test_values_of_a_call_stand_in_the_challenge_of_a_result(tmp_path: Path) -> None:
    async with running(tmp_path, "both", parameterized_scopes="true") as stack:
        named = {"name": "refund", "arguments": {"order_id": 42}}
        answer = await sent(stack, wire.MODERN, await stack.token("alice"), CHATGPT, **{"tools/call": named})
        (challenge,) = told(answer)
        assert challenge.endswith('scope="mcp:read orders:refund:42"')
        assert "orders:refund:42" in answer.json()["result"]["content"][0]["text"]


async def test_people_are_told_where_they_get_what_is_missing(tmp_path: Path) -> None:
    async with running(tmp_path, "error", step_up_url=HELP) as stack:
        answer = await sent(stack, wire.MODERN, await stack.token("alice"), OTHER, **WRITE)
        text = answer.json()["result"]["content"][0]["text"]
        assert text.endswith(f"needs: mcp:infer, mcp:write. How to get it: {HELP}")


async def listed(stack: Stack, revision: str, token: str) -> dict[str, Any]:
    if revision == wire.MODERN:
        answer = await stack.post(wire.modern("tools/list"), token, **wire.headers("tools/list"))
    else:
        answer = await stack.post(wire.legacy("tools/list"), token, mcp_protocol_version=revision)
    return {one["name"]: one for one in answer.json()["result"]["tools"]}


@pytest.mark.parametrize("mode", ["both", "error"])
async def test_each_tool_lists_how_it_is_authorized_in_both_places(tmp_path: Path, mode: str) -> None:
    """Each answer is held against its revision's schema."""
    async with running(tmp_path, mode, default_scopes="mcp:read other:look") as stack:
        token = await stack.token("alice")
        for revision in EVERY:
            tools = await listed(stack, revision, token)
            assert {name: one["securitySchemes"] for name, one in tools.items()} == {
                "hello": [{"type": "noauth"}],
                "change": [{"type": "oauth2", "scopes": ["mcp:infer", "mcp:write"]}],
                "look": [{"type": "oauth2", "scopes": ["mcp:read", "other:look"]}],
                "either": [
                    {"type": "oauth2", "scopes": ["mcp:write"]},
                    {"type": "oauth2", "scopes": ["mcp:admin", "mcp:infer"]},
                ],
                "refund": [{"type": "oauth2", "scopes": ["mcp:read", "orders:refund"]}],
                "decide": [{"type": "oauth2", "scopes": []}],
                "sign": [{"type": "oauth2", "scopes": ["mcp:read"]}],
                "late": [{"type": "oauth2", "scopes": ["mcp:read"]}],
            }
            assert all(one["_meta"]["securitySchemes"] == one["securitySchemes"] for one in tools.values())
            assert tools["change"]["_meta"]["example.com/x"] == 1


async def test_nothing_of_it_is_listed_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path, "challenge") as stack:
        tools = await listed(stack, wire.MODERN, await stack.token("alice"))
        assert b"securitySchemes" not in msgspec.json.encode(tools)


async def test_what_is_listed_follows_the_registry(tmp_path: Path) -> None:
    async with running(tmp_path, "both") as stack:
        token, server = await stack.token("alice"), stack.plugin._server
        await listed(stack, wire.MODERN, token)
        server.remove_tool("change")

        @server.tool(scopes={"mcp:admin"})
        async def change() -> str:
            """Change it, otherwise."""
            return "changed"

        tools = await listed(stack, wire.MODERN, token)
        assert tools["change"]["securitySchemes"] == [{"type": "oauth2", "scopes": ["mcp:admin"]}]
