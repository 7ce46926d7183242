"""What an API hears of a call that runs as a task, and may be run again."""

from pathlib import Path

from mcp_server import McpServer
from mcp_server.authoring.context import TaskRequest
from mcp_server.rest.model import WireRequest
from mcp_server.rest.wire.transport import retries
from tests.kit.contexts import context
from tests.kit.handling import OK, ORDER, WHO, incoming, sent
from tests.kit.imports import document, imported
from tests.kit.upstreams import api


async def test_in_a_task_what_is_not_idempotent_has_a_key_that_is_the_same_in_each_run(tmp_path: Path) -> None:
    file, server = tmp_path / "doc.json", McpServer("s")
    file.write_bytes(document(ORDER))
    async with api(OK) as upstream, imported(server, file, f"http://127.0.0.1:{upstream.port}/v1"):
        for attempt in (1, 2):
            ctx = context(incoming=TaskRequest(incoming(), "task-id", attempt), who=WHO, upstreams=server.upstreams)
            for method in ("GET", "POST", "PUT", "PATCH"):
                await ctx.upstream("shop").request(method, "/orders/7", scopes=set())
            assert ctx.task_attempt == attempt
        keys = [sent(upstream, place).get("idempotency-key") for place in range(8)]
        assert keys == [None, "task-id", None, "task-id-2"] * 2
        ctx = context(incoming=incoming(), who=WHO, upstreams=server.upstreams)
        await ctx.upstream("shop").post("/orders/7")
        assert ("idempotency-key" in sent(upstream), ctx.task_attempt) == (False, 0)


def test_a_key_that_the_caller_gave_stands() -> None:
    given = WireRequest(method="POST", url="http://a", headers=(("Idempotency-Key", "theirs"),))
    assert retries.keyed(given, lambda: "ours") is given
