"""Traces and metrics as a collector gets them: names, parents, links, refusals, and nothing that a caller said."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TextIO

import pytest
from opentelemetry import trace

from devstack.demo.api import app as shop
from devstack.demo.api.callers import Trust
from mcp_server import Context, McpServer, NeedsScopes, ToolError
from mcp_server.observe.telemetry import names
from mcp_server.protocol.types.tasks import EXTENSION
from tests.kit import shops, wire
from tests.kit.collector import Collector, attributes, collecting, ids, linked, resource
from tests.kit.logs import written_since
from tests.kit.servers.streams import session
from tests.kit.stack import Stack, free_port, running_stack, serving, until

CALLERS = ("ab" * 16, "cd" * 8)
AROUND = ("12" * 16, "34" * 8)
SECRET = "s3cret-words"
SCOPES = "mcp:read orders:read"

server = McpServer("traced", version="1.0.0")


@server.tool(scopes={"mcp:read"})
async def say(text: str, ctx: Context) -> str:
    """Say."""
    return ctx.trace_id


@server.tool(scopes={"mcp:read"})
async def fail(text: str) -> str:
    """Fail."""
    raise ToolError(text)


@server.tool(scopes={"mcp:admin"})
async def erase(text: str) -> str:
    """Erase."""
    return ""


@server.tool(scopes={"mcp:read"})
async def regret(text: str, ctx: Context) -> str:
    """Find out too late what it needs."""
    await ctx.progress(1)
    raise NeedsScopes({"mcp:admin"})


@server.tool(public=True)
async def hello(text: str, ctx: Context) -> str:
    """Greet."""
    return ctx.trace_id


@server.tool(scopes={"mcp:read"})
async def nested(text: str) -> str:
    """Have a span of one's own, and a line in it."""
    with trace.get_tracer("author").start_as_current_span("theirs"):
        logging.getLogger("author").warning("a line of theirs")
    return ""


@server.tool(scopes={"mcp:read"}, task="allowed")
async def work(text: str, ctx: Context) -> str:
    """Work."""
    return ctx.trace_id


@server.resource("notes://{name}", scopes={"mcp:read"})
async def note(name: str) -> str:
    """Be a note."""
    return name


@server.prompt(scopes={"mcp:read"})
async def ask(about: str) -> str:
    """Ask."""
    return about


class Watched:
    """The stack, its collector, what the API behind it saw, the caller's token, and the last request's number."""

    def __init__(self, stack: Stack, collector: Collector, seen: list[dict[bytes, bytes]], token: str) -> None:
        self.stack, self.collector, self.seen, self.token, self.number = stack, collector, seen, token, 0

    async def send(self, method: str, name: str = "", token: str | None = "", **params: Any) -> Any:
        """A modern request whose message is of the caller's trace, in an HTTP request of another."""
        key = "uri" if method == "resources/read" else "name"
        self.number += 1
        body = wire.modern(method, {key: name, **params} if name else params, self.number)
        body["params"]["_meta"]["progressToken"] = 1
        body["params"]["_meta"] |= {"traceparent": told(CALLERS), "tracestate": "vendor=1", "baggage": f"k={SECRET}"}
        capable: dict[str, Any] = {"extensions": {EXTENSION: {}}} if name == "work" else {}
        body["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = capable
        headers = wire.headers(method, name or None)
        given = self.token if token == "" else token
        return await self.stack.post(body, given, traceparent=told(AROUND), **headers)

    async def call(self, name: str, token: str | None = "", **arguments: str) -> Any:
        """Call a tool."""
        return await self.send("tools/call", name, token, arguments=arguments or {"text": SECRET})

    async def span(self, name: str, such: Callable[[Any], bool] = lambda _: True) -> Any:
        """The last span of a name, as soon as it is there."""

        async def there() -> bool:
            return any(map(such, self.collector.named(name)))

        await until(there)
        return [one for one in self.collector.named(name) if such(one)][-1]


def told(span: tuple[str, str]) -> str:
    return f"00-{span[0]}-{span[1]}-01"


@pytest.fixture(scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    port, seen = free_port(), list[dict[bytes, bytes]]()
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET}%2Dkey",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=a",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }.items():
            patch.setenv(name, value)
        async with AsyncExitStack() as opened:
            folder = tmp_path_factory.mktemp("telemetry")
            stack = await opened.enter_async_context(running_stack(folder, server, **shops.settings(port)))
            api = shop.create(Trust(stack.url, shop.AUDIENCE, stack.url))

            async def watching(scope: Any, receive: Any, send: Any) -> None:
                seen.append(dict(scope.get("headers", ())))
                await api(scope, receive, send)

            await opened.enter_async_context(serving(watching, port))
            yield Watched(stack, collector, seen, await stack.token("alice", SCOPES))


