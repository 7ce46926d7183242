"""Questions to the client: one handler text, answered in rounds (modern) or on the stream (legacy)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mcp_server import Context, McpServer, MissingCapability, elicitation, url_elicitation
from tests.kit import wire
from tests.kit.stack import Stack, running_stack

server = McpServer("rounds")
LEGACY = "2025-11-25"
FORM: dict[str, Any] = {"elicitation": {}}
runs: list[str] = []


class Address(msgspec.Struct):
    street: Annotated[str, msgspec.Meta(min_length=1)]
    number: int
    kind: Literal["home", "work"] = "home"


@server.tool()
async def where(ctx: Context, label: str = "") -> str:
    """Ask for an address."""
    answer = await ctx.elicit("Where do you live?", Address)
    return f"{answer.action} {answer.content}"


@server.tool(single_use=True)
async def once(ctx: Context) -> str:
    """Ask, and take each state once."""
    return (await ctx.elicit("Sure?", Address)).action


@server.tool()
async def twice(ctx: Context) -> str:
    """Count its rounds."""
    runs.append("run")
    ctx.notes["runs"] = ctx.notes.get("runs", 0) + 1
    first = await ctx.elicit("First?", Address)
    second = await ctx.elicit("Second?", Address)
    return f"{ctx.notes['runs']} {first.content} {second.content}"


@server.tool()
async def carry(size: int, ctx: Context) -> str:
    """Carry too much."""
    ctx.notes["much"] = "x" * size
    return (await ctx.elicit("And?", Address)).action


@server.tool()
async def fallback(ctx: Context) -> str:
    """Do without where the client cannot."""
    try:
        return (await ctx.elicit("Where?", Address)).action
    except MissingCapability as error:
        return f"without: {error}"


@server.tool()
async def page(ctx: Context) -> str:
    """Send the user somewhere."""
    return (await ctx.elicit_url("Please connect", "https://shop.example/connect")).action


@server.tool()
async def both(ctx: Context) -> str:
    """Ask for two things at once."""
    answers = await ctx.ask(form=elicitation("Where?", Address), page=url_elicitation("Go", "https://shop.example"))
    return f"{answers['form'].action} {answers['page'].action}"


@server.tool()
async def model(ctx: Context) -> str:
    """Ask the model, with tools."""
    return (await ctx.sample("Hi", max_tokens=5, system="Be short", tools=[])).text


@server.prompt()
async def ask_prompt(ctx: Context) -> str:
    """Ask for a prompt."""
    return (await ctx.elicit("Where?", Address)).action


@server.resource("ask://{id}")
async def ask_resource(id: int, ctx: Context) -> str:  # noqa: A002
    """Ask for a resource."""
    return (await ctx.elicit("Where?", Address)).action


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = Path(tmp_path_factory.mktemp("rounds"))
    keys = "k" * 32 + " " + "o" * 32
    async with running_stack(folder, server, state_keys=keys, ask_timeout_s="3") as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


ACCEPT = {"action": "accept", "content": {"street": "High Street", "number": 5}}


async def ask(
    stack: Stack, token: str, tool: str, arguments: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A modern call; `can` are its capabilities, the rest further members of its params."""
    can = more.pop("can", {**FORM, "sampling": {}})
    message = wire.modern("tools/call", {"name": tool, "arguments": arguments or {}, **more})
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = can
    answer = await stack.post(message, token, **wire.headers("tools/call", tool))
    said: dict[str, Any] = answer.json()
    return dict(said.get("result") or said["error"] | {"status": answer.status_code})


def text(result: dict[str, Any]) -> str:
    return str(result["content"][0]["text"])


@pytest.mark.requirement("17.1", "17.2", "17.3", "17.4")
async def test_the_handler_runs_again_with_the_answer(stack: Stack, token: str) -> None:
    asked = await ask(stack, token, "where")
    assert asked["resultType"] == "input_required"
    question = asked["inputRequests"]["q1"]
    assert question["method"] == "elicitation/create"
    assert question["params"]["requestedSchema"] == {
        "type": "object",
        "properties": {
            "street": {"type": "string", "minLength": 1},
            "number": {"type": "integer"},
            "kind": {"type": "string", "enum": ["home", "work"], "default": "home"},
        },
        "required": ["street", "number"],
    }
    done = await ask(stack, token, "where", inputResponses={"q1": ACCEPT}, requestState=asked["requestState"])
    assert text(done) == "accept Address(street='High Street', number=5, kind='home')"


