"""A handler that asks, run as a call: what its tasks ask, what a legacy client refuses, what stands in the params."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import Context, McpServer, elicitation, url_elicitation
from mcp_server.authoring import interaction
from mcp_server.authoring.interaction import RequestStateCodec
from mcp_server.authoring.sink import NullSink, Sink
from mcp_server.engine.call import Admitted, Call
from mcp_server.engine.invoke import Invoker
from mcp_server.engine.methods.task_jobs import PURPOSE, Codecs, TaskJobs
from mcp_server.engine.needs import Needs, ScopeConfig
from mcp_server.limits.threads import Threads
from mcp_server.protocol import meta
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.sealed import SealingKeys
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.session import Session
from mcp_server.store.events import EventBus, QuestionAnswered
from mcp_server.store.memory import InMemoryBackend
from tests.kit.calls import Channel, answer
from tests.kit.principals import principal

server = McpServer("asking")
can: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}


class Sure(msgspec.Struct):
    sure: bool


@server.tool
async def both(ctx: Context) -> str:
    """Ask for two things at once."""
    answers = await ctx.ask(sure=elicitation("Sure?", Sure), page=url_elicitation("Go", "https://shop.example"))
    return f"{answers['sure'].action} {answers['page'].action}"


@server.tool
async def group(ctx: Context) -> str:
    """Ask from tasks of its own."""
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(ctx.elicit(f"{name}?", Sure)) for name in "ab"]
    return " ".join(job.result().action for job in jobs)


@server.tool
async def quits() -> str:
    """End itself."""
    raise asyncio.CancelledError


class Stream(NullSink):
    """Where a legacy client is asked."""

    def __init__(self) -> None:
        self.sent = asyncio.Queue[bytes]()

    async def send(self, message: bytes) -> None:
        self.sent.put_nowait(message)


class Speaking(Channel):
    """A channel whose stream is given."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def open_sink(self) -> Sink:
        return self._stream


class Engine:
    """An invoker, and the calls of one client."""

    def __init__(self) -> None:
        self.bus = EventBus(InMemoryBackend())
        codec = RequestStateCodec(SealingKeys([b"k" * 32], interaction.PURPOSE), self.bus.backend, 60)
        self.requests = ClientRequests(self.bus, 300)
        self.sink = Stream()
        self._invoker = Invoker(
            server,
            Codecs(codec, TaskJobs(SealingKeys([b"k" * 32], PURPOSE), 60)),
            self.requests,
            None,
            Threads(1),
            Raw(b"{}"),
            Needs(server, ScopeConfig(default=frozenset())),
        )

    async def modern(self, tool: str, beside: bytes = b"") -> Any:
        """A call; `beside` stands among its params."""
        declared = json.dumps({meta.CLIENT_CAPABILITIES: can}).encode()
        params = Raw(b'{%s"name":"%s","_meta":%s}' % (beside, tool.encode(), declared))
        return await self._run(tool, params, "2026-07-28", None)

    async def legacy(self, tool: str) -> Any:
        """A call in a session."""
        params = Raw(json.dumps({"name": tool}).encode())
        return await self._run(tool, params, "2025-11-25", Session("s", "alice", "2025-11-25", can))

    async def _run(self, tool: str, params: Raw, revision: str, session: Session | None) -> Any:
        call = Call(
            request=Request(1, "tools/call", params),
            peek=meta.peek(params),
            revision=revision,
            principal=principal(),
            request_id="r",
            session=session,
            channel=Speaking(self.sink),
        )
        outcome = await self._invoker.run(Admitted(call, server.tools[tool]))
        return answer(outcome).get("result", answer(outcome))

    async def asked(self, count: int) -> list[dict[str, Any]]:
        """The questions that a legacy client was sent."""
        async with asyncio.timeout(60):
            return [json.loads(await self.sink.sent.get()) for _ in range(count)]

    def refuse(self, question: dict[str, Any]) -> None:
        """Answer with an error."""
        self.bus.deliver(QuestionAnswered("s", question["id"], UNSET, Raw(b'{"code":-1,"message":"rejected"}')))

    def accept(self, question: dict[str, Any], content: dict[str, Any]) -> None:
        """Answer with a yes."""
        said = msgspec.json.encode({"action": "accept", "content": content})
        self.bus.deliver(QuestionAnswered("s", question["id"], Raw(said), UNSET))


@pytest.mark.requirement("17.1", "17.3")
async def test_what_the_tasks_of_a_handler_ask_is_one_round() -> None:
    asked = await Engine().modern("group")
    assert asked["resultType"] == "input_required"
    assert [one["params"]["message"] for one in asked["inputRequests"].values()] == ["a?", "b?"]


@pytest.mark.parametrize("refused", [0, 1])
async def test_a_question_that_is_refused_ends_the_others_at_once(refused: int) -> None:
    engine, tasks = Engine(), asyncio.all_tasks()
    call = asyncio.create_task(engine.legacy("both"))
    questions = await engine.asked(2)
    engine.refuse(questions[refused])
    result = await call
    assert result["isError"] is True
    assert "rejected" in result["content"][0]["text"]
    assert asyncio.all_tasks() == tasks  # nobody waits for the other any more
    engine.accept(questions[1 - refused], {"sure": True})  # and an answer to it is no harm


@pytest.mark.parametrize("tool", ["both", "group"])
async def test_a_legacy_client_answers_each_of_several_questions(tool: str) -> None:
    engine = Engine()
    call = asyncio.create_task(engine.legacy(tool))
    for question in reversed(await engine.asked(2)):
        engine.accept(question, {"sure": True})
    assert (await call)["content"][0]["text"] == "accept accept"


async def test_a_legacy_call_that_is_cancelled_asks_no_more() -> None:
    engine, tasks = Engine(), asyncio.all_tasks()
    call = asyncio.create_task(engine.legacy("both"))
    await engine.asked(2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("beside", [b'"x":"\xff",', b'"_x":"\xed\xa0\x80",', b'"inputResponses":{"a":"\xff"},'])
async def test_bytes_beside_the_arguments_that_are_no_text_do_not_fail_a_tool_that_asks(beside: bytes) -> None:
    assert (await Engine().modern("both", beside))["resultType"] == "input_required"


@pytest.mark.parametrize("call", [Engine.modern, Engine.legacy])
async def test_a_handler_that_cancels_itself_has_failed(call: Callable[[Engine, str], Any]) -> None:
    result = await call(Engine(), "quits")
    assert result["isError"] is True
    assert "quits failed" in result["content"][0]["text"]