async def test_a_call_is_followed_from_the_caller_through_this_server_to_the_api(watched: Watched) -> None:
    answer = await watched.call("list_products", limit=2)  # type: ignore[arg-type]  # a number
    assert answer.status_code == 200
    call = await watched.span("tools/call list_products")
    assert (call.trace_id.hex(), call.parent_span_id.hex(), call.trace_state) == (*CALLERS, "vendor=1")
    assert linked(call) == [AROUND]
    assert call.kind == call.SPAN_KIND_SERVER
    about = attributes(call.attributes)
    assert len(about.pop(names.CALL_ID)) > 10
    assert about == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "list_products",
        "gen_ai.operation.name": "execute_tool",
        "mcp.protocol.version": "2026-07-28",
        "jsonrpc.request.id": str(watched.number),
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "client.address": "127.0.0.1",
    }
    inside = {one.name: one for one in watched.collector.spans if one.parent_span_id == call.span_id}
    assert inside.keys() == {"auth.verify", "auth.exchange", "GET"}  # its token was not known yet
    assert all(
        call.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano for one in inside.values()
    )
    upstream = attributes(inside["GET"].attributes)
    assert upstream.pop("server.port") > 0
    assert upstream == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "mcp_server.api.name": "orders",
    }
    assert watched.seen[-1][b"traceparent"].decode() == told(ids(inside["GET"]))
    assert watched.seen[-1][b"tracestate"] == b"vendor=1"
    assert b"baggage" not in watched.seen[-1]
    (scope,) = watched.collector.traces[-1].resource_spans[0].scope_spans
    assert (scope.scope.name, scope.schema_url) == ("mcp_server", names.SCHEMA_URL)


@pytest.mark.parametrize(
    ("method", "name", "params", "span", "attribute"),
    [
        ("tools/list", "", {}, "tools/list", None),
        ("prompts/get", "ask", {"arguments": {"about": SECRET}}, "prompts/get ask", ("gen_ai.prompt.name", "ask")),
        ("resources/read", f"notes://{SECRET}", {}, "resources/read", ("mcp.resource.uri", "notes://{name}")),
    ],
)
async def test_other_methods_are_named_by_what_is_registered(
    watched: Watched, method: str, name: str, params: Any, span: str, attribute: Any
) -> None:
    assert (await watched.send(method, name, **params)).status_code == 200
    about = attributes((await watched.span(span)).attributes)
    assert attribute is None or attribute in about.items()
    assert "gen_ai.operation.name" not in about


@pytest.mark.parametrize(
    ("name", "arguments", "found", "failed"),
    [
        ("fail", {"text": SECRET}, {"error.type": "tool_error"}, True),
        ("fail", {"other": SECRET}, {"error.type": "tool_error"}, True),
        ("erase", {"text": SECRET}, {"error.type": "insufficient_scope", "http.response.status_code": 403}, False),
        ("regret", {"text": SECRET}, {"error.type": "insufficient_scope", "http.response.status_code": 200}, False),
    ],
)
async def test_what_fails_is_told_apart_from_what_is_refused(
    watched: Watched, name: str, arguments: Any, found: dict[str, Any], failed: bool
) -> None:
    answer = await watched.call(name, **arguments)
    assert answer.status_code == found.get("http.response.status_code", 200)
    own = ("jsonrpc.request.id", str(watched.number))  # there was another call of the tool before
    span = await watched.span(f"tools/call {name}", lambda one: own in attributes(one.attributes).items())
    assert found.items() <= attributes(span.attributes).items()
    assert (span.status.code == span.status.STATUS_CODE_ERROR, span.status.message) == (failed, "")


async def test_a_callers_mistake_is_no_error_of_the_servers(watched: Watched) -> None:
    answer = await watched.call("nowhere")
    assert "-32602" in answer.text, (answer.status_code, answer.text)
    span = await watched.span("tools/call")
    about = attributes(span.attributes)
    assert (about["rpc.response.status_code"], "error.type" in about) == ("-32602", False)
    assert span.status.code == span.status.STATUS_CODE_UNSET


