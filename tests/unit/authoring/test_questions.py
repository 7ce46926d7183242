"""Forms, contexts, rounds: what a handler may ask and what it hears."""

import enum
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import McpServer, SamplingMessage, TextContent, elicitation, roots, sampling, url_elicitation
from mcp_server.authoring import interaction, questions, schema
from mcp_server.authoring.errors import InvalidClientAnswer, MissingCapability, ToolError, UnsupportedType
from mcp_server.authoring.interaction import InputRequired, RequestStateCodec, ResumableInteraction
from mcp_server.authoring.sink import NullSink
from mcp_server.engine.call import Call
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys
from mcp_server.registry.function import readable
from mcp_server.registry.prompt import Completer
from mcp_server.store.backend import StoreFull
from mcp_server.store.memory import InMemoryBackend
from tests.kit.contexts import Recorder, context

ROOT = Path(__file__).parents[3]


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Form(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(description="who", max_length=5)]
    colour: Colour
    many: list[Colour]
    words: list[Literal["a", "b"]]
    born: date | None = None
    score: float = 0.5
    sure: bool = False


@dataclass
class Plain:
    age: int


@pytest.mark.requirement("18.2")
def test_a_form_is_flat_and_says_what_it_takes() -> None:
    shown = schema.form_schema(Form)
    assert shown["properties"]["name"] == {"type": "string", "maxLength": 5, "description": "who"}
    assert shown["properties"]["colour"]["enum"] == ["red", "blue"]
    assert shown["properties"]["colour"]["type"] == "string"
    assert shown["properties"]["many"]["items"] == {"type": "string", "enum": ["red", "blue"]}
    assert shown["properties"]["words"]["items"] == {"type": "string", "enum": ["a", "b"]}
    assert shown["properties"]["born"] == {"type": "string", "format": "date"}
    assert shown["properties"]["score"] == {"type": "number", "default": 0.5}
    assert shown["required"] == ["name", "colour", "many", "words"]
    assert schema.form_schema(Plain) == {
        "type": "object",
        "properties": {"age": {"type": "integer"}},
        "required": ["age"],
    }


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        list[str],
        msgspec.defstruct("Deep", [("inner", Plain)]),
        msgspec.defstruct("Many", [("names", list[str])]),
        msgspec.defstruct("Either", [("one", int | str)]),
        msgspec.defstruct("Odd", [("one", Literal[1, 2])]),
        msgspec.defstruct("Free", [("one", dict[str, int])]),
    ],
)
@pytest.mark.requirement("18.2")
def test_what_no_form_can_show_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedType):
        schema.form_schema(annotation)


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


@pytest.mark.requirement("19.4", "20.1")
def test_answers_are_read_or_refused() -> None:
    schemed = elicitation("m", {"type": "object", "properties": {}})
    assert schemed.read(raw({"action": "accept", "content": {"a": ["x"], "b": 1.5}})).content == {"a": ["x"], "b": 1.5}
    assert schemed.read(raw({"action": "accept"})).accepted
    assert url_elicitation("m", "https://x").read(raw({"action": "accept"})).content is None
    assert roots().read(raw({"roots": [{"uri": "file:///a"}]}))[0].uri == "file:///a"
    blocks = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    answer = {"role": "assistant", "model": "m", "content": blocks}
    assert sampling([SamplingMessage("user", TextContent("t"))], max_tokens=1).read(raw(answer)).text == "ab"
    for question, wrong in (
        (schemed, {"action": "accept", "content": {"a": {}}}),
        (schemed, 5),
        (roots(), {"roots": [5]}),
        (sampling("x", max_tokens=1), {"role": "system"}),
    ):
        with pytest.raises(InvalidClientAnswer):
            question.read(raw(wrong))


async def test_a_context_reports_asks_and_tells() -> None:
    sink, updated = Recorder(), list[str]()
    ctx = context(
        sink=sink,
        progress_token="p",
        log_level="warning",
        state={"a": 1},
        capabilities={"roots": {}},
        updated=updated,
    )
    assert (ctx.request_id, ctx.trace_id, ctx.revision, ctx.state) == ("r", "", "2026-07-28", {"a": 1})
    assert ctx.principal
    await ctx.progress(1, 2, "half")
    await ctx.progress(1)
    await ctx.log("info", "unheard")
    await ctx.log("error", {"a": 1})
    await ctx.pause(7)
    assert [msgspec.json.decode(one)["method"] for one in sink.said] == [
        "notifications/progress",
        "notifications/message",
    ]
    assert sink.paused == [7]
    with pytest.raises(InputRequired) as asked:
        await ctx.roots()
    assert asked.value.questions.keys() == {"q1"}
    with pytest.raises(MissingCapability) as lacking:
        await ctx.sample("x", max_tokens=1)
    assert lacking.value.required == {"sampling": {}}
    ctx.resource_updated("a://b")
    assert updated == ["a://b"]
    await NullSink().send(b"")
    await NullSink().pause(1)


