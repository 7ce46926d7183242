"""An answer becomes a stream when a handler speaks before its result; what happens to it then."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit import wire
from tests.kit.servers.streams import LEGACY, Gate, call, gates, legacy_call, messages, name_of, server, session
from tests.kit.stack import Stack, running_stack


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = Path(tmp_path_factory.mktemp("streams"))
    async with running_stack(folder, server, keep_alive_s="0.1", call_timeout_s="5") as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Gate:
    gates[request.node.name] = Gate()
    return gates[request.node.name]


@pytest.mark.requirement("2.7", "13.3")
async def test_without_a_token_for_it_there_is_no_progress_and_no_stream(stack: Stack, token: str) -> None:
    message, headers = call("steps", {"values": [1, 2]})
    answer = await stack.post(message, token, **headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["content"][0]["text"] == "reported"


@pytest.mark.parametrize("progress_token", [0, "p", 2**40])
@pytest.mark.requirement("2.8", "2.9", "2.11", "2.12", "13.1", "13.2", "13.3")
async def test_progress_only_grows_and_carries_the_token(stack: Stack, token: str, progress_token: Any) -> None:
    message, headers = call("steps", {"values": [1, 1, 0.5, 2, 2.5]}, progressToken=progress_token)
    answer = await stack.post(message, token, origin=stack.resource.removesuffix("/mcp"), **headers)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == stack.resource.removesuffix("/mcp")
    assert "id:" not in answer.text
    *told, result = messages(answer.text)
    assert [one["params"]["progress"] for one in told] == [1, 2, 2.5]
    assert {one["params"]["progressToken"] for one in told} == {progress_token}
    assert result["id"] == 1


@pytest.mark.parametrize(
    ("level", "heard"),
    [(None, []), ("debug", ["debug", "info", "error"]), ("warning", ["error"]), ("emergency", [])],
)
@pytest.mark.requirement("12.2", "12.3")
async def test_a_modern_request_hears_the_levels_it_asks_for(
    stack: Stack, token: str, level: str | None, heard: list[str]
) -> None:
    more = {} if level is None else {wire.PREFIX + "logLevel": level}
    message, headers = call("say", {"levels": ["debug", "info", "error"]}, **more)
    answer = await stack.post(message, token, **headers)
    said = [one["params"] for one in messages(answer.text) if one.get("method")] if heard else []
    assert [one["level"] for one in said] == heard
    assert all(one["logger"] == "say" and one["data"] == {"at": one["level"]} for one in said)


@pytest.mark.parametrize("level", ["loud", 5, None])
@pytest.mark.requirement("12.4")
async def test_an_unknown_level_is_refused(stack: Stack, token: str, level: Any) -> None:
    message, headers = call("say", {"levels": []}, **{wire.PREFIX + "logLevel": level})
    assert (await stack.post(message, token, **headers)).json()["error"]["code"] == -32602


@pytest.mark.requirement("5.15", "12.5")
async def test_a_legacy_session_sets_its_level(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    heard = []
    for level in (None, "error", "debug", "loud"):
        if level:
            set_level = await stack.post(wire.legacy("logging/setLevel", {"level": level}), token, **mine)
            assert ("error" in set_level.json()) == (level == "loud")
        answer = await stack.post(legacy_call("say", {"levels": ["debug", "info", "error"]}), token, **mine)
        heard.append([one["params"]["level"] for one in messages(answer.text) if one.get("method")])
    assert heard == [["info", "error"], ["error"], ["debug", "info", "error"], ["debug", "info", "error"]]
    answer = await stack.post(wire.legacy("logging/setLevel", {"level": "error"}), token, mcp_protocol_version=LEGACY)
    assert answer.json()["error"]["code"] == -32600


@pytest.mark.parametrize(("revision", "primed"), [("2025-11-25", True), ("2025-06-18", False)])
@pytest.mark.requirement("5.8")
async def test_a_sessions_stream_has_event_ids(stack: Stack, token: str, revision: str, primed: bool) -> None:
    mine = await session(stack, token, revision)
    message = legacy_call("steps", {"values": [1, 2]}, progressToken="p")
    async with stack.open(message, token, **mine) as (_, events):
        seen = [event async for event in events]
    ids = [event["id"] for event in seen]
    assert len(set(ids)) == len(ids) == (4 if primed else 3)
    assert (seen[0]["data"] == "") is primed


@pytest.mark.requirement("2.11")
async def test_a_stream_that_is_silent_is_kept_alive(stack: Stack, token: str, gate: Gate) -> None:
    message, headers = call("wait", {"name": name_of(gate)}, progressToken="p")
    async with stack.open(message, token, **headers) as (_, events):
        seen = [await anext(events), await anext(events), await anext(events)]
        gate.opened.set()
        rest = [event async for event in events]
    assert [event.get("") for event in seen] == [None, "keep-alive", "keep-alive"]
    assert json.loads(rest[-1]["data"])["result"]


@pytest.mark.requirement("2.14")
async def test_who_hangs_up_in_the_modern_era_cancels(stack: Stack, token: str, gate: Gate) -> None:
    message, headers = call("wait", {"name": name_of(gate)}, progressToken="p")
    async with stack.open(message, token, **headers) as (_, events):
        await anext(events)
    async with asyncio.timeout(60):
        await gate.ended.wait()
    assert gate.fate == "cancelled"


@pytest.mark.requirement("2.14")
async def test_who_hangs_up_before_a_word_was_said_cancels_too(stack: Stack, token: str, gate: Gate) -> None:
    message, headers = call("wait", {"name": name_of(gate)})
    asking = asyncio.create_task(stack.post(message, token, **headers))
    await gate.begun.wait()
    asking.cancel()
    async with asyncio.timeout(60):
        await gate.ended.wait()
    assert gate.fate == "cancelled"


@pytest.mark.requirement("5.6", "5.8", "5.9")
async def test_who_hangs_up_in_a_legacy_era_does_not_cancel_and_finds_the_rest(
    stack: Stack, token: str, gate: Gate
) -> None:
    mine = await session(stack, token)
    message = legacy_call("wait", {"name": name_of(gate)}, "mine", progressToken="p")
    async with stack.open(message, token, **mine) as (_, events):
        await anext(events)
        last = (await anext(events))["id"]
    gate.opened.set()
    await gate.ended.wait()
    assert gate.fate == "finished"
    async with stack.open(None, token, last_event_id=last, **mine) as (response, events):
        rest = [event async for event in events]
    assert response.headers["content-type"] == "text/event-stream"
    said = [json.loads(event["data"]) for event in rest if "data" in event]
    assert [one.get("method", one.get("id")) for one in said] == ["notifications/progress", "mine"]


async def test_a_stream_is_followed_while_it_goes_on(stack: Stack, token: str, gate: Gate) -> None:
    mine = await session(stack, token)
    message = legacy_call("wait", {"name": name_of(gate)}, 7, progressToken="p")
    async with stack.open(message, token, **mine) as (_, events):
        first = (await anext(events))["id"]
    async with stack.open(None, token, last_event_id=first, **mine) as (_, events):
        assert (await anext(events))[""] == "open"
        assert json.loads((await anext(events))["data"])["params"]["message"] == "begun"
        async with stack.open(None, token, **mine) as (_, general):  # the session's own stream takes nothing from it
            assert (await anext(general))[""] == "open"
        gate.opened.set()
        rest = [event async for event in events if "data" in event]
    assert json.loads(rest[-1]["data"])["id"] == 7
    async with stack.open(None, token, last_event_id=rest[-1]["id"], **mine) as (_, events):
        assert [event async for event in events if "data" in event] == []  # there is nothing after the result


@pytest.mark.requirement("5.8", "5.17")
async def test_another_sessions_stream_is_not_found(stack: Stack, token: str, gate: Gate) -> None:
    mine, other = await session(stack, token), await session(stack, token)
    gate.opened.set()
    message = legacy_call("wait", {"name": name_of(gate)}, progressToken="p")
    async with stack.open(message, token, **mine) as (_, events):
        ids = [event["id"] async for event in events]
    for wrong in (ids[1], "nonsense", "a.b.c", "x" * 500, f"{ids[1]}9"):
        async with stack.open(None, token, last_event_id=wrong, **other) as (_, events):
            assert (await anext(events))[""] == "open"
            waited = await asyncio.wait([asyncio.ensure_future(anext(events))], timeout=0.05)
            assert waited[1] or all("data" not in one.result() for one in waited[0])
            for one in waited[1]:
                one.cancel()


@pytest.mark.requirement("5.9", "14.2")
async def test_a_legacy_client_cancels_by_saying_so(stack: Stack, token: str, gate: Gate) -> None:
    mine = await session(stack, token)
    message = legacy_call("wait", {"name": name_of(gate)}, "to-be-cancelled")
    asking = asyncio.create_task(stack.post(message, token, **mine))
    await gate.begun.wait()
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    params: dict[str, Any]
    for params in ({"requestId": "other"}, {"requestId": []}, {}, {"requestId": "to-be-cancelled"}):
        assert (await stack.post({**cancelled, "params": params}, token, **mine)).status_code == 202
    answer = await asking
    assert gate.fate == "cancelled"
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, "text/event-stream", "")


async def test_nobody_cancels_in_anothers_session(stack: Stack, token: str, gate: Gate) -> None:
    mine, other = await session(stack, token), await session(stack, token)
    asking = asyncio.create_task(stack.post(legacy_call("wait", {"name": name_of(gate)}, 5), token, **mine))
    await gate.begun.wait()
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    await stack.post(cancelled, token, **other)
    await stack.post(cancelled, token, mcp_protocol_version=LEGACY)
    gate.opened.set()
    assert (await asking).json()["result"]["content"][0]["text"] == "waited"


async def test_a_modern_cancellation_is_taken_and_ignored(stack: Stack, token: str) -> None:
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    assert (await stack.post(cancelled, token, mcp_protocol_version=wire.MODERN)).status_code == 202


@pytest.mark.requirement("14.4")
async def test_a_call_ends_when_its_time_is_over(tmp_path: Path, gate: Gate) -> None:
    async with running_stack(tmp_path, server, call_timeout_s="0.1") as stack:
        message, headers = call("wait", {"name": name_of(gate)})
        answer = await stack.post(message, await stack.token("alice"), **headers)
    assert answer.json()["error"] == {"code": -32603, "message": "The call took too long"}
    assert gate.fate == "cancelled"


async def test_a_principal_has_so_many_calls_running_and_hanging_up_makes_no_room(tmp_path: Path, gate: Gate) -> None:
    async with running_stack(tmp_path, server, max_calls_per_principal="1") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        mine = await session(stack, alice)
        with pytest.raises(httpx.ReadTimeout):
            await stack.http.post(
                stack.resource,
                json=legacy_call("wait", {"name": name_of(gate)}),
                headers={
                    **{name.replace("_", "-"): value for name, value in mine.items()},
                    "authorization": f"Bearer {alice}",
                    "accept": "application/json, text/event-stream",
                },
                timeout=httpx.Timeout(60, read=0.3),
            )
        await gate.begun.wait()
        message, headers = call("steps", {"values": []}, 7)
        refused = await stack.post(message, alice, **headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["id"] == 7
        assert (await stack.post(message, bob, **headers)).status_code == 200
        gate.opened.set()
        await gate.ended.wait()
        assert gate.fate == "finished"
        assert (await stack.post(message, alice, **headers)).status_code == 200
    assert '"reason":"too_many_at_once"' in stack.audit.read_text()


@pytest.mark.requirement("8.27")
async def test_a_principal_who_calls_too_fast_is_told_when_to_come_back(tmp_path: Path) -> None:
    message, headers = call("steps", {"values": []}, 7)
    async with running_stack(tmp_path, server, max_calls_per_second_per_principal="0.001") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        stack.stop_clocks()
        assert (await stack.post(message, alice, **headers)).status_code == 200
        refused = await stack.post(message, alice, **headers)
        assert refused.status_code == 429
        assert 990 <= int(refused.headers["retry-after"]) <= 995
        wait = int(refused.headers["retry-after"])
        text = f"too many calls in a second; try again in {wait} s"
        assert refused.json()["error"] == {"code": -31002, "message": text, "data": {"retryAfter": wait}}
        listed = wire.modern("tools/list")
        names = wire.headers("tools/list")
        assert (await stack.post(listed, alice, **names)).status_code == 200
        assert (await stack.post(message, bob, **headers)).status_code == 200
    assert '"reason":"too_fast"' in stack.audit.read_text()


async def test_what_is_too_much_to_keep_is_said_once(stack: Stack, token: str) -> None:
    mine = await session(stack, token)
    message = legacy_call("flood", {"count": 6, "size": 1_000_000})
    async with stack.open(message, token, **mine) as (_, events):
        seen = [event async for event in events]
    assert ["id" in event for event in seen] == [True] * 5 + [False] * 3
    async with stack.open(None, token, last_event_id=seen[4]["id"], **mine) as (_, events):
        rest = [event["data"] async for event in events if "data" in event]
    assert rest == [""]  # what was not kept is gone, and who came back does not wait for it


@pytest.mark.requirement("8.27", "12.6", "13.4")
async def test_one_call_may_not_say_more_than_its_share(stack: Stack, token: str) -> None:
    level = {wire.PREFIX + "logLevel": "info"}
    message, headers = call("flood", {"count": 1000, "size": 1}, **level)
    answer = await stack.post(message, token, **headers)
    assert 100 <= len(messages(answer.text)) < 300


@pytest.mark.requirement("2.15")
async def test_a_refusal_with_a_status_comes_before_the_stream(stack: Stack, token: str) -> None:
    message, headers = call("wait", {"name": "x"}, progressToken="p")
    assert (await stack.post(message, None, **headers)).status_code == 401
    assert (await stack.post(message, token, **headers | {"mcp_name": "y"})).status_code == 400


async def test_a_batch_speaks_on_one_stream(stack: Stack, token: str) -> None:
    mine = await session(stack, token, "2025-03-26")
    batch = [
        legacy_call("steps", {"values": [1]}, 1, progressToken="a"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        legacy_call("steps", {"values": [1]}, 2, progressToken="b"),
        {"jsonrpc": "2.0", "id": 3},
    ]
    answer = await stack.post(batch, token, **mine)
    told = messages(answer.text)
    last: Any = told.pop()
    assert [one["params"]["progressToken"] for one in told] == ["a", "b"]
    assert [one["id"] for one in last] == [1, 2, 3]
    quiet = await stack.post([wire.legacy("ping"), {"jsonrpc": "2.0", "id": "x", "result": {}}], token, **mine)
    assert isinstance(quiet, httpx.Response)
    assert quiet.json() == [{"id": 1, "result": {}, "jsonrpc": "2.0"}]


@pytest.mark.requirement("13.2")
@pytest.mark.parametrize("spoken", [False, True])
async def test_nothing_is_said_after_the_answer(stack: Stack, token: str, gate: Gate, spoken: bool) -> None:
    meta: dict[str, Any] = {"progressToken": 1, wire.PREFIX + "logLevel": "info"}
    message, headers = call("linger", {"name": name_of(gate)}, **meta)
    if spoken:
        message = legacy_call("linger", {"name": name_of(gate)}, progressToken=1)
        headers = await session(stack, token)
    answer = await stack.post(message, token, **headers)
    assert "answered" in answer.text
    gate.opened.set()
    await gate.ended.wait()
    assert gate.fate == "silent"


@pytest.mark.requirement("14.1", "13.2")
async def test_a_cancelled_call_says_nothing_more(stack: Stack, token: str, gate: Gate) -> None:
    mine = await session(stack, token)
    asked = legacy_call("last_words", {"name": name_of(gate)}, 5, progressToken=1)
    async with stack.open(asked, token, **mine) as (_, events):
        await gate.begun.wait()
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        await stack.post(cancelled, token, **mine)
        await gate.ended.wait()
        said = [json.loads(one["data"]) for one in [event async for event in events] if one.get("data")]
    assert [one["params"]["progress"] for one in said] == [1]


@pytest.mark.requirement("14.1", "13.2")
async def test_a_cancelled_call_does_not_begin_to_speak(stack: Stack, token: str, gate: Gate) -> None:
    """Its stream would be opened by its first word, which comes too late."""
    mine = await session(stack, token)
    asked = legacy_call("last_words", {"name": name_of(gate), "first": False}, 5, progressToken=1)
    async with asyncio.TaskGroup() as group:
        silent = group.create_task(stack.post(asked, token, **mine))
        await gate.begun.wait()
        await stack.post(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}, token, **mine
        )
    await gate.ended.wait()
    assert b"progress" not in silent.result().content


@pytest.mark.requirement("5.10")
@pytest.mark.parametrize(("version", "status"), [("1900-01-01", 400), (wire.MODERN, 405)])
async def test_a_version_of_another_era_opens_and_ends_nothing(
    stack: Stack, token: str, version: str, status: int
) -> None:
    mine = await session(stack, token)
    other = {"mcp-session-id": mine["mcp_session_id"], "mcp-protocol-version": version}
    fields = {"authorization": f"Bearer {token}", "accept": "text/event-stream", **other}
    for method in ("GET", "DELETE"):
        answer = await stack.http.request(method, stack.resource, headers=fields)
        assert answer.status_code == status
    assert (await stack.post(wire.legacy("ping"), token, **mine)).status_code == 200


@pytest.mark.requirement("4.1", "5.3")
async def test_a_session_that_is_gone_is_said_to_the_request(stack: Stack, token: str) -> None:
    answer = await stack.post(wire.legacy("ping", request_id="p"), token, mcp_session_id="none")
    assert (answer.status_code, answer.json()["id"]) == (404, "p")