@pytest.mark.parametrize(("token", "reason"), [(None, "no_credentials"), ("spoiled", "inactive")])
async def test_a_stranger_is_refused_in_a_trace_of_ours_that_is_linked_to_theirs(
    watched: Watched, token: str | None, reason: str
) -> None:
    answer = await watched.call("say", token)
    assert answer.status_code == 401
    span = await watched.span("POST /mcp" if token else "tools/call say", lambda one: _why(one) == reason)
    assert span.trace_id.hex() not in (CALLERS[0], AROUND[0])
    assert AROUND in linked(span)
    about = attributes(span.attributes)
    assert (about["http.response.status_code"], about["mcp.method.name"]) == (401, "tools/call")
    assert span.status.code == span.status.STATUS_CODE_UNSET
    line = [one for one in watched.stack.audited() if one.get("reason") == reason][-1]
    assert (line["trace_id"], line["span_id"], line["trace_flags"]) == (*ids(span), "01")


def _why(span: Any) -> Any:
    return attributes(span.attributes).get("error.type")


async def test_a_guarded_route_that_refuses_is_a_span(watched: Watched) -> None:
    origin = watched.stack.resource.removesuffix("/mcp")
    answer = await watched.stack.http.get(f"{origin}/metrics", headers={"traceparent": told(AROUND)})
    assert answer.status_code == 401
    span = await watched.span("GET /metrics")
    assert (_why(span), linked(span)) == ("no_credentials", [AROUND])
    line = [one for one in watched.stack.audited() if one.get("route") == "/metrics"][-1]
    assert line["trace_id"] == span.trace_id.hex()


async def test_a_method_of_http_that_a_stranger_made_up_is_not_told(watched: Watched) -> None:
    """It may be as long as a head: a queue of such spans would be the server's memory."""
    made_up = "S3CRET" * 500
    assert (await watched.stack.http.request(made_up, watched.stack.resource)).status_code == 405
    span = await watched.span("HTTP /mcp")
    about = attributes(span.attributes)
    assert about["http.request.method"] == names.OTHER
    assert about[names.CALL_ID] == span.trace_id.hex()  # one id for both, where a request begins its trace
    assert not any(made_up[:12].encode() in body for body in watched.collector.bodies)


async def test_who_needs_no_token_gets_a_trace_of_ours(watched: Watched) -> None:
    answer = (await watched.call("hello", None)).json()["result"]["content"][0]["text"]
    span = await watched.span("tools/call hello")
    assert answer == span.trace_id.hex() != CALLERS[0]
    assert attributes(span.attributes)[names.CALL_ID] not in (answer, CALLERS[0], AROUND[0])  # nor is that theirs
    assert linked(span) == [CALLERS, AROUND]


async def test_an_authors_span_and_lines_are_within_the_call(watched: Watched, log_file: TextIO) -> None:
    before = log_file.tell()
    await watched.call("nested")
    call = await watched.span("tools/call nested")
    theirs = await watched.span("theirs")
    assert (theirs.trace_id, theirs.parent_span_id) == (call.trace_id, call.span_id)
    (line,) = [one for one in written_since(log_file, before).splitlines() if "a line of theirs" in one]
    assert f'"trace_id":"{CALLERS[0]}","span_id":"{theirs.span_id.hex()}","trace_flags":"01"' in line


async def test_a_task_outlives_its_call_and_is_linked_to_it(watched: Watched) -> None:
    created = (await watched.call("work")).json()["result"]
    assert created["resultType"] == "task", created
    run = await watched.span("task.run work")
    call = await watched.span("tools/call work")
    assert run.trace_id != call.trace_id
    assert linked(run) == [ids(call)]


