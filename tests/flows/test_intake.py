"""What is judged before a message is read: method, Host, Origin, media type, length, preflights."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tests.kit import wire
from tests.kit.stack import Stack


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("carol", "mcp:read mcp:write mcp:admin")


@pytest.mark.requirement("2.13", "5.1")
async def test_get_needs_a_session_and_other_methods_hear_what_is_allowed(stack: Stack, token: str) -> None:
    for method, allowed in (
        ("GET", "POST, OPTIONS"),
        ("PUT", "POST, GET, HEAD, DELETE, OPTIONS"),
        ("PATCH", "POST, GET, HEAD, DELETE, OPTIONS"),
    ):
        answer = await stack.http.request(method, stack.resource, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert (await stack.http.get(stack.resource)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example:8000"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"origin": "http://localhost:6274"}, 200),
        ({"origin": "http://127.0.0.1:1234"}, 200),
        ({"accept": "*/*"}, 200),
    ],
)
@pytest.mark.requirement("2.2", "2.3", "2.17", "5.16")
async def test_the_intake(stack: Stack, token: str, headers: dict[str, str], status: int) -> None:
    answer = await stack.post(wire.legacy("ping"), token, **headers)
    assert answer.status_code == status
    last = stack.audited()[-1]
    assert last["decision"] == ("allow" if status == 200 else "deny")
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed == (headers.get("origin") if status == 200 else None)


async def declared(stack: Stack, token: str, length: int | str) -> bytes:
    """The status line that a body of this declared length gets, before any of it is sent."""
    url = httpx.URL(stack.resource)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    lines = ["POST /mcp HTTP/1.1", f"Host: localhost:{url.port}", f"Authorization: Bearer {token}"]
    lines += ["Content-Type: application/json", f"Content-Length: {length}", "", ""]
    writer.write("\r\n".join(lines).encode())
    line = await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    return line


async def test_a_body_over_the_limit_is_refused_by_its_length_or_while_read(stack: Stack, token: str) -> None:
    assert b" 413 " in await declared(stack, token, 4 * 1024 * 1024 + 1)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def chunks() -> Any:
        for _ in range(5):
            yield b" " * 1024 * 1024

    assert (await stack.http.post(stack.resource, content=chunks(), headers=headers)).status_code == 413
    whole = msgspec.json.encode(wire.legacy("ping"))

    async def pieces() -> Any:
        yield whole[:9]
        yield whole[9:]

    assert (await stack.http.post(stack.resource, content=pieces(), headers=headers)).status_code == 200


@pytest.mark.requirement("25.30")
async def test_a_preflight_is_answered_before_authentication(stack: Stack) -> None:
    headers = {
        "origin": "http://localhost:6274",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, mcp-param-region, x-evil, mcp-protocol-version, mcp-param-",
    }
    answer = await stack.http.options(stack.resource, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "authorization, mcp-param-region, mcp-protocol-version"
    assert "WWW-Authenticate" in answer.headers["access-control-expose-headers"]
    # a browser refuses an answer that names the origin twice
    assert answer.headers.get_list("access-control-allow-origin") == ["http://localhost:6274"]
    refused = await stack.http.post(stack.resource, json={}, headers={"origin": "http://localhost:6274"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://localhost:6274"
