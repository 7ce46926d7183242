"""A task that another worker runs: as its caller, with the token and headers of its call, and no longer than that."""

import asyncio
import json
import threading
import time
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, ToolAnnotations
from mcp_server.authoring.context import facts_of
from mcp_server.engine.call import HeaderFields
from mcp_server.engine.methods.task_jobs import EXPIRED, PURPOSE, UNREADABLE, TaskJobs
from mcp_server.engine.pipeline import Pipeline
from mcp_server.identity import Credential, Principal
from mcp_server.observe.log import logger
from mcp_server.observe.tracing import restored
from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys
from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.registry.tool import Tool
from mcp_server.sessions.tasks.registry import LOST, REVOKED
from mcp_server.stdio.transport import desktop_user
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.backends import Linked, Workers, settle
from tests.kit.calls import Channel, RememberingRecorder, answer, call, serving
from tests.kit.principals import principal

TASKS: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
HEADERS = {b"x-tenant": b"acme", b"authorization": b"Bearer s3cret-token", b"cookie": b"s3cret-cookie", b"twice": b"1"}
NOW = time.time()
LIFE_S = 7200
"""Of a token: longer than all tests take, for `NOW` is when they were collected."""


def who(**more: Any) -> Principal:
    return msgspec.structs.replace(principal(), **{"expires_at": NOW + LIFE_S, "document": b'{"sub":"user"}', **more})


def asked(caller: Principal | None = None, tool: str = "work", **arguments: Any) -> Any:
    caller, channel = caller or who(), Channel()
    channel.credential, channel.headers = Credential(b"s3cret-token", caller), {"x-tenant": "acme"}
    made = call("tools/call", {"name": tool, "arguments": arguments}, capabilities=TASKS, who=caller, channel=channel)
    return msgspec.structs.replace(
        made, headers=HeaderFields(HEADERS, frozenset({b"twice"})), trace=restored(f"00-{'f' * 32}-{'e' * 16}-01")
    )


def jobs(secret: bytes = b"k" * 32) -> TaskJobs:
    return TaskJobs(SealingKeys([secret], PURPOSE), 600)


def test_a_call_comes_back_as_it_was_and_shows_nobody_what_is_secret() -> None:
    made = asked(a=1)
    job = jobs().stored(made, "inner", "t")
    for secret in (b"s3cret", b"acme", b"issuer", b'"user"'):
        assert secret not in job
    found = jobs().restored(job, "t", made.owner)
    assert (found.principal, found.credential and found.credential.reveal()) == (found.principal, b"s3cret-token")
    assert found.principal is not None
    for name in Principal.__struct_fields__:
        assert getattr(found.principal, name) == getattr(made.principal, name)
    assert json.loads(bytes(found.request.params))["name"] == "inner"
    assert (found.peek.arguments, found.revision) == (made.peek.arguments, made.revision)
    assert found.trace is not None
    assert found.trace.traceparent == f"00-{'f' * 32}-{'e' * 16}-01"
    assert found.capabilities() == TASKS
    assert [found.channel.header(name) for name in ("X-Tenant", "authorization", "cookie", "twice")] == [
        "acme", None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["task", "owner", "key", "expired"])
def test_a_job_is_good_for_its_task_its_owner_and_as_long_as_its_token(wrong: str) -> None:
    made = asked(who(expires_at=NOW - 1) if wrong == "expired" else None)
    job = jobs(b"x" * 32 if wrong == "key" else b"k" * 32).stored(made, "work", "t")
    with pytest.raises(InvalidSealedValue):
        jobs().restored(job, "u" if wrong == "task" else "t", "another" if wrong == "owner" else made.owner)


def test_who_answers_has_it_run_by_their_authorization() -> None:
    job = jobs().stored(asked(who(expires_at=NOW - 1)), "work", "t")
    update = call("tasks/update", {"taskId": "t"}, who=who(token_digest="new"))
    renewed = jobs().restored(jobs().renewed(job, update, "t"), "t", update.owner)
    assert renewed.principal is not None
    assert (renewed.principal.token_digest, renewed.credential, renewed.channel.header("x-tenant")) == (
        "new", None, "acme",
    )  # fmt: skip
    with pytest.raises(InvalidSealedValue):
        jobs().stored(call("tools/call", {"name": "a"}, who=None), "work", "t")
    bare = jobs().restored(jobs().stored(call("tools/call", {}, who=who()), "work", "t"), "t", who().key)
    assert bare.channel.header("x-tenant") is None