@pytest.mark.parametrize("action", ["decline", "cancel"])
@pytest.mark.requirement("18.4")
async def test_a_no_is_an_answer(stack: Stack, token: str, action: str) -> None:
    asked = await ask(stack, token, "where")
    done = await ask(
        stack, token, "where", inputResponses={"q1": {"action": action}}, requestState=asked["requestState"]
    )
    assert text(done) == f"{action} None"


@pytest.mark.parametrize(
    "answers",
    [
        None,
        [],
        "text",
        {"q1": 12345},
        {"q1": {"action": "perhaps"}},
        {"q1": {"action": "accept"}},
        {"q1": {"action": "accept", "content": {"street": "", "number": 1}}},
        {"q1": {"action": "accept", "content": {"street": "s", "number": "one"}}},
        {"q1": {"action": "accept", "content": None}},
        {"other": ACCEPT},
        {},
    ],
)
@pytest.mark.requirement("17.11", "17.12", "17.13", "17.14", "18.4")
async def test_what_is_no_answer_is_asked_again(stack: Stack, token: str, answers: Any) -> None:
    asked = await ask(stack, token, "where")
    again = await ask(stack, token, "where", inputResponses=answers, requestState=asked["requestState"])
    assert again["resultType"] == "input_required"
    assert again["inputRequests"] == asked["inputRequests"]
    assert again["requestState"] != asked["requestState"]


async def test_rounds_carry_earlier_answers_and_notes(stack: Stack, token: str) -> None:
    runs.clear()
    first = await ask(stack, token, "twice")
    second = await ask(stack, token, "twice", inputResponses={"q1": ACCEPT}, requestState=first["requestState"])
    assert second["inputRequests"].keys() == {"q2"}
    third = await ask(stack, token, "twice", inputResponses={"q2": ACCEPT}, requestState=second["requestState"])
    assert text(third).startswith("3 Address(")
    assert len(runs) == 3


@pytest.mark.requirement("17.7", "17.8", "25.31")
async def test_a_state_is_good_for_its_caller_call_and_parameters_only(stack: Stack, token: str) -> None:
    asked = await ask(stack, token, "where", {"label": "a"})
    state = asked["requestState"]
    other = await stack.token("bob")
    wrong: list[tuple[str, str, dict[str, Any], Any]] = [
        (other, "where", {"label": "a"}, state),
        (token, "where", {"label": "b"}, state),
        (token, "where", {}, state),
        (token, "twice", {}, state),
        (token, "where", {"label": "a"}, state + "-TAMPERED"),
        (token, "where", {"label": "a"}, state[:-2]),
        (token, "where", {"label": "a"}, "x" + state),
        (token, "where", {"label": "a"}, ""),
        (token, "where", {"label": "a"}, "é"),
        (token, "where", {"label": "a"}, 5),
        (token, "where", {"label": "a"}, "A" * 300_000),
    ]
    for who, tool, arguments, given in wrong:
        answer = await ask(stack, who, tool, arguments, inputResponses={"q1": ACCEPT}, requestState=given)
        assert (answer.get("code"), answer.get("status")) == (-32602, 200), (tool, given)
    same = await ask(stack, token, "where", {"label": "a"}, inputResponses={"q1": ACCEPT}, requestState=state)
    assert same["resultType"] == "complete"


@pytest.mark.requirement("17.9")
async def test_a_single_use_state_is_good_once(stack: Stack, token: str) -> None:
    state = (await ask(stack, token, "once"))["requestState"]
    assert text(await ask(stack, token, "once", inputResponses={"q1": ACCEPT}, requestState=state)) == "accept"
    again = await ask(stack, token, "once", inputResponses={"q1": ACCEPT}, requestState=state)
    assert again["code"] == -32602
    without = await ask(stack, token, "once", inputResponses={"q1": ACCEPT})
    assert without["resultType"] == "input_required"


