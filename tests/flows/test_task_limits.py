"""What is kept of tasks is bounded, of one principal and of all."""

from pathlib import Path

import pytest

from mcp_server.sessions.tasks.runner import TOO_MUCH_KEPT
from tests.flows.test_tasks import CAN, call, ended_as, server
from tests.kit import wire
from tests.kit.stack import running_stack


@pytest.mark.requirement("22.11")
async def test_what_is_kept_of_one_principal_is_bounded_and_others_go_on(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_kept_bytes_per_principal="36000") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        begun = [(await call(stack, alice, "big"))["taskId"] for _ in range(8)]
        ended = [await ended_as(stack, alice, one) for one in begun]
        assert {one["status"] for one in ended} == {"completed", "failed"}
        failed = [one for one in ended if one["status"] == "failed"]
        assert {one["error"]["message"] for one in failed} == {"No room for the result"}
        while "taskId" in (last := await call(stack, alice, "big")):
            await ended_as(stack, alice, last["taskId"])
        assert last["isError"] is True
        assert "Too much is kept" in last["content"][0]["text"]
        other = (await call(stack, bob, "big"))["taskId"]
        assert (await ended_as(stack, bob, other))["status"] == "completed"
        assert await ended_as(stack, alice, begun[0]) == ended[0]


@pytest.mark.requirement("22.11")
async def test_what_is_asked_in_a_task_is_kept_within_the_bound_too(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, max_kept_bytes_per_principal="10000") as stack:
        alice = await stack.token("alice")
        task_id = (await call(stack, alice, "ask_much"))["taskId"]
        ended = await ended_as(stack, alice, task_id)
        assert ended["status"] == "failed"
        assert ended["error"]["message"] == TOO_MUCH_KEPT


@pytest.mark.requirement("22.11")
async def test_results_leave_room_for_tasks_that_begin_and_a_full_store_says_so(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server) as stack:
        alice = await stack.token("alice")
        room = stack.plugin.runtime.bus.backend._kinds["task"]  # type: ignore[attr-defined]
        room._max_bytes = 12_000
        ended = await ended_as(stack, alice, (await call(stack, alice, "big"))["taskId"])
        assert ended["error"]["message"] == "No room for the result"
        room._max_bytes = room._bytes
        message = wire.modern("tools/call", {"name": "big", "arguments": {}})
        message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = CAN
        assert (await stack.post(message, alice, **wire.headers("tools/call", "big"))).status_code == 503
