"""The first call of a new stack: a person logs in, a tool is called, the sample API answers; told in words."""

from typing import Final

import httpx
import msgspec

from devstack.login import LoginFailed, fetch_token

USER: Final = "alice"
SCOPE: Final = "orders:read"
TOOL: Final = "list_products"


class _Product(msgspec.Struct):
    name: str


class _Page(msgspec.Struct):
    items: list[_Product]
    total: int


class _Content(msgspec.Struct):
    text: str


class _Result(msgspec.Struct):
    content: list[_Content]


class _Answer(msgspec.Struct):
    result: _Result


def first_call(issuer: str, resource: str) -> str:
    """What the call brought, or why it did not; the stack stands either way."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": TOOL, "arguments": {"limit": 3}}}
    headers = {"accept": "application/json, text/event-stream"}
    try:
        token = fetch_token(issuer, USER, f"openid {SCOPE}", resource)["access_token"]
        headers["authorization"] = f"Bearer {token}"
        answer = httpx.post(resource, json=call, headers=headers, trust_env=False, timeout=30)
        said = msgspec.json.decode(answer.content, type=_Answer).result.content[0].text
        page = msgspec.json.decode(said, type=_Page)
    except (httpx.HTTPError, LoginFailed, msgspec.MsgspecError, KeyError, IndexError) as error:
        return f"{TOOL} as {USER} did not go through: {error}"[:200]
    names = ", ".join(one.name for one in page.items)
    return f"{TOOL} as {USER}, with a token that was exchanged for the API: {names} ({page.total} in all)"