async def test_more_than_a_client_can_carry_is_an_error_for_the_model(stack: Stack, token: str) -> None:
    assert (await ask(stack, token, "carry", {"size": 1000}))["resultType"] == "input_required"
    assert (await ask(stack, token, "carry", {"size": 200_000}))["isError"] is True


@pytest.mark.requirement("7.3", "17.5", "17.6", "18.1", "19.1", "19.2")
async def test_what_the_client_did_not_declare_is_not_asked(stack: Stack, token: str) -> None:
    lacking = await ask(stack, token, "where", can={})
    assert (lacking["code"], lacking["status"]) == (-32021, 400)
    assert lacking["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}
    assert text(await ask(stack, token, "fallback", can={"sampling": {}})).startswith("without: ")
    assert (await ask(stack, token, "page", can=FORM))["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}
    assert (await ask(stack, token, "where", can={"elicitation": {"url": {}}}))["code"] == -32021
    assert (await ask(stack, token, "where", can={"elicitation": []}))["code"] == -32021
    assert (await ask(stack, token, "model", can={"sampling": {}}))["data"] == {
        "requiredCapabilities": {"sampling": {"tools": {}}}
    }
    sampled = await ask(stack, token, "model", can={"sampling": {"tools": {}}})
    assert sampled["inputRequests"]["q1"]["params"]["systemPrompt"] == "Be short"


@pytest.mark.requirement("18.3", "18.9")
async def test_a_page_to_visit_has_no_id_in_the_modern_era(stack: Stack, token: str) -> None:
    can: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
    asked = await ask(stack, token, "both", can=can)
    assert asked["inputRequests"]["page"]["params"] == {"mode": "url", "message": "Go", "url": "https://shop.example"}
    answers = {"form": ACCEPT, "page": {"action": "accept"}}
    done = await ask(stack, token, "both", can=can, inputResponses=answers, requestState=asked["requestState"])
    assert text(done) == "accept accept"


@pytest.mark.requirement("9.11", "10.7", "16.2", "17.1")
async def test_prompts_and_resources_ask_too(stack: Stack, token: str) -> None:
    for method, params, name in (
        ("prompts/get", {"name": "ask_prompt"}, "ask_prompt"),
        ("resources/read", {"uri": "ask://5"}, "ask://5"),
    ):
        message = wire.modern(method, params)
        message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = FORM
        asked = (await stack.post(message, token, **wire.headers(method, name))).json()["result"]
        assert asked["resultType"] == "input_required"
        assert "ttlMs" not in asked
        message["params"] |= {"inputResponses": {"q1": ACCEPT}, "requestState": asked["requestState"]}
        done = (await stack.post(message, token, **wire.headers(method, name))).json()["result"]
        assert done["resultType"] == "complete"
        assert "accept" in json.dumps(done)
        message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {}
        del message["params"]["requestState"], message["params"]["inputResponses"]
        assert (await stack.post(message, token, **wire.headers(method, name))).json()["error"]["code"] == -32021
        old = await stack.post(wire.legacy(method, params), token, mcp_protocol_version=LEGACY)
        assert old.json()["error"]["code"] == -32602


async def session(stack: Stack, token: str, can: dict[str, Any], revision: str = LEGACY) -> dict[str, str]:
    opening = wire.INITIALIZE | {"protocolVersion": revision, "capabilities": can}
    answer = await stack.post(wire.legacy("initialize", opening), token)
    return {"mcp_session_id": answer.headers["mcp-session-id"], "mcp_protocol_version": revision}


async def converse(
    stack: Stack, token: str, mine: dict[str, str], tool: str, answer: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """A legacy call; each question on its stream gets this answer, by a POST of its own."""
    message = wire.legacy("tools/call", {"name": tool, "arguments": {}})
    seen = []
    async with stack.open(message, token, **mine) as (response, events):
        if response.headers["content-type"] == "application/json":
            return [json.loads(await response.aread())]
        async for event in events:
            if not event.get("data"):
                continue
            said = json.loads(event["data"])
            seen.append(said)
            if "method" in said and answer is not None:
                back = await stack.post({"jsonrpc": "2.0", "id": said["id"], **answer}, token, **mine)
                assert back.status_code == 202
    return seen


@pytest.mark.requirement("2.10", "5.6", "17.17")
async def test_a_legacy_client_is_asked_on_the_stream(stack: Stack, token: str) -> None:
    mine = await session(stack, token, FORM)
    asked, done = await converse(stack, token, mine, "where", {"result": ACCEPT})
    assert asked["method"] == "elicitation/create"
    assert text(done["result"]).startswith("accept Address(")
    runs.clear()
    *questions, done = await converse(stack, token, mine, "twice", {"result": ACCEPT})
    assert len(questions) == 2
    assert text(done["result"]).startswith("1 ")
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"code": -1, "message": "User rejected"}}, "User rejected"),
        ({"error": {"odd": True}}, "could not answer"),
        ({"error": None}, "could not answer"),
        ({"result": {"action": "perhaps"}}, "not what was asked"),
        ({"result": {"action": "accept", "content": {"street": 5}}}, "not filled in"),
        (None, "in time"),
    ],
)
@pytest.mark.requirement("17.10")
async def test_a_legacy_client_that_does_not_answer_well_fails_the_tool(
    stack: Stack, token: str, answer: dict[str, Any] | None, said: str
) -> None:
    mine = await session(stack, token, FORM)
    *_, done = await converse(stack, token, mine, "where", answer)
    assert done["result"]["isError"] is True
    assert said in text(done["result"])


