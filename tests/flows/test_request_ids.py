"""A request's name where spans are exported: that of the trace which begins with it, and nobody chooses it."""

import random
from collections.abc import AsyncIterator

import pytest

from mcp_server import Context, McpServer
from tests.kit import wire
from tests.kit.collector import collecting
from tests.kit.stack import Stack, running_stack

THEIRS = f"00-{'ab' * 16}-{'cd' * 8}-01"
BLANK = f"00-{'0' * 32}-{'cd' * 8}-01"

server = McpServer("named", version="1.0.0")


@server.tool(scopes={"mcp:read"})
async def draw(seed: int, ctx: Context) -> str:
    """Draw as its caller says."""
    random.seed(seed)
    return ctx.trace_id


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with running_stack(tmp_path_factory.mktemp("named"), server) as running:
            yield running


async def drawn(stack: Stack, user: str, stated: str | None = None, **headers: str) -> tuple[str, str, str]:
    """The trace that the handler saw, and the names in the audit of the request and of its trace."""
    body = wire.modern("tools/call", {"name": "draw", "arguments": {"seed": 42}})
    body["params"]["_meta"] |= {} if stated is None else {"traceparent": stated}
    answer = await stack.post(body, await stack.token(user), **headers, **wire.headers("tools/call", "draw"))
    line = stack.audited()[-1]
    return answer.json()["result"]["content"][0]["text"], line["request_id"], line["trace_id"]


@pytest.mark.parametrize(
    ("mode", "around", "stated"),
    [
        (None, None, None),
        (None, None, "no trace"),
        (None, "no trace", None),
        (None, BLANK, ""),
        ("ignore", THEIRS, None),
        ("ignore", None, THEIRS),
        ("ignore", THEIRS, THEIRS),
    ],
)
async def test_a_request_that_begins_its_trace_has_its_id(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, mode: str | None, around: str | None, stated: str | None
) -> None:
    """Also where something was named that is no trace, or none is listened to."""
    monkeypatch.setattr(stack.plugin._services.pipeline.traces, "mode", mode)
    named = {} if around is None else {"traceparent": around}
    seen, request_id, trace_id = await drawn(stack, "alice", stated, **named)
    assert seen == request_id == trace_id
    assert trace_id not in THEIRS


@pytest.mark.parametrize(("around", "stated"), [(THEIRS, None), (None, THEIRS), (THEIRS, THEIRS)])
async def test_a_trace_that_a_caller_names_is_no_name_of_a_request(
    stack: Stack, around: str | None, stated: str | None
) -> None:
    named = {} if around is None else {"traceparent": around}
    seen, request_id, trace_id = await drawn(stack, "alice", stated, **named)
    assert seen == trace_id == THEIRS[3:35]
    assert request_id not in THEIRS


async def test_so_has_one_of_a_guarded_route(stack: Stack) -> None:
    await stack.http.get(f"{stack.resource.removesuffix('/mcp')}/metrics")
    line = stack.audited()[-1]
    assert (line["route"], line["request_id"]) == ("/metrics", line["trace_id"])


async def test_a_seed_that_one_caller_chooses_names_no_request_of_anothers(stack: Stack) -> None:
    found = [await drawn(stack, user) for user in ("alice", "bob", "alice", "bob")]
    assert len({request_id for _, request_id, _ in found}) == 4
