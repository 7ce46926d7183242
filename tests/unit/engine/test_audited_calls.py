"""What is written down of a call, however it ends: one line of its end, and at most one of its beginning."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, NeedsScopes, ToolError
from mcp_server.authoring.errors import ProtocolError
from mcp_server.engine import pipeline as pipeline_module
from mcp_server.engine.call import Call
from mcp_server.engine.outcome import Outcome, Subscribed, Unavailable
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.limits.rate import RateLimiter
from mcp_server.protocol.jsonrpc import Notification
from mcp_server.protocol.types.tools import ToolAnnotations
from mcp_server.store.backend import StoreUnavailable
from tests.kit.calls import Channel, RememberingRecorder, call, limits, serving
from tests.kit.principals import principal


class Yes(msgspec.Struct):
    yes: bool


RAISED: dict[str, Exception] = {
    "tool_error": ToolError("no"),
    "rpc_error": ProtocolError(-32602, "no"),
    "crash": LookupError(),
    "store": StoreUnavailable("away"),
    "scopes": NeedsScopes({"mcp:admin"}),
}


def made() -> tuple[McpServer, asyncio.Event, asyncio.Event]:
    """A server whose tool ends as it is asked to; an event of its beginning, and what it waits for."""
    server, begun, gate = McpServer("s"), asyncio.Event(), asyncio.Event()

    @server.tool(audit_arguments=("how",))
    async def end(how: str, ctx: Context) -> str:
        begun.set()
        if how in RAISED:
            raise RAISED[how]
        if how == "asks":
            await ctx.elicit("Sure?", Yes)
        if how == "waits":
            await gate.wait()
        return how

    @server.tool(annotations=ToolAnnotations(read_only_hint=True), scopes={"mcp:read"})
    async def look() -> str:
        begun.set()
        await gate.wait()
        return "seen"

    @server.tool(scopes={"mcp:admin"})
    async def never() -> str:
        return ""

    return server, begun, gate


def ends(how: str = "ok", channel: Channel | None = None, **options: Any) -> Call:
    return call("tools/call", {"name": "end", "arguments": {"how": how}}, channel=channel, **options)


@asynccontextmanager
async def run(
    **bounds: Any,
) -> AsyncIterator[tuple[Pipeline, RememberingRecorder, asyncio.Event, asyncio.Event, CallSupervisors]]:
    server, begun, gate = made()
    supervisors = CallSupervisors()
    async with serving(server, limits(**bounds), supervisors=supervisors) as (pipeline, told):
        yield pipeline, told, begun, gate, supervisors


async def until(there: Callable[[], bool]) -> None:
    """Turn the loop until it is so."""
    while not there():
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])


ASKS: dict[str, Any] = {"elicitation": {}}
SAID: list[tuple[str, Callable[[], Call], tuple[str, str, bool]]] = [
    ("ok", ends, ("allow", "", True)),
    ("tool_error", lambda: ends("tool_error"), ("allow", "tool_error", True)),
    ("asks", lambda: ends("asks", capabilities=ASKS), ("allow", "", True)),
    ("rpc_error", lambda: ends("rpc_error"), ("deny", "-32602", True)),
    ("crash", lambda: ends("crash"), ("allow", "tool_error", True)),
    ("store", lambda: ends("store"), ("allow", "store_away", True)),
    ("scopes", lambda: ends("scopes"), ("deny", "insufficient_scope", True)),
    ("denied", lambda: call("tools/call", {"name": "never"}), ("deny", "insufficient_scope", False)),
    ("stranger", lambda: call("tools/call", {"name": "never"}, who=None), ("deny", "no_credentials", False)),
    ("no tool", lambda: call("tools/call", {"name": "nothing"}), ("deny", "-32602", False)),
    ("no method", lambda: call("nothing"), ("deny", "-32601", False)),
    ("list", lambda: call("tools/list"), ("allow", "", True)),
    (
        "listens",
        lambda: call("subscriptions/listen", {"notifications": {"toolsListChanged": True}}),
        ("allow", "", True),
    ),
]


@pytest.mark.parametrize(("asked", "line"), [one[1:] for one in SAID], ids=[one[0] for one in SAID])
async def test_whatever_becomes_of_a_call_it_leaves_one_line(asked: Callable[[], Call], line: Any) -> None:
    async with run() as (pipeline, told, *_):
        outcome = await pipeline.serve(asked())
        ((decision, _, _),) = told.calls
        assert (decision.decision, decision.reason, decision.seconds is not None) == line
        assert (decision.size > 0) is hasattr(outcome, "message")
        assert not told.notes
        if isinstance(outcome, Subscribed):
            outcome.subscription.end()


async def _cancelled(pipeline: Pipeline, _: CallSupervisors, __: "asyncio.Task[Outcome]") -> None:
    params = msgspec.Raw(msgspec.json.encode({"requestId": 1}))
    await pipeline.runtime.notified(Notification("notifications/cancelled", params), "c")


async def _stopped(_: Pipeline, supervisors: CallSupervisors, __: "asyncio.Task[Outcome]") -> None:
    supervisors.end_all()


async def _killed(_: Pipeline, __: CallSupervisors, task: "asyncio.Task[Outcome]") -> None:
    task.cancel()


async def _nothing(*_: object) -> None:
    """Its own time is over."""


@pytest.mark.parametrize("begun_line", ["off", "late", "before"])
@pytest.mark.parametrize(
    ("ending", "bounds", "reason"),
    [
        (_cancelled, {}, "cancelled"),
        (_stopped, {}, "stopping"),
        (_killed, {}, "failed"),
        (_nothing, {"call_timeout_s": 0.01}, "timed_out"),
    ],
)
async def test_a_call_that_is_ended_from_outside_leaves_its_end_once_and_its_beginning_once(
    begun_line: Any, ending: Any, bounds: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.engine.supervisor.GRACE_S", 0.001)
    async with run(**bounds) as (pipeline, told, _, _, supervisors):
        told.begun = begun_line
        task = asyncio.create_task(pipeline.serve(ends("waits", Channel(conversation="c"))))
        async with asyncio.timeout(60):
            await until(lambda: bool(supervisors._watched) or task.done())  # whose time is over may be gone by now
            await ending(pipeline, supervisors, task)
            await asyncio.wait([task])
        ((decision, _, _),) = told.calls
        assert (decision.decision, decision.reason) == ("allow", reason)  # it was let in, and may have acted
        assert decision.seconds is not None
        assert decision.arguments == {"how": "waits"}
        said = {"off": [], "late": told.notes, "before": told.ahead}[begun_line]
        assert [*told.notes, *told.ahead] == said
        if begun_line == "off":
            assert decision.call == ""
        else:
            (beginning,) = said
            assert (beginning.decision, beginning.tool, beginning.arguments) == ("begun", "end", {"how": "waits"})
            assert decision.call == beginning.call != ""
            assert decision.request_id == beginning.request_id
            assert beginning.subject == decision.subject
        assert not pipeline._begun


async def test_a_call_that_only_reads_is_told_of_at_its_beginning_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp_server.engine.supervisor.GRACE_S", 0.001)
    monkeypatch.setattr(pipeline_module, "LONG_S", 0.001)
    async with run() as (pipeline, told, _, gate, _):
        told.begun = "before"
        task = asyncio.create_task(pipeline.serve(call("tools/call", {"name": "look"})))
        async with asyncio.timeout(60):
            await until(lambda: bool(told.notes))
        gate.set()
        await task
        assert [one.decision for one in told.notes] == ["begun"]
        assert told.calls[0][0].call == told.notes[0].call
        assert not told.ahead


async def test_a_short_call_leaves_no_beginning_unless_it_is_wanted_before() -> None:
    async with run() as (pipeline, told, *_):
        await pipeline.serve(ends())
        assert (told.notes, told.ahead) == ([], [])
        told.begun = "before"
        await pipeline.serve(ends())
        assert [one.call for one in told.ahead] == [told.calls[1][0].call]


async def test_nothing_runs_of_which_nothing_can_be_written_down() -> None:
    async with run() as (pipeline, told, begun, *_):
        told.refuses = True
        assert await pipeline.serve(ends()) == Unavailable("audit_failing")
        assert not isinstance(await pipeline.serve(call("tools/list")), Unavailable)

        class Failing(RememberingRecorder):
            async def written(self, decision: Any) -> bool:
                told.refuses = True  # it came to light in this moment
                return False

        told.refuses, told.begun = False, "before"
        told.written = Failing().written.__get__(told)  # type: ignore[method-assign]
        assert await pipeline.serve(ends()) == Unavailable("audit_failing")
        assert not begun.is_set()
        refused, listed = ("deny", "audit_failing", "failed"), ("allow", "", "ok")
        lines = [(one.decision, one.reason, label) for one, _, label in told.calls]
        assert lines == [refused, listed, refused]


async def test_limits_leave_lines_of_what_did_not_run() -> None:
    async with run(rate=RateLimiter(1, lambda: 0.0)) as (pipeline, told, *_):
        while not told.calls or told.calls[-1][0].reason != "too_fast":
            await pipeline.serve(ends())
        assert [one.seconds is None for one, _, _ in told.calls] == [False] * (len(told.calls) - 1) + [True]


async def test_the_line_says_for_whom_and_by_whom() -> None:
    acting = b'{"act":{"sub":"agent","act":{"client_id":"first"}}}'
    async with run() as (pipeline, told, *_):
        for who in (
            principal(),
            msgspec.structs.replace(principal(), kind="client"),
            msgspec.structs.replace(principal(), document=acting),
            msgspec.structs.replace(principal(), document=b'{"act":' * 9 + b"{}" + b"}" * 9),
        ):
            await pipeline.serve(ends(who=who))
        assert [(one.kind, tuple(one.act)) for one, _, _ in told.calls] == [
            ("", ()),
            ("client", ()),
            ("on_behalf", ("agent", "first")),
            ("on_behalf", ("unknown",) * 4),
        ]


@pytest.mark.parametrize("name", ["token", "nothing"])
def test_no_secret_and_nothing_unknown_is_declared_for_the_audit(name: str) -> None:
    server = McpServer("s")
    with pytest.raises(ValueError, match="audit_arguments"):

        @server.tool(audit_arguments=(name,))
        async def login(token: str) -> str:
            return token


async def test_declared_arguments_are_masked_and_bounded() -> None:
    server = McpServer("s")

    @server.tool(audit_arguments=("a", "b", "c", "d", "e"))
    async def take(a: Any = None, b: Any = None, c: Any = None, d: Any = None, e: Any = None, f: str = "") -> str:
        return f

    given = {"a": 7, "b": "Bearer abcdefgh12345", "c": "x" * 5000, "d": {"password": "hush", "n": 1}, "f": "not told"}
    async with serving(server) as (pipeline, told):
        await pipeline.serve(call("tools/call", {"name": "take", "arguments": given}))
        await pipeline.serve(call("tools/call", {"name": "take"}))
        await pipeline.serve(call("tools/call", {"name": "take", "arguments": [1]}))
    digest = hashlib.sha256(b"x" * 5000).hexdigest()[:32]
    assert [one.arguments for one, _, _ in told.calls] == [
        {
            "a": 7,
            "b": "Bearer [redacted]",
            "c": f"{'x' * 256}… [5000 bytes, sha256 {digest}]",
            "d": '{"password":[redacted],"n":1}',
        },
        None,
        None,
    ]


class Order(msgspec.Struct):
    amount: int
    user_password: str = ""


TEXT = "DE89370400440532013000, and more of it"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('{"amount": 5000}', {"amount": 5000}),
        (f'{{"amount": 5000.{"0" * 300}}}', {"amount": 5000}),
        (f'{{"amount": "{" " * 300}5000"}}', {"amount": 5000}),
        (f'{{"amount": {" " * 300}5000}}', {"amount": 5000}),
        ('{"amount": 1, "am\\u006funt": 2}', {"amount": 2}),
        ('{"to": "' + "".join(f"\\u{ord(one):04x}" for one in TEXT) + '"}', {"to": TEXT}),
        (f'{{"order": {{"amount": 7.{"0" * 300}, "user_pass\\u0077ord": "hush"}}}}', {"order": '{"amount":7,"user_password":[redacted]}'}),
        ('{"rest": {"a": [{"pass\\u0077ord": {"x": "hush"}}], "token\\"": "hush"}}', {"rest": '{"a":[{"password":[redacted]}],"token\\"":"[redacted]"}'}),
        ('{"rest": ["Bearer abcdefgh12345", "p\\u0061ssword=hush"]}', {"rest": '["Bearer [redacted]","password=[redacted]"]'}),
        ('{"rest": null}', {"rest": None}),
        # what no handler gets is shown as it was sent
        ('{"amount": "much"}', {"amount": "much"}),
        ('{"amount": [5000], "to": "x", "more": 1}', {"amount": "[5000]", "to": "x"}),
        ('{"amount": "\\ud800"}', None),
    ],
)  # fmt: skip
async def test_the_audit_has_the_value_that_the_handler_gets(given: str, shown: Any) -> None:
    """However it is written: a caller hid what an operator had declared by writing it long, or by a JSON escape."""
    server = McpServer("s")

    @server.tool(audit_arguments=("amount", "to", "order", "rest"))
    async def pay(amount: int = 0, to: str = "", order: Order | None = None, rest: Any = None) -> str:
        return ""

    async with serving(server) as (pipeline, told):
        made = call("tools/call", {"name": "pay"})
        peek = msgspec.structs.replace(made.peek, arguments=msgspec.Raw(given.encode()))
        await pipeline.serve(msgspec.structs.replace(made, peek=peek))
    assert [one.arguments for one, _, _ in told.calls] == [shown]


@pytest.mark.parametrize(
    ("given", "begins", "whole"),
    [
        (int("9" * 400), "0x", hex(int("9" * 400))),
        (" " * 300 + "mallory", "mallory…", " " * 300 + "mallory"),
        ("a" + " " * 70_000 + "b", "a…", "a" + " " * 70_000 + "b"),
        ("password=hush " + "x" * 2000, "password=[redacted] xxx", "password=hush " + "x" * 2000),
        ("é" * 257, "é" * 256 + "…", "é" * 257),
        ([{"pwd": "hush"}, *range(2000)], '[{"pwd":[redacted]},0,1,2', None),
        ({"k" * 2000: "hush", "b": 1}, '{"kkk', None),
        ({f"n{n}": {"m": "v" * 9} for n in range(5000)}, '{"n0":{"m":"vvvvvvvvv"},"n1"', None),
    ],
)
async def test_of_a_long_value_the_audit_has_the_beginning_and_a_digest(given: Any, begins: str, whole: Any) -> None:
    server = McpServer("s")

    @server.tool(audit_arguments=("rest",))
    async def take(rest: Any) -> str:
        return ""

    async with serving(server) as (pipeline, told):
        await pipeline.serve(call("tools/call", {"name": "take", "arguments": {"rest": given}}))
    data = msgspec.json.encode(given) if whole is None else whole.encode()
    shown = (told.calls[0][0].arguments or {})["rest"]
    assert shown.startswith(begins)
    assert shown.endswith(f"… [{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:32]}]")
    assert len(shown) < 350
    assert "hush" not in shown
