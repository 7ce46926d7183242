"""What an author registers is honoured, or refused by the names that the author knows: decorators, context, callables."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from mcp_server import Context, McpServer
from mcp_server.authoring.errors import UnsupportedType
from tests.kit.contexts import context, in_threads
from tests.kit.signatures import taking
from tests.unit.registry.test_tool import run, tool_of

# Decorators


async def test_a_decorator_without_parentheses_registers() -> None:
    server = McpServer("s")

    @server.tool
    async def tool(a: int) -> int:
        return a

    @server.prompt
    def prompt(a: str) -> str:
        return a

    typing.assert_type(prompt("x"), str)  # the function keeps its type
    assert (list(server.tools), list(server.prompts), await tool(1)) == (["tool"], ["prompt"], 1)
    assert await run(server.tools["tool"], a=1) == await run(tool_of(tool), a=1)


def test_what_cannot_be_registered_without_an_address_or_a_name_says_what_to_write() -> None:
    server: Any = McpServer("s")
    with pytest.raises(TypeError, match=r"write @server.resource\('scheme://address'\)"):
        server.resource(taking(int))
    for register, write in (
        (server.tool(), "@server.tool('a_name')"),
        (server.prompt, "@server.prompt('a_name')"),
        (server.resource("a://b"), "@server.resource(uri, name='a_name')"),
    ):
        with pytest.raises(TypeError, match="has no name of its own") as refused:
            register(functools.partial(taking(int), 1))
        assert write in str(refused.value)
    with pytest.raises(ValueError, match="an absolute URI has a scheme"):
        server.resource("orders", name="orders")(lambda: "")
    for register in (server.tool, server.prompt, functools.partial(server.resource, "a://{where}")):
        with pytest.raises(TypeError, match=r"nonsense is no option; there are .*public, title"):
            register(nonsense=True)(taking(int))


# Context


class Own(Context):
    def whose(self) -> str:
        return self.request_id


class Odd(Context):
    def __init__(self) -> None: ...


@pytest.mark.parametrize(
    "annotation",
    [
        Context,
        Context | None,
        typing.Optional[Context],  # noqa: UP045 - as many write it
        Annotated[Context, "the call"],
        Annotated[Context | None, "the call"],
        "Context",
        "Context | None",
        Own,
    ],
)
@pytest.mark.parametrize("default", [inspect.Parameter.empty, None])
async def test_each_spelling_of_the_context_is_injected(annotation: Any, default: Any) -> None:
    in_threads()

    def handler(ctx: Any) -> str:
        assert isinstance(ctx, Context)
        return ctx.whose() if isinstance(ctx, Own) else ctx.request_id

    handler.__annotations__["ctx"] = annotation
    if default is None:
        handler.__defaults__ = (None,)
    server = McpServer("s")
    server.tool(handler)
    assert server.tools["handler"].entry.input_schema["properties"] == {}
    result = await server.tools["handler"].call({}, context)
    assert result == await tool_of(lambda: "r", name="r").call({}, context)
    server.prompt(handler)
    assert server.prompts["handler"].entry.arguments is None
    server.resource("a://b")(handler)
    assert not server.resources["a://b"].same_for_all


@pytest.mark.parametrize("annotation", [Odd, Context | str, list[Context]])
def test_a_context_that_cannot_be_made_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedType, match=r"tool 'find': parameter 'where'"):
        tool_of(taking(annotation))


def test_two_contexts_are_refused() -> None:
    def find(a: Context, b: Context | None) -> None: ...

    with pytest.raises(UnsupportedType, match="'a' and 'b' are both the context"):
        tool_of(find)


# Callables


class Adder:
    """Adds."""

    async def __call__(self, a: int, b: int = 2) -> int:
        return a + b

    def method(self, a: int) -> int:
        """Be a method."""
        return a

    async def generator(self) -> Any:
        yield 1

    @classmethod
    def made(cls) -> str:
        return cls.__name__


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def adds(a: int, b: int, key: str) -> int:
    """Add."""
    return a + b + len(key)


@pytest.mark.parametrize(
    ("function", "names", "text", "found"),
    [
        (wrapped(adds), ["a", "b", "key"], "Add.", 7),
        (functools.partial(adds, 1, key="secret"), ["b"], "Add.", 9),
        (functools.partial(wrapped(adds), key="xyz"), ["a", "b"], "Add.", 6),
        (Adder(), ["a", "b"], "Adds.", 3),
        (functools.partial(Adder(), b=3), ["a"], "Adds.", 4),
        (Adder().method, ["a"], "Be a method.", 1),
        (lambda: adds(1, 2, "xyz"), [], "f", 6),
    ],
)
async def test_whatever_can_be_called_is_served(function: Any, names: list[str], text: str, found: int) -> None:
    tool = tool_of(function, name="f")
    assert list(tool.entry.input_schema["properties"]) == names
    assert tool.entry.description == text
    given = {"a": 1, "b": 2, "key": "word"}
    result = await run(tool, **{name: given[name] for name in names})
    assert [block.text for block in result.content] == [str(found)]  # type: ignore[union-attr]


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (generator, "a generator is not served; return a list"),
        (functools.partial(generator), "a generator"),
        (Adder().generator, "a generator"),
        (Adder, "is no function"),
        (Adder.method, "parameter 'self' has no annotation; register the bound method"),
        (vars(Adder)["made"], "is no function"),
        (5, "is no function"),
        (dict.fromkeys, "parameter"),
        (dict.update, "signature"),
    ],
)
def test_what_cannot_be_called_for_a_result_is_refused_by_name(function: Any, said: str) -> None:
    with pytest.raises(UnsupportedType) as refused:
        tool_of(function, name="f")
    assert str(refused.value).startswith("tool 'f': ")
    assert said in str(refused.value)