async def test_a_session_is_told_by_a_digest_of_its_id(watched: Watched) -> None:
    opened = await watched.stack.post(wire.legacy("initialize", wire.INITIALIZE), watched.token)
    session = opened.headers["mcp-session-id"]
    told_ = wire.legacy("notifications/initialized")
    told_.pop("id")
    headers = {"mcp_session_id": session, "mcp_protocol_version": "2025-11-25"}
    assert (await watched.stack.post(told_, watched.token, **headers)).status_code == 202
    assert (await watched.stack.post(wire.legacy("ping"), watched.token, **headers)).status_code == 200
    about = attributes((await watched.span("ping")).attributes)
    assert (len(about["mcp.session.id"]), about["mcp.protocol.version"]) == (16, "2025-11-25")
    assert about["mcp.session.id"] not in session
    accepted = await watched.span("POST /mcp", lambda one: attributes(one.attributes).get(names.HTTP_STATUS) == 202)
    assert _why(accepted) is None
    watched.collector.bodies.append(b"")
    assert not any(session.encode() in body for body in watched.collector.bodies)
    sent = {"authorization": f"Bearer {watched.token}", "mcp-session-id": session}
    assert (await watched.stack.http.delete(watched.stack.resource, headers=sent)).status_code == 204

    async def there() -> bool:
        return bool(watched.collector.metrics) and "mcp.server.session.duration" in watched.collector.latest()

    await until(there)
    (point,) = watched.collector.latest()["mcp.server.session.duration"].histogram.data_points
    assert (point.count, tuple(point.explicit_bounds)) == (1, names.DURATION_BOUNDS)
    assert attributes(point.attributes) == {
        "mcp.protocol.version": wire.INITIALIZE["protocolVersion"],
        "network.transport": "tcp",
        "network.protocol.name": "http",
    }


async def test_each_call_of_a_batch_is_a_trace_and_so_is_the_request_where_an_item_is_no_call(watched: Watched) -> None:
    mine = await session(watched.stack, watched.token, "2025-03-26")
    batch = [wire.legacy("prompts/list", {}, 1), wire.legacy("resources/list", {}, 2), {"jsonrpc": "2.0", "id": 3}]
    assert (await watched.stack.post(batch, watched.token, **mine)).status_code == 200
    spans = [await watched.span(name) for name in ("prompts/list", "resources/list")]
    spans.append(await watched.span("POST /mcp", lambda one: attributes(one.attributes).get(names.HTTP_STATUS) == 200))
    assert len({ids(one) for one in spans}) == 3
    assert [bytes(one.parent_span_id) for one in spans] == [b"", b"", b""]
    lines = {one.get("method"): (one["trace_id"], one["span_id"]) for one in watched.stack.audited()[-3:]}
    assert [lines["prompts/list"], lines["resources/list"]] == [ids(one) for one in spans[:2]]


async def test_what_is_measured_is_pushed(watched: Watched) -> None:
    await watched.call("say")
    await watched.call("erase")
    await watched.call("say", "spoiled")
    found: dict[Any, Any] = {}

    async def there() -> bool:
        if not watched.collector.metrics:
            return False
        durations = watched.collector.latest()["mcp.server.operation.duration"].histogram
        found.clear()
        for point in durations.data_points:
            about = attributes(point.attributes)
            found[about.get("gen_ai.tool.name", about["mcp.method.name"]), about.get("error.type")] = point
        wanted = {("say", None), ("erase", "insufficient_scope"), ("tools/call", "inactive")}
        return found.keys() >= wanted

    await until(there)
    point = found["say", None]
    assert tuple(point.explicit_bounds) == names.DURATION_BOUNDS
    assert point.count == sum(point.bucket_counts) >= 1
    assert attributes(point.attributes).keys() == {
        *("mcp.method.name", "gen_ai.tool.name", "gen_ai.operation.name", "mcp.protocol.version"),
        *("network.transport", "network.protocol.name"),
    }
    latest = watched.collector.latest()
    assert {"mcp_calls", "mcp_call_seconds", "mcp_refusals", "mcp_token_cache"} <= latest.keys()
    assert latest["mcp_calls"].sum.is_monotonic
    (hits,) = [
        one for one in latest["mcp_token_cache"].sum.data_points if attributes(one.attributes) == {"outcome": "hit"}
    ]
    assert hits.as_double >= 1
    seconds = latest["mcp_call_seconds"].histogram.data_points[0]
    assert len(seconds.bucket_counts) == len(seconds.explicit_bounds) + 1
    sender = resource(watched.collector.metrics[-1])
    assert sender["service.name"] == "traced"
    assert sender["deployment.environment.name"] == "test"
    assert sender["service.instance.id"].startswith("a-")  # of this worker alone


async def test_nothing_that_a_caller_said_has_left(watched: Watched) -> None:
    """The last of this module: all that came is looked at."""
    sent = b"".join(watched.collector.bodies)
    assert SECRET.encode() not in sent
    assert watched.token.encode() not in sent
    assert watched.token.rpartition(".")[2].encode() not in sent
    subject = next(line["subject"] for line in watched.stack.audited() if line.get("subject"))
    assert subject.encode() not in sent
    assert watched.collector.headers[0]["api-key"] == f"{SECRET}-key"
    assert watched.collector.headers[0]["content-encoding"] == "gzip"
