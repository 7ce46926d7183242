"""JSON or a stream of one event: the client's `Accept` says which it would rather have."""

import json

import pytest

from tests.kit import wire
from tests.kit.servers.orders import server
from tests.kit.stack import Stack


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


STREAM, JSON = "text/event-stream", "application/json"


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/json, text/event-stream", JSON),
        ("application/json,text/event-stream", JSON),
        ("text/event-stream, application/json", STREAM),
        ("Text/Event-Stream,application/json", STREAM),
        ("text/event-stream", STREAM),
        ("text/event-stream;q=0.5, application/json", JSON),
        ("application/json;q=0.9, text/event-stream", STREAM),
        ("application/json; q=0.9, text/event-stream; charset=utf-8; q=1.0", STREAM),
        ("text/event-stream;q=0, application/json", JSON),
        ("text/event-stream;q=0", JSON),
        ("text/event-stream;q=nan, application/json;q=1.000", STREAM),
        ("*/*", JSON),
        ("", JSON),
        ("text/html," * 300 + "text/event-stream", JSON),
    ],
)
@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.requirement("2.17")
async def test_the_clients_order_of_media_types_counts(
    stack: Stack, token: str, accept: str, answered: str, era: str
) -> None:
    body = wire.modern("tools/list") if era == "modern" else wire.legacy("tools/list")
    named = wire.headers("tools/list") if era == "modern" else {}
    answer = await stack.post(body, token, accept=accept, **named)
    assert (answer.status_code, answer.headers["content-type"]) == (200, answered)
    assert int(answer.headers["content-length"]) == len(answer.content)
    text = answer.text
    if answered == STREAM:
        assert text.startswith("data: ")
        assert text.endswith("\n\n")
        text = text.removeprefix("data: ")
    assert len(json.loads(text)["result"]["tools"]) == len(server.tools)


async def test_a_refusal_and_a_notification_are_no_streams(stack: Stack, token: str) -> None:
    first = {"accept": "text/event-stream, application/json"}
    refused = await stack.post(wire.legacy("tools/list"), **first)
    assert (refused.status_code, refused.headers["content-type"]) == (401, JSON)
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    taken = await stack.post(told, token, **first)
    assert (taken.status_code, taken.content) == (202, b"")