@pytest.mark.requirement("1.11", "17.8", "17.9", "17.16")
async def test_a_state_goes_from_process_to_process_while_keys_overlap() -> None:
    def keeper(*keys: str, backend: InMemoryBackend | None = None) -> RequestStateCodec:
        return RequestStateCodec(
            SealingKeys([key.encode() for key in keys], interaction.PURPOSE), backend or InMemoryBackend(), 60
        )

    binding = interaction.binding("alice", "tools/call", raw({"name": "t", "arguments": {"b": 1, "a": 2}, "_meta": {}}))
    same = interaction.binding("alice", "tools/call", raw({"arguments": {"a": 2, "b": 1}, "name": "t"}))
    assert binding == same
    carried = ResumableInteraction({}, {"note": 1})
    carried.kept["k"] = raw({"action": "decline"})
    state = keeper("one").seal(carried, binding)
    peek = RoutingFields(request_state=raw(state), input_responses=raw({"n": 5}))
    back = await keeper("two", "one").resume(peek, binding, single_use=False)
    assert back.notes == {"note": 1}
    with pytest.raises(InvalidSealedValue):
        await keeper("two").resume(peek, binding, single_use=False)
    backend = InMemoryBackend()
    await keeper("one", backend=backend).resume(peek, binding, single_use=True)
    with pytest.raises(InvalidSealedValue):
        await keeper("one", backend=backend).resume(peek, binding, single_use=True)
    with pytest.raises(ToolError):
        keeper("one").seal(ResumableInteraction({}, {"note": "x" * 200_000}), binding)


@pytest.mark.requirement("7.9", "7.10")
def test_what_is_registered_is_checked() -> None:
    server = McpServer("s")

    async def none() -> str:
        return ""

    async def one(id: str) -> str:  # noqa: A002
        return id

    async def odd(value: str, more: str) -> list[str]:
        return [value, more]

    async def lettered(a: str) -> str:
        return a

    bad: list[Any] = [
        lambda: server.resource("nocolon")(none),
        lambda: server.resource("a://{id}")(none),
        lambda: server.resource("a://b")(one),
        lambda: server.tool("a", requires={"telepathy"})(none),
        lambda: server.tool("b", public=True, scopes={"x"})(none),
        lambda: server.tool("c", input_schema={"type": "array"})(one),
        lambda: server.tool("d", input_schema={"type": "object"})(none),
        lambda: server.tool("e", input_schema={"type": "object", "properties": {"a": {"$ref": "https://x.example/s"}}})(
            one
        ),
        lambda: server.completion("p", "a")(odd),
        lambda: server.prompt("p", scopes="text")(none),
    ]
    for register in bad:
        with pytest.raises((ValueError, TypeError)):
            register()
    server.prompt("p")(lettered)
    server.completion("p", "a")(_complete)
    with pytest.raises(ValueError, match="already"):
        server.completion("p", "a")(_complete)
    assert isinstance(server.completions["p", "a"], Completer)
    server.tool("f", requires="roots")(none)
    assert server.tools["f"].requires == {"roots"}


async def _complete(value: str) -> list[str]:
    return [value]


def test_a_message_without_a_path_is_left_alone() -> None:
    assert readable("Expected `int`") == "Expected `int`"


def test_a_call_without_a_session_can_do_nothing() -> None:
    call = Call(
        request=Request(1, "ping", Raw(b"{}")),
        peek=RoutingFields(),
        revision="2025-11-25",
        principal=None,
        request_id="r",
    )
    assert call.capabilities() == {}
    assert call.owner == ""
    bare = Call(
        request=Request(1, "ping", Raw(b"{}")),
        peek=RoutingFields(),
        revision="2026-07-28",
        principal=None,
        request_id="r",
    )
    assert bare.capabilities() == {}
    assert bare.peek.meta.client_capabilities is UNSET


@pytest.mark.requirement("18.2", "18.4")
def test_a_form_of_the_authors_own_schema_is_flat_and_held_to() -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer"}, "c": {"oneOf": [{"const": "a", "title": "A"}]}}}
    question = elicitation("?", form)
    assert question.read(Raw(b'{"action":"accept","content":{"n":1,"c":"a"}}')).content == {"n": 1, "c": "a"}
    for wrong in (b'{"n":"text"}', b'{"c":"b"}', b'{"n":{"deep":1}}'):
        with pytest.raises(InvalidClientAnswer):
            question.read(Raw(b'{"action":"accept","content":' + wrong + b"}"))
    for shown in (
        {"type": "string"},
        {"type": "object"},
        {"type": "object", "properties": {"o": {"type": "object", "properties": {}}}},
    ):
        with pytest.raises(UnsupportedType):
            elicitation("?", shown)


@pytest.mark.requirement("19.2")
def test_the_clients_own_context_is_asked_for_only_where_it_is_declared() -> None:
    assert sampling("?", max_tokens=1, includeContext="none").needs == {"sampling": {}}
    question = sampling("?", max_tokens=1, includeContext="allServers")
    with pytest.raises(MissingCapability):
        questions.check({"q": question}, {"sampling": {}})
    questions.check({"q": question}, {"sampling": {"context": {}}})


@pytest.mark.requirement("22.11")
async def test_a_task_is_kept_for_its_time_and_what_has_no_room_is_refused() -> None:
    now = [0.0]
    backend = InMemoryBackend(max_bytes=100, clock=lambda: now[0])
    await backend.set("task:a", b"x" * 60, 10)
    await backend.set("task:a", b"y" * 90, 10)
    with pytest.raises(StoreFull):
        await backend.set("task:b", b"x" * 60, 10)
    assert await backend.get("task:a") == b"y" * 90
    now[0] = 11
    await backend.set("task:b", b"x" * 60, 10)
    assert await backend.get("task:a") is None
    for number in range(5):
        await backend.set(f"event:{number}", b"x" * 60, 10)
    assert await backend.get("event:3") is None
