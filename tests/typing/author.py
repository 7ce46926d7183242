"""What a type checker knows of an author's code: read by `test_typing.py`, and run by nobody.

`assert_type` is what is known; a line with `type: ignore` is a mistake that must be seen, for an ignore that is not
needed is an error, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec

from mcp_server import (
    Context,
    CreateMessageResult,
    ElicitResult,
    McpServer,
    NeedsScopes,
    Principal,
    Question,
    Root,
    any_of,
    elicitation,
    roots,
    sampling,
    url_elicitation,
)

server = McpServer("typed")


class Address(msgspec.Struct):
    street: str
    number: int


@dataclass
class Contact:
    name: str


class Options(TypedDict):
    loud: bool


class Shop(Context):
    def currency(self) -> str:
        return "EUR"


# Decorators keep the type of what they stand over


@server.tool
async def bare(order_id: int) -> Address:
    return Address("High Street", order_id)


@server.tool("named", scopes={"mcp:read"}, task="allowed", single_use=True)
def told(order_id: int, ctx: Shop) -> list[str]:
    return [ctx.currency()] * order_id


@server.resource("orders://{order_id}", name="order", scopes=["mcp:read"], mime_type="text/plain")
async def order(order_id: int) -> bytes | None:
    return None


@server.prompt
def greeting(name: str, tone: str = "friendly") -> str:
    return tone + name


@server.prompt("other", public=True)
async def other(name: str) -> str:
    return name


@server.completion("greeting", "tone")
async def tones(value: str) -> list[str]:
    return [value]


async def decorated(ctx: Shop) -> None:
    assert_type(await bare(5), Address)
    assert_type(told(5, ctx), list[str])
    assert_type(await order(5), bytes | None)
    assert_type(greeting("a"), str)
    assert_type(await other("a"), str)
    assert_type(await tones("a"), list[str])
    await bare("5")  # type: ignore[arg-type]
    told(5)  # type: ignore[call-arg]
    greeting("a", mood="b")  # type: ignore[call-arg]


def options() -> None:
    def function() -> str:
        return ""

    server.tool(nonsense=True)  # type: ignore[call-overload]
    server.tool(task="sometimes")  # type: ignore[call-overload]
    server.tool(public="yes")  # type: ignore[call-overload]
    server.prompt(task="allowed")  # type: ignore[call-overload]
    server.resource("a://b", size="5")  # type: ignore[arg-type]
    server.resource("a://b", nonsense=True)  # type: ignore[call-arg]
    server.resource(function)  # type: ignore[arg-type]
    server.completion("greeting")  # type: ignore[call-arg]
    assert_type(server.tool()(function), Callable[[], str])


# What a call needs


def word(arguments: Mapping[str, Any], caller: Principal) -> set[str]:
    assert_type(caller.roles, frozenset[str])
    return {"mcp:read"}


def misread(arguments: str) -> set[str]:
    return {arguments}


async def awaited(arguments: Mapping[str, Any], caller: Principal) -> set[str]:
    return set()


@server.tool(scopes=any_of({"mcp:admin"}, ["mcp:read", "orders:{order_id}"]), fresh=60, acr="2")
async def needing(order_id: int, ctx: Context) -> str:
    assert_type(ctx.holds(any_of({"a:{tenant}"}, {"b"}), tenant="a"), bool)
    raise NeedsScopes({"orders:{order_id}:{tenant}"}, tenant="a")


@server.resource("needs://{order_id}", name="needs", scopes=word, acr=["2", "3"])
async def needed(order_id: int) -> str:
    raise NeedsScopes(any_of({"a"}, {"b"}))


def needs() -> None:
    server.tool(scopes=5)  # type: ignore[call-overload]
    server.tool(scopes={5})  # type: ignore[arg-type]
    server.tool(scopes=misread)  # type: ignore[arg-type]
    server.tool(scopes=awaited)  # type: ignore[arg-type]
    server.tool(fresh="60")  # type: ignore[call-overload]
    server.tool(acr=2)  # type: ignore[call-overload]
    any_of({5})  # type: ignore[arg-type]
    NeedsScopes()  # type: ignore[call-arg]
    NeedsScopes(word)  # type: ignore[arg-type]


# Questions and their answers


async def one(ctx: Context) -> None:
    answer = await ctx.elicit("Where?", Address)
    assert_type(answer, ElicitResult[Address])
    assert_type(answer.content, Address | None)
    print(answer.content.street)  # type: ignore[union-attr]
    if answer.content is not None:
        assert_type(answer.content.number, int)
        print(answer.content.city)  # type: ignore[attr-defined]
    assert_type((await ctx.elicit("Who?", Contact, key="who")).content, Contact | None)
    assert_type((await ctx.elicit("How?", Options)).content, Options | None)
    assert_type((await ctx.elicit("?", {"type": "object", "properties": {}})).content, dict[str, Any] | None)
    assert_type(await ctx.elicit_url("Go", "https://shop.example"), ElicitResult[None])
    assert_type(await ctx.sample("Hi", max_tokens=5), CreateMessageResult)
    assert_type(await ctx.roots(), list[Root])
    await ctx.elicit("Where?", Address("a", 5))  # type: ignore[call-overload]
    await ctx.elicit("Where?")  # type: ignore[call-overload]
    await ctx.sample("Hi")  # type: ignore[call-arg]


async def several(ctx: Context) -> None:
    assert_type(elicitation("Where?", Address), Question[ElicitResult[Address]])
    assert_type(url_elicitation("Go", "https://shop.example"), Question[ElicitResult[None]])
    assert_type(sampling("Hi", max_tokens=5), Question[CreateMessageResult])
    assert_type(roots(), Question[list[Root]])
    alike = await ctx.ask(home=elicitation("Home?", Address), work=elicitation("Work?", Address))
    assert_type(alike, dict[str, ElicitResult[Address]])
    assert_type(alike["home"].content, Address | None)
    mixed = await ctx.ask(home=elicitation("Home?", Address), folders=roots())
    assert_type(mixed, dict[str, Any])  # a keyword has no type of its own in a mapping
    await ctx.ask(home="Home?")  # type: ignore[call-overload]


def facts(ctx: Context) -> None:
    assert_type(ctx.principal, Principal | None)
    assert_type(ctx.state, dict[str, Any])
    print(ctx.principal.subject)  # type: ignore[union-attr]
    ctx.principal = None  # type: ignore[misc]
