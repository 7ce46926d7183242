"""Resources, prompts, completions and tools of every shape."""

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

from mcp_server import (
    Completion,
    Context,
    EmbeddedResource,
    GetPromptResult,
    Icon,
    McpServer,
    MissingCapability,
    PromptMessage,
    ProtocolError,
    ResourceContents,
    ResourceLink,
    ResourceNotFound,
    ToolError,
    mcp_header,
)

ICON = Icon("https://example.org/i.png", "image/png", ["48x48"], "dark")
server = McpServer("features", icons=[ICON], website_url="https://example.org")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Nested(msgspec.Struct, frozen=True):
    city: Annotated[str, mcp_header("City")] = ""


@server.tool(icons=[ICON], meta={"example.org/x": 1}, title="Headers")
async def headers(
    region: Annotated[str, mcp_header("Region"), "where"],
    number: Annotated[int, mcp_header("Number")] = 0,
    flag: Annotated[bool, mcp_header("Flag")] = False,
    nested: Nested = Nested(),  # noqa: B008 - frozen
) -> str:
    """Take parameters that headers repeat."""
    return region


@server.tool(input_schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
async def schemed(arguments: dict[str, Any]) -> str:
    """Take what a schema says."""
    return str(arguments["a"])


@server.tool()
async def crash(how: str, ctx: Context) -> str:
    """Fail."""
    if how == "surrogate":
        await ctx.progress(1)
        return "half a surrogate: \ud800"
    if how == "notes":
        ctx.notes["odd"] = object()
        return (await ctx.elicit("?", {"type": "object", "properties": {}})).action
    if how == "protocol":
        raise ProtocolError(-31234, "own code")
    raise RuntimeError("a secret of ours")


@server.resource("fixed://text", title="A text", size=4, icons=[ICON])
async def fixed() -> str:
    """Hold a text."""
    return "text"


@server.resource("bytes://all", mime_type="application/pdf")
def raw() -> bytes:
    """Hold bytes."""
    return b"\x00\xff"


@server.resource("mine://whatever", public=True)
async def whatever(ctx: Context) -> str:
    """Say who reads."""
    return str(ctx.principal and ctx.principal.username)


@server.resource("item://{number}{?detail}")
async def item(number: int, ctx: Context, detail: bool = False) -> dict[str, Any] | None:
    """Hold an item."""
    if number == 0:
        raise ResourceNotFound
    if number == 1:
        raise RuntimeError("a secret of ours")
    if number == 2:
        raise ToolError("not today")
    if number == 3:
        return None
    return {"number": number, "detail": detail, "who": ctx.principal.username if ctx.principal else None}


@server.resource("many://{+path}", public=True)
async def many(path: str) -> list[ResourceContents]:
    """Hold several."""
    return [ResourceContents(f"many://{path}/{n}", text=str(n), mime_type="text/x") for n in range(2)]


@server.resource("locked://{id}", scopes={"mcp:admin"})
async def locked(id: str) -> str:  # noqa: A002
    """Hold what an administrator may see."""
    return id


@server.prompt(title="Review", icons=[ICON])
async def review(code: str, level: Literal["brief", "full"], colour: Colour = Colour.RED, times: int = 1) -> str:
    """Review code.

    Args:
        code: What is reviewed.

    """
    return f"{code} {level} {colour.value} {times}"


@server.prompt(scopes={"mcp:write"})
async def several() -> list[PromptMessage | str]:
    """Say several things."""
    link = ResourceLink("fixed://text", "a text")
    return [PromptMessage("assistant", link), "plain"]


@server.prompt()
async def whole(how: Annotated[str, "how it goes"] = "") -> GetPromptResult:
    """Choose every member."""
    if how == "crash":
        raise RuntimeError("a secret of ours")
    if how == "tool":
        raise ToolError("cannot")
    if how == "capability":
        raise MissingCapability({"roots": {}})
    embedded = EmbeddedResource(ResourceContents("a:b", text="t"))
    return GetPromptResult(messages=[PromptMessage("user", embedded)], description="chosen", meta={"example.org/a": 1})


@server.completion("item://{number}{?detail}", "number")
async def numbers(value: str) -> list[str]:
    """Offer numbers."""
    return [str(n) for n in range(1000) if str(n).startswith(value)]


@server.completion("review", "times")
async def asks(value: str, ctx: Context) -> list[str]:
    """Ask, which a completion must not."""
    await ctx.roots()
    return [value]


@server.completion("review", "code")
async def codes(value: str, arguments: dict[str, str], ctx: Context) -> Completion:
    """Offer codes."""
    return Completion([value + arguments.get("level", "")], has_more=False)