class Sure(msgspec.Struct):
    sure: bool


async def test_who_started_the_process_has_tasks_too() -> None:
    """They all failed on a pipe without a token, whose caller has no end."""
    server, me = McpServer("s"), desktop_user(frozenset({"mcp:read"}))

    @server.tool(task="allowed")
    async def sure(ctx: Context) -> str:
        answer = await ctx.elicit("Sure?", Sure)
        return answer.action

    async with serving(server) as (pipeline, _):
        begun = answer(await pipeline.serve(call("tools/call", {"name": "sure"}, capabilities=TASKS, who=me)))
        task = {"taskId": begun["result"]["taskId"]}
        await settle()
        shown = answer(await pipeline.serve(call("tasks/get", task, capabilities=TASKS, who=me)))["result"]
        [name] = shown["inputRequests"]
        given = {name: {"action": "accept", "content": {"sure": True}}}
        await pipeline.serve(call("tasks/update", {**task, "inputResponses": given}, capabilities=TASKS, who=me))
        await settle()
        ended = answer(await pipeline.serve(call("tasks/get", task, capabilities=TASKS, who=me)))["result"]
    assert (ended["status"], ended["result"]["content"][0]["text"]) == ("completed", "accept")


class Lost:
    """Two workers; the first is silent, and the second takes over what it ran."""

    def __init__(self, server: McpServer, **second: Any) -> None:
        self.server, self.workers, self.second = server, Workers(), second
        self.told = RememberingRecorder()

    async def takes_over(self, *tools: str, caller: Principal | None = None) -> list[Any]:
        first, second = self.workers.join(), self.workers.join()
        async with (
            serving(self.server, backend=first) as (one, _),
            serving(self.server, backend=second, **self.second) as (two, told),
        ):
            self.told = told
            ids = [answer(await one.serve(asked(caller, tool)))["result"]["taskId"] for tool in tools]
            await settle()  # they have begun
            await self._silent(first, two)
            return [await self._shown(two, task_id) for task_id in ids]

    async def _silent(self, first: Linked, two: Pipeline) -> None:
        leases = self.workers.memory._leases
        leases.update({one: (first.worker, float("-inf")) for one in leases})
        await two.runtime.tasks.leases.claim()
        await settle()

    async def _shown(self, two: Pipeline, task_id: str) -> Any:
        return answer(await two.serve(call("tasks/get", {"taskId": task_id}, capabilities=TASKS, who=who())))["result"]


async def test_a_task_that_is_taken_over_runs_as_its_caller_and_the_rest_has_failed() -> None:
    server, seen = McpServer("s"), list[Any]()

    @server.tool(task="allowed", on_lost="retry")
    async def work(ctx: Context) -> str:
        facts, attempt = facts_of(ctx), ctx.task_attempt
        seen.append((ctx.principal and ctx.principal.key, facts.incoming.header("x-tenant"), attempt))
        assert facts.incoming.credential is not None
        if attempt == 1:
            await settle(10_000)
        return "done"

    @server.tool(task="allowed")
    async def once() -> str:
        await settle(10_000)
        return "acted"

    lost = Lost(server)
    done, failed = await lost.takes_over("work", "once")
    assert done["result"]["content"][0]["text"] == "done"
    assert seen == [(who().key, "acme", 1), (who().key, "acme", 2)]
    assert failed["error"]["message"] == LOST
    lines = [(line.reason, line.tool, line.subject) for line in lost.told.notes]
    assert sorted(lines) == [("task_completed", "work", "user"), ("task_lost", "once", "user")]


