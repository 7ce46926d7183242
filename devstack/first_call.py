"""The first call of a new stack: a person logs in, a tool is called, the sample API answers; told in words.

Of an API of one's own nothing is called unasked: what could be called is looked for in the list of tools.
"""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec

from devstack.login import LoginFailed, fetch_token
from devstack.realm.model import Realm
from devstack.realm.scopes import DeclaredServer

USER: Final = "alice"
SCOPE: Final = "orders:read"
TOOL: Final = "list_products"


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a person may make: whose token, for which scopes, of which tool."""

    user: str
    scope: str
    tool: str
    arguments: dict[str, Any] = {}


SAMPLE: Final = Example(user=USER, scope=SCOPE, tool="list_orders", arguments={"limit": 3})
"""Of the demo."""


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


class _Hints(msgspec.Struct, rename="camel"):
    read_only_hint: bool | None = None


class _Schema(msgspec.Struct):
    required: list[str] = []


class _Tool(msgspec.Struct, rename="camel"):
    name: str
    input_schema: _Schema
    annotations: _Hints = msgspec.field(default_factory=_Hints)


class _Tools(msgspec.Struct):
    tools: list[_Tool]


class _List(msgspec.Struct):
    result: _Tools


def first_call(issuer: str, resource: str) -> str:
    """What the call brought, or why it did not; the stack stands either way."""
    try:
        token = fetch_token(issuer, USER, f"openid {SCOPE}", resource)["access_token"]
        answer = _posted(resource, token, "tools/call", {"name": TOOL, "arguments": {"limit": 3}})
        said = msgspec.json.decode(answer, type=_Answer).result.content[0].text
        page = msgspec.json.decode(said, type=_Page)
    except (httpx.HTTPError, LoginFailed, msgspec.MsgspecError, KeyError, IndexError) as error:
        return f"{TOOL} as {USER} did not go through: {error}"[:200]
    names = ", ".join(one.name for one in page.items)
    return f"{TOOL} as {USER}, with a token that was exchanged for the API: {names} ({page.total} in all)"


def example(realm: Realm, told: DeclaredServer) -> Example | None:
    """A call that changes nothing and needs no argument, by the first person who may make it; None without any."""
    able = callers(realm, told)
    if not able:
        return None
    user, scope = next(iter(able.values()))
    try:
        token = fetch_token(realm.issuer, user, f"openid {scope}", realm.resource)["access_token"]
        listed = msgspec.json.decode(_posted(realm.resource, token, "tools/list", {}), type=_List).result.tools
    except (httpx.HTTPError, LoginFailed, msgspec.MsgspecError, KeyError):
        return None
    fit = {one.name for one in listed if one.annotations.read_only_hint and not one.input_schema.required}
    tool = next((name for name in able if name in fit), None)
    return None if tool is None else Example(user=able[tool][0], scope=able[tool][1], tool=tool)


def callers(realm: Realm, told: DeclaredServer) -> dict[str, tuple[str, str]]:
    """Who may call which tool with which scopes, first those that an API's scope is exchanged for.

    A health check, which needs none, would show nothing of what the API gets.
    """
    exchanged = {scope for api in told.apis for scope in api.scopes}
    found = {name: able for name, needs in told.tools.items() if (able := _able(realm, needs)) is not None}
    return dict(sorted(found.items(), key=lambda one: exchanged.isdisjoint(one[1][1].split())))


def _able(realm: Realm, needs: list[str] | dict[str, Any]) -> tuple[str, str] | None:
    """Who may have all that a tool needs, and that; the first alternative that somebody may have."""
    for scopes in _alternatives(needs):
        known = [found for name in scopes if (found := realm.scope(name)) is not None]
        for user in realm.users:
            if len(known) == len(scopes) and all(one.roles & {*user.roles} for one in known):
                return user.username, " ".join(scopes)
    return None


def _alternatives(needs: list[str] | dict[str, Any]) -> Iterator[list[str]]:
    """What would do; nothing is known where a function tells it, and without any scope there is no token to show."""
    yield from [one for one in ([needs] if isinstance(needs, list) else needs.get("any_of", [])) if one]


def _posted(resource: str, token: str, method: str, params: dict[str, Any]) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"}
    return httpx.post(resource, json=call, headers=headers, trust_env=False, timeout=30).content