@pytest.mark.requirement("18.3")
async def test_a_legacy_page_to_visit_has_an_id(stack: Stack, token: str) -> None:
    mine = await session(stack, token, {"elicitation": {"form": {}, "url": {}}})
    asked, done = await converse(stack, token, mine, "page", {"result": {"action": "accept"}})
    assert asked["params"]["elicitationId"]
    assert text(done["result"]) == "accept"


async def test_a_legacy_client_is_asked_two_things_at_once(stack: Stack, token: str) -> None:
    mine = await session(stack, token, {"elicitation": {"form": {}, "url": {}}})
    first, second, done = await converse(stack, token, mine, "both", {"result": ACCEPT})
    assert {first["params"]["message"], second["params"]["message"]} == {"Where?", "Go"}
    assert text(done["result"]) == "accept accept"


async def test_a_legacy_client_that_cannot_is_told_so(stack: Stack, token: str) -> None:
    for mine in (
        await session(stack, token, {}),
        await session(stack, token, FORM, "2025-03-26"),
        {"mcp_protocol_version": LEGACY},
    ):
        (done,) = await converse(stack, token, mine, "where", None)
        assert done["result"]["isError"] is True
        assert "elicitation" in text(done["result"])


async def test_nobody_answers_in_anothers_session(stack: Stack, token: str) -> None:
    mine, other = await session(stack, token, FORM), await session(stack, token, FORM)
    message = wire.legacy("tools/call", {"name": "where", "arguments": {}})
    async with stack.open(message, token, **mine) as (_, events):
        said: dict[str, Any] = {}
        while "method" not in said:
            said = json.loads((await anext(events))["data"] or "{}")
        reply = {"jsonrpc": "2.0", "id": said["id"], "result": ACCEPT}
        for headers in (other, {"mcp_protocol_version": LEGACY}):
            assert (await stack.post(reply, token, **headers)).status_code == 202
        for odd in (5, "x" * 200, "w.unknown", "elsewhere.x"):
            assert (await stack.post(reply | {"id": odd}, token, **mine)).status_code == 202
        assert (await stack.post(reply | {"result": {"action": "decline"}}, token, **mine)).status_code == 202
        rest = [json.loads(event["data"]) async for event in events]
    assert text(rest[-1]["result"]) == "decline None"


async def test_a_question_ends_with_its_session(stack: Stack, token: str) -> None:
    mine = await session(stack, token, FORM)
    message = wire.legacy("tools/call", {"name": "where", "arguments": {}})
    async with stack.open(message, token, **mine) as (_, events):
        while "method" not in json.loads((await anext(events))["data"] or "{}"):
            pass
        end = {"authorization": f"Bearer {token}", "mcp-session-id": mine["mcp_session_id"]}
        assert (await stack.http.delete(stack.resource, headers=end)).status_code == 204
        async with asyncio.timeout(60):
            rest = [json.loads(event["data"]) async for event in events if event.get("data")]
    assert "ended its session" in text(rest[-1]["result"])
