"""Lazy login, filtered lists, guards on plain routes, the metadata behind a path prefix."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, get

from mcp_server import CallToolResult, Context, McpPlugin, McpServer, TextContent, requires_scopes, settings
from mcp_server.auth import metadata
from tests.kit import wire
from tests.kit.stack import free_port, running_stack, serving, until_ready
from tests.kit.tokens import Forge


def mixed() -> McpServer:
    server = McpServer("mixed", version="1")

    @server.tool(public=True)
    def hello(ctx: Context) -> str:
        """Say hello."""
        return f"hello {ctx.principal.username if ctx.principal else 'stranger'}"

    @server.tool(scopes={"mcp:write", "mcp:infer"})
    async def both() -> CallToolResult:
        """Need two scopes."""
        return CallToolResult([TextContent("both")], meta={"example.com/x": 1})

    @server.tool()
    async def fails() -> None:
        """Break."""
        raise RuntimeError("a secret detail")

    @server.tool()
    async def wrong() -> int:
        """Return what the annotation denies."""
        return "text"  # type: ignore[return-value]  # the wrong type is the point

    return server


def tool(name: str) -> tuple[Any, dict[str, str]]:
    return wire.modern("tools/call", {"name": name}), wire.headers("tools/call", name)


@pytest.mark.requirement("25.2", "25.21", "25.22")
async def test_public_tools_and_discovery_need_no_token_and_protected_ones_challenge(tmp_path: Path) -> None:
    async with running_stack(tmp_path, mixed()) as stack:
        for method in ("server/discover", "tools/list"):
            answer = await stack.post(wire.modern(method), **wire.headers(method))
            assert answer.json()["result"]["cacheScope"] == "public"
        init = await stack.post(wire.legacy("initialize", wire.INITIALIZE))
        assert (init.status_code, "mcp-session-id" in init.headers) == (200, False)
        message, headers = tool("hello")
        assert (await stack.post(message, **headers)).json()["result"]["content"][0]["text"] == "hello stranger"
        named = await stack.post(message, await stack.token("alice"), **headers)
        assert named.json()["result"]["content"][0]["text"] == "hello alice"
        message, headers = tool("both")
        refused = await stack.post(message, **headers)
        assert refused.status_code == 401
        assert "error=" not in refused.headers["www-authenticate"]
        assert (await stack.post(message, "spoiled", **headers)).status_code == 401
        session = {"authorization": "", "mcp-session-id": "x"}
        assert (await stack.post(wire.legacy("ping"), mcp_session_id="x")).status_code == 404
        assert (
            await stack.http.delete(stack.resource, headers={"mcp-session-id": session["mcp-session-id"]})
        ).status_code == 405


@pytest.mark.requirement("25.10", "25.12", "25.14")
async def test_a_challenge_names_all_scopes_of_the_call_in_both_eras(tmp_path: Path) -> None:
    """A legacy client asks for what is named and no more, so what its token has of ours is named again."""
    async with running_stack(tmp_path, mixed()) as stack:
        token = await stack.token("bob", "mcp:read profile email")
        message, headers = tool("both")
        old = wire.legacy("tools/call", {"name": "both"})
        for answer, named in (
            (await stack.post(message, token, **headers), "mcp:infer mcp:write"),
            (await stack.post(old, token), "mcp:infer mcp:read mcp:write"),
            (await stack.post(old, token, mcp_protocol_version="2025-06-18"), "mcp:infer mcp:read mcp:write"),
        ):
            assert answer.status_code == 403
            challenge = answer.headers["www-authenticate"]
            assert 'error="insufficient_scope"' in challenge
            assert f'scope="{named}"' in challenge
            assert 'resource_metadata="' in challenge
        wide = await stack.token("bob", "mcp:write mcp:infer")
        result = (await stack.post(message, wide, **headers)).json()["result"]
        assert result["_meta"]["example.com/x"] == 1
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mixed"


async def test_a_list_of_what_is_granted(tmp_path: Path) -> None:
    async with running_stack(tmp_path, mixed(), list="granted") as stack:
        token = await stack.token("alice")
        listed = await stack.post(wire.modern("tools/list"), token, **wire.headers("tools/list"))
        assert [one["name"] for one in listed.json()["result"]["tools"]] == ["hello", "fails", "wrong"]
        assert listed.json()["result"]["cacheScope"] == "private"
        strangers = await stack.post(wire.modern("tools/list"), **wire.headers("tools/list"))
        assert [one["name"] for one in strangers.json()["result"]["tools"]] == ["hello"]


@pytest.mark.parametrize("name", ["fails", "wrong"])
async def test_a_failing_tool_tells_the_model_that_and_not_why(tmp_path: Path, name: str) -> None:
    async with running_stack(tmp_path, mixed()) as stack:
        message, headers = tool(name)
        answer = await stack.post(message, await stack.token("alice"), **headers)
        assert answer.json()["result"]["isError"] is True
        assert name + " failed" in answer.text
        assert "secret detail" not in answer.text
        assert "RuntimeError" not in answer.text


async def test_what_roles_and_implications_add_is_not_asked_for_again(tmp_path: Path) -> None:
    roles = '{"writer": ["mcp:infer"]}'
    async with running_stack(tmp_path, role_scopes=roles, scope_implies='{"mcp:write": ["mcp:read"]}') as stack:
        forge = Forge(stack)
        token = forge.token(scope="mcp:write other:scope", realm_access={"roles": ["writer"]})
        answer = await stack.post(
            wire.legacy("tools/call", {"name": "delete_order", "arguments": {"order_id": 1}}), token
        )
        assert 'scope="mcp:admin mcp:write"' in answer.headers["www-authenticate"], answer.text


async def test_one_list_of_scopes_is_in_the_first_challenge_and_in_the_metadata(tmp_path: Path) -> None:
    for narrowed, wanted in (("", ["mcp:admin", "mcp:read", "mcp:write"]), ("mcp:read", ["mcp:read"])):
        async with running_stack(tmp_path, challenge_scopes=narrowed) as stack:
            answer = await stack.post(wire.legacy("tools/list"))
            found = (await stack.http.get(metadata.url(stack.resource))).json()
            assert found["scopes_supported"] == wanted
            assert f'scope="{" ".join(wanted)}"' in answer.headers["www-authenticate"]


async def test_head_is_answered_like_get_without_a_body(tmp_path: Path) -> None:
    """RFC 9110 §9.3.2; some clients look for the challenge by HEAD, monitors for the probes."""
    async with running_stack(tmp_path) as stack:
        origin, http = stack.resource.removesuffix("/mcp"), stack.http
        places = [f"{origin}{path}" for path in ("/mcp", "/healthz", "/readyz", "/metrics", "/nothing")]
        for url in [*places, metadata.url(stack.resource), metadata.url(origin + "/")]:
            get, head = await http.get(url), await http.head(url)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers.get("www-authenticate") == get.headers.get("www-authenticate")
            assert head.headers["content-type"] == get.headers["content-type"]
        mine = {"authorization": f"Bearer {await stack.token('alice')}"}
        get, head = await http.get(stack.resource, headers=mine), await http.head(stack.resource, headers=mine)
        assert (get.status_code, head.status_code, head.headers["allow"]) == (405, 405, get.headers["allow"])


async def test_head_in_a_session_opens_no_stream(tmp_path: Path) -> None:
    async with running_stack(tmp_path, max_streams_per_principal="1") as stack:
        token = await stack.token("alice")
        opened = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
        session = {"authorization": f"Bearer {token}", "mcp-session-id": opened.headers["mcp-session-id"]}
        for _ in range(3):
            answer = await stack.http.head(stack.resource, headers=session)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        gone = await stack.http.head(stack.resource, headers={**session, "mcp-session-id": "x"})
        assert (gone.status_code, gone.content) == (404, b"")
        async with stack.open(None, token, mcp_session_id=session["mcp-session-id"]) as (stream, _):
            assert stream.status_code == 200


@pytest.mark.parametrize("path", ["/mcp", "/healthz", "/readyz", "/metrics", "/.well-known/oauth-protected-resource"])
async def test_each_405_says_what_is_allowed(tmp_path: Path, path: str) -> None:
    async with running_stack(tmp_path) as stack:
        answer = await stack.http.put(stack.resource.removesuffix("/mcp") + path)
        allowed = {one.strip() for one in answer.headers["allow"].split(",")}
        assert answer.status_code == 405
        assert {"GET", "HEAD"} <= allowed
        assert "PUT" not in allowed


async def test_an_application_of_ones_own_gets_the_endpoint_and_guards(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:

        @get("/report", guards=[requires_scopes("mcp:write")])
        async def report(request: Request[Any, Any, Any]) -> dict[str, str]:
            return {"user": request.user.username}

        @get("/boom")
        async def boom() -> None:
            raise RuntimeError("a secret detail")

        port = free_port()
        loaded = settings.load(
            {
                "MCP_ISSUER": stack.issuer.realm.issuer,
                "MCP_RESOURCE": f"http://localhost:{port}/prefix/mcp",
                "MCP_AUDIENCES": stack.resource,
                "MCP_AUDIT_FILE": str(tmp_path / "second.jsonl"),
                "MCP_METRICS_SCOPE": "mcp:write",
            }
        )
        app = Litestar([report, boom], plugins=[McpPlugin(mixed(), loaded)], openapi_config=None, logging_config=None)
        origin = f"http://localhost:{port}"
        async with serving(app, port), httpx.AsyncClient(trust_env=False, base_url=origin) as http:
            await until_ready(http, origin)
            assert (await http.get("/report")).status_code == 401
            spoiled = await http.get("/report", headers={"authorization": "Bearer spoiled"})
            assert 'error="invalid_token"' in spoiled.headers["www-authenticate"]
            alice = {"authorization": f"Bearer {await stack.token('alice')}"}
            narrow = await http.get("/report", headers=alice)
            assert (narrow.status_code, 'scope="mcp:read mcp:write"' in narrow.headers["www-authenticate"]) == (
                403,
                True,
            )
            bob = {"authorization": f"Bearer {await stack.token('bob', 'mcp:write')}"}
            assert (await http.get("/report", headers=bob)).json() == {"user": "bob"}
            assert "mcp_refusals_total" in (await http.get("/metrics", headers=bob)).text
            for path in ("", "/mcp", "/prefix/mcp"):
                foreign = await http.get(
                    f"/.well-known/oauth-protected-resource{path}", headers={"host": "evil.example"}
                )
                assert foreign.status_code == 403
                found = await http.get(f"/.well-known/oauth-protected-resource{path}", headers={"host": "LOCALHOST:1"})
                assert found.json()["resource"] == f"{origin}/prefix/mcp"
                assert found.headers["access-control-allow-origin"] == "*"
                assert "max-age" in found.headers["cache-control"]
            challenge = (await http.post("/mcp", json=wire.legacy("tools/call", {"name": "both"}))).headers[
                "www-authenticate"
            ]
            assert f'resource_metadata="{origin}/.well-known/oauth-protected-resource/prefix/mcp"' in challenge


async def test_plain_routes_say_little(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        origin = stack.resource.removesuffix("/mcp")
        missing = await stack.http.get(f"{origin}/nothing")
        assert (missing.status_code, missing.json()) == (404, {"error": "not found"})
        wrong = await stack.http.post(f"{origin}/healthz")
        assert (wrong.status_code, wrong.json()) == (405, {"error": "method not allowed"})
        assert (await stack.http.get(f"{origin}/healthz")).json() == {"status": "ok"}
        assert (await stack.http.get(f"{origin}/metrics")).status_code == 401
        assert msgspec.json.decode((await stack.http.get(f"{origin}/readyz")).content)["status"] == "ok"


@pytest.mark.parametrize(("trusted", "expected"), [("127.0.0.0/8 ::1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")])
async def test_the_audit_says_where_every_request_came_from(tmp_path: Path, trusted: str, expected: str) -> None:
    async with running_stack(tmp_path, trusted_proxies=trusted) as stack:
        alice, forwarded = await stack.token("alice"), {"x_forwarded_for": "192.0.2.1, 203.0.113.7"}
        calls = [(alice, {}), (None, {}), ("nonsense", {}), (alice, {"host": "evil.example.com"})]
        for token, more in calls:
            await stack.post(wire.legacy("tools/list"), token, **forwarded, **more)
        await stack.post(b"[", alice, **forwarded)
        lines = stack.audited()
    assert [line["decision"] for line in lines] == ["allow", "deny", "deny", "deny", "deny"]
    assert {line["address"] for line in lines} == {expected}


@pytest.mark.requirement("25.30")
async def test_a_browser_may_ask_before_it_reads_the_metadata(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        url = stack.resource.removesuffix("/mcp") + "/.well-known/oauth-protected-resource/mcp"
        asked = {"origin": "https://app.example", "access-control-request-headers": "mcp-protocol-version"}
        answer = await stack.http.options(url, headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
        assert answer.headers["access-control-allow-headers"] == "mcp-protocol-version"
        assert (await stack.http.get(url)).json()["resource"] == stack.resource