@pytest.mark.parametrize("how", ["expired", "needs more"])
async def test_who_is_authorized_no_more_has_a_task_that_failed(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server, ran = McpServer("s"), list[int]()

    @server.tool(task="allowed", on_lost="retry")
    async def work(ctx: Context) -> str:
        ran.append(ctx.task_attempt)
        if how == "expired":
            monkeypatch.setattr(time, "time", lambda: NOW + LIFE_S + 1)
        else:
            server.remove_tool("work")
            server.tool(task="allowed", on_lost="retry", scopes={"mcp:admin"})(work)
        await settle(10_000)
        return ""

    lost = Lost(server)
    lost._shown = lambda two, task_id: two.runtime.tasks.find(task_id, who().key)  # type: ignore[method-assign]
    (found,) = await lost.takes_over("work")
    assert (found.status, found.error["message"]) == ("failed", "authorization expired")
    assert ran == [1]
    assert ("task_failed", "work", "user") in [(line.reason, line.tool, line.subject) for line in lost.told.notes]


@pytest.mark.parametrize("wrong", ["key", "token"])
async def test_a_task_of_other_state_keys_is_not_told_to_have_expired(wrong: str) -> None:
    server, lines, ran = McpServer("s"), list[str](), list[int]()

    @server.tool(task="allowed", on_lost="retry")
    async def work(ctx: Context) -> str:
        ran.append(ctx.task_attempt)
        await settle(10_000)
        return ""

    lost = Lost(server, state_keys=(b"x" * 32,) if wrong == "key" else (b"k" * 32,))
    sink = logger.add(lambda line: lines.append(str(line.record["extra"])), level="WARNING")
    try:
        (shown,) = await lost.takes_over("work", caller=who(expires_at=NOW - 1) if wrong == "token" else None)
    finally:
        logger.remove(sink)
    assert shown["error"]["message"] == (EXPIRED if wrong == "token" else UNREADABLE).message
    assert any("MCP_STATE_KEYS" in line for line in lines) is (wrong == "key")
    assert ran == [1]


async def test_whether_a_thread_works_for_a_task_is_known() -> None:
    server, go, begun = McpServer("s"), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @server.tool(task="allowed", on_lost="retry")
    def work() -> str:
        loop.call_soon_threadsafe(begun.set)
        go.wait(20)
        return "done"

    async with serving(server, backend=Workers().join()) as (one, _):
        task_id = answer(await one.serve(asked(None, "work")))["result"]["taskId"]
        await begun.wait()
        running = one.runtime.tasks._running[task_id]
        assert running.in_thread
        go.set()
        assert running.job is not None
        await running.job
        assert not running.in_thread


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_task_whose_token_is_revoked_has_failed_in_the_audit_too(*, stubborn: bool) -> None:
    server = McpServer("s")

    @server.tool(task="allowed")
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
        return "done all the same"

    async with serving(server) as (pipeline, told):
        task_id = answer(await pipeline.serve(asked()))["result"]["taskId"]
        revoked = Revocation(issuer="https://issuer", kind="sub", name="user", before=10, until=EVER)
        pipeline.runtime.revocations.take(revoked)
        await settle()
        found = await pipeline.runtime.tasks.find(task_id, who().key)
    assert found is not None
    assert (found.status, found.error and found.error["message"]) == ("failed", REVOKED)
    assert [(line.reason, line.tool, line.subject) for line in told.notes] == [("task_failed", "work", "user")]


def test_a_stated_on_lost_goes_before_the_hints() -> None:
    def plain() -> str:
        """Do."""
        return ""

    idempotent, reads = ToolAnnotations(idempotent_hint=True), ToolAnnotations(read_only_hint=True)
    assert Tool(plain, "t").on_lost == "fail"
    assert Tool(plain, "t", annotations=ToolAnnotations(destructive_hint=True)).on_lost == "fail"
    assert [Tool(plain, "t", annotations=one).on_lost for one in (idempotent, reads)] == ["retry", "retry"]
    assert Tool(plain, "t", annotations=reads, on_lost="fail").on_lost == "fail"
    with pytest.raises(ValueError, match="on_lost"):
        Tool(plain, "t", on_lost="perhaps")  # type: ignore[arg-type]
