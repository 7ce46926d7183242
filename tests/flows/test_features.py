"""Resources, prompts, completion, lists and tools as a client sees them, in each revision."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import TextContent
from mcp_server.protocol import revisions
from tests.kit import wire
from tests.kit.servers.features import server
from tests.kit.stack import Stack, running_stack


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = Path(tmp_path_factory.mktemp("features"))
    async with running_stack(folder, server, page_size="2") as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("alice")


PARSE_ERROR = {"code": -32700, "message": "Parse error"}
EVERY = [*revisions.MODERN, *revisions.LEGACY]


async def ask(
    stack: Stack, token: str | None, method: str, params: dict[str, Any] | None = None, revision: str = wire.MODERN, **more: str
) -> dict[str, Any]:  # fmt: skip
    if revision == wire.MODERN:
        name = (params or {}).get("name") or (params or {}).get("uri")
        answer = await stack.post(wire.modern(method, params), token, **(wire.headers(method, name) | more))
    else:
        answer = await stack.post(wire.legacy(method, params), token, mcp_protocol_version=revision)
    said: dict[str, Any] = answer.json()
    return dict(said.get("result") or said["error"] | {"status": answer.status_code})


@pytest.mark.parametrize("revision", EVERY)
@pytest.mark.requirement("8.6", "8.17", "8.18", "9.1", "9.2", "10.1")
async def test_what_is_listed_fits_the_revision(stack: Stack, token: str, revision: str) -> None:
    listed = {}
    for method, key in (
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ):
        found = await ask(stack, token, method, None, revision)
        assert ("ttlMs" in found) is (revision == wire.MODERN)
        listed[key] = found[key]
    for entry in (listed["tools"][0], listed["prompts"][0], listed["resources"][0]):
        assert ("icons" in entry) is (revision >= "2025-11-25")
        assert ("title" in entry) is (revision != "2025-03-26")
    assert listed["prompts"][0]["arguments"] == [
        {"name": "code", "description": "What is reviewed.", "required": True},
        {"name": "level", "required": True},
        {"name": "colour"},
        {"name": "times"},
    ]
    assert [one["uri"] for one in listed["resources"]] == ["fixed://text", "bytes://all"]
    assert listed["resourceTemplates"][0]["uriTemplate"] == "item://{number}{?detail}"
    opening = await stack.post(wire.legacy("initialize", wire.INITIALIZE | {"protocolVersion": revision}), token)
    info = opening.json()["result"]["serverInfo"]
    assert ("icons" in info) is (opening.json()["result"]["protocolVersion"] >= "2025-11-25")


@pytest.mark.parametrize("revision", EVERY)
@pytest.mark.requirement("15.1", "15.2", "16.3")
async def test_pages_join_to_the_whole(stack: Stack, token: str, revision: str) -> None:
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await ask(stack, token, "resources/templates/list", cursor, revision)
        seen += [one["uriTemplate"] for one in page["resourceTemplates"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
        bob = await stack.token("bob")
        for who, method in ((bob, "resources/templates/list"), (token, "tools/list")):
            assert (await ask(stack, who, method, cursor, revision))["code"] == -32602
    assert seen == ["item://{number}{?detail}", "many://{+path}", "locked://{id}"]


@pytest.mark.parametrize("revision", EVERY)
@pytest.mark.requirement("9.3", "9.4", "16.4")
async def test_resources_are_read(stack: Stack, token: str, revision: str) -> None:
    async def contents(uri: str) -> list[dict[str, Any]]:
        found = await ask(stack, token, "resources/read", {"uri": uri}, revision)
        assert ("cacheScope" in found) is (revision == wire.MODERN)
        if revision == wire.MODERN:
            assert found["cacheScope"] == ("public" if uri.startswith("many:") else "private")
        read: list[dict[str, Any]] = found["contents"]
        return read

    assert await contents("fixed://text") == [{"uri": "fixed://text", "text": "text", "mimeType": "text/plain"}]
    (found,) = await contents("bytes://all")
    assert base64.b64decode(found["blob"]) == b"\x00\xff"
    assert found["mimeType"] == "application/pdf"
    (found,) = await contents("item://7?detail=true")
    assert msgspec.json.decode(found["text"]) == {"number": 7, "detail": True, "who": "alice"}
    assert [one["uri"] for one in await contents("many://a/b")] == ["many://a/b/0", "many://a/b/1"]


@pytest.mark.parametrize("revision", EVERY)
@pytest.mark.parametrize(
    "uri", ["none://x", "item://0", "item://3", "item://word", "item://7?detail=perhaps", "item://7/8"]
)
@pytest.mark.requirement("9.5")
async def test_what_is_not_there_is_not_found(stack: Stack, token: str, revision: str, uri: str) -> None:
    error = await ask(stack, token, "resources/read", {"uri": uri}, revision)
    assert error["code"] == (-32602 if revision == wire.MODERN else -32002)
    assert error["data"] == {"uri": uri}


@pytest.mark.requirement("1.18", "8.14")
async def test_how_resources_and_prompts_fail(stack: Stack, token: str) -> None:
    crashed = await ask(stack, token, "resources/read", {"uri": "item://1"})
    assert (crashed["code"], crashed["message"], crashed["status"]) == (-32603, "Internal error", 200)
    assert (await ask(stack, token, "resources/read", {"uri": "item://2"}))["message"] == "not today"
    assert (await ask(stack, token, "resources/read", {"uri": 5}, "2025-11-25"))["code"] == -32602
    for how, code in (("crash", -32603), ("tool", -32603), ("capability", -32021)):
        failed = await ask(stack, token, "prompts/get", {"name": "whole", "arguments": {"how": how}})
        assert failed["code"] == code
        assert "secret" not in str(failed)
    assert (await ask(stack, token, "tools/call", {"name": "crash", "arguments": {"how": "protocol"}}))[
        "code"
    ] == -31234
    crashed = await ask(stack, token, "tools/call", {"name": "crash", "arguments": {"how": "x"}})
    assert crashed["isError"] is True
    assert "secret" not in str(crashed)


@pytest.mark.parametrize("revision", EVERY)
@pytest.mark.requirement("10.2", "10.4")
async def test_prompts_are_filled_in(stack: Stack, token: str, revision: str) -> None:
    arguments = {"code": "x", "level": "full", "colour": "green", "times": "3"}
    got = await ask(stack, token, "prompts/get", {"name": "review", "arguments": arguments}, revision)
    assert got["messages"] == [{"role": "user", "content": {"type": "text", "text": "x full green 3"}}]
    assert got["description"] == "Review code."
    got = await ask(stack, token, "prompts/get", {"name": "whole"}, revision)
    assert got["description"] == "chosen"
    assert got["_meta"]["example.org/a"] == 1
    writer = await stack.token("bob", "mcp:read mcp:write")
    got = await ask(stack, writer, "prompts/get", {"name": "several"}, revision)
    assert got["messages"][0]["content"]["type"] == ("text" if revision == "2025-03-26" else "resource_link")
    assert got["messages"][1]["content"]["text"] == "plain"


@pytest.mark.parametrize(
    "params",
    [
        {"name": "none"},
        {},
        {"name": 5},
        {"name": "review"},
        {"name": "review", "arguments": {"code": "x"}},
        {"name": "review", "arguments": {"code": "x", "level": "odd"}},
        {"name": "review", "arguments": {"code": "x", "level": "full", "times": "many"}},
        {"name": "review", "arguments": {"code": "x", "level": "full", "unknown": "1"}},
        {"name": "review", "arguments": {"code": 5, "level": "full"}},
        {"name": "review", "arguments": []},
    ],
)
@pytest.mark.requirement("10.3", "10.6")
async def test_bad_prompts_are_refused(stack: Stack, token: str, params: dict[str, Any]) -> None:
    assert (await ask(stack, token, "prompts/get", params, "2025-11-25"))["code"] == -32602


@pytest.mark.parametrize(
    ("ref", "argument", "values", "more"),
    [
        ({"type": "ref/prompt", "name": "review"}, ("level", "f"), ["full"], False),
        ({"type": "ref/prompt", "name": "review"}, ("colour", ""), ["red", "green"], False),
        ({"type": "ref/prompt", "name": "review"}, ("none", ""), [], False),
        ({"type": "ref/prompt", "name": "review"}, ("code", "a"), ["afull"], False),
        ({"type": "ref/resource", "uri": "item://{number}{?detail}"}, ("number", "99"), ["99", *[f"99{n}" for n in range(10)]], False),
        ({"type": "ref/resource", "uri": "many://{+path}"}, ("path", ""), [], False),
    ],
)  # fmt: skip
@pytest.mark.requirement("11.1", "11.2")
async def test_arguments_are_completed(
    stack: Stack, token: str, ref: Any, argument: tuple[str, str], values: list[str], more: bool
) -> None:
    params = {
        "ref": ref,
        "argument": {"name": argument[0], "value": argument[1]},
        "context": {"arguments": {"level": "full"}},
    }
    for revision in EVERY:
        found = (await ask(stack, token, "completion/complete", params, revision))["completion"]
        assert (found["values"], found.get("hasMore")) == (values, more)


async def test_what_has_no_json_form_is_an_error_and_not_silence(stack: Stack, token: str) -> None:
    params: dict[str, Any] = {"name": "crash", "arguments": {"how": "surrogate"}}
    assert (await ask(stack, token, "tools/call", params))["isError"] is True
    message = wire.modern("tools/call", params)
    message["params"]["_meta"]["progressToken"] = "p"
    streamed = await stack.post(message, token, **wire.headers("tools/call", "crash"))
    assert streamed.headers["content-type"] == "text/event-stream"
    assert '"isError":true' in streamed.text
    message = wire.modern("tools/call", {"name": "crash", "arguments": {"how": "notes"}})
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"elicitation": {}}
    noted = await stack.post(message, token, **wire.headers("tools/call", "crash"))
    assert (noted.status_code, noted.json()["error"]["code"]) == (200, -32603)


async def test_a_completion_never_asks(stack: Stack, token: str) -> None:
    params = {"ref": {"type": "ref/prompt", "name": "review"}, "argument": {"name": "times", "value": ""}}
    message = wire.modern("completion/complete", params)
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"roots": {}}
    answer = await stack.post(message, token, **wire.headers("completion/complete"))
    assert answer.json()["error"]["code"] == -32603


@pytest.mark.parametrize("place", [b'"elicitation"', b'"q1"', b'"eu"', b'"region"', b'"x"'])
@pytest.mark.parametrize("spoiled", [b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800"'])
@pytest.mark.requirement("7.8")
async def test_texts_that_are_no_utf8_are_refused_wherever_they_stand(
    stack: Stack, token: str, place: bytes, spoiled: bytes
) -> None:
    params = {"name": "headers", "arguments": {"region": "eu"}, "inputResponses": {"q1": "x"}}
    message = wire.modern("tools/call", params)
    message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = {"elicitation": {}}
    body = msgspec.json.encode(message).replace(place, spoiled)
    answer = await stack.post(body, token, **wire.headers("tools/call", "headers"), mcp_param_region="eu")
    assert (answer.status_code, answer.json()) == (400, {"jsonrpc": "2.0", "error": PARSE_ERROR})


@pytest.mark.requirement("11.3", "11.4")
async def test_completion_is_cut_and_guarded(stack: Stack, token: str) -> None:
    ref = {"type": "ref/resource", "uri": "item://{number}{?detail}"}
    params: dict[str, Any] = {"ref": ref, "argument": {"name": "number", "value": ""}}
    found = (await ask(stack, token, "completion/complete", params))["completion"]
    assert (len(found["values"]), found["total"], found["hasMore"]) == (100, 1000, True)
    for odd in (
        {"type": "ref/prompt", "name": "none"},
        {"type": "ref/resource", "uri": "none://"},
        {"type": "ref/odd"},
        5,
    ):
        assert (await ask(stack, token, "completion/complete", params | {"ref": odd}))["code"] == -32602
    for kept in ({"type": "ref/prompt", "name": "several"}, {"type": "ref/resource", "uri": "locked://{id}"}):
        assert (await ask(stack, token, "completion/complete", params | {"ref": kept}))["status"] == 403


@pytest.mark.requirement("9.6", "10.6", "16.5")
async def test_scopes_guard_resources_and_prompts(stack: Stack, token: str) -> None:
    for method, params, scope in (
        ("resources/read", {"uri": "locked://1"}, "mcp:admin"),
        ("prompts/get", {"name": "several"}, "mcp:write"),
    ):
        name = params.get("uri") or params.get("name")
        answer = await stack.post(wire.modern(method, params), token, **wire.headers(method, name))
        assert answer.status_code == 403
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]
        stranger = await stack.post(wire.modern(method, params), None, **wire.headers(method, name))
        assert stranger.status_code == 401
    public = wire.modern("resources/read", {"uri": "many://x"})
    assert (await stack.post(public, None, **wire.headers("resources/read", "many://x"))).status_code == 200


HEADERS: list[tuple[dict[str, Any], dict[str, str], bool]] = [
    ({"region": "eu"}, {"Mcp-Param-Region": "eu"}, True),
    ({"region": "eu"}, {"mcp-param-region": "eu"}, True),
    ({"region": "Zürich"}, {"mcp-param-region": "=?base64?WsO8cmljaA==?="}, True),
    ({"region": ""}, {"mcp-param-region": ""}, True),
    ({"region": "eu", "unknown": 1}, {"mcp-param-region": "eu", "mcp-param-other": "x"}, True),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu", "mcp-param-number": "42"}, True),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu", "mcp-param-number": "42.0"}, True),
    ({"region": "eu", "number": None}, {"mcp-param-region": "eu"}, True),
    ({"region": "eu", "flag": True}, {"mcp-param-region": "eu", "mcp-param-flag": "true"}, True),
    ({"region": "eu", "nested": {"city": "x"}}, {"mcp-param-region": "eu", "mcp-param-city": "x"}, True),
    ({"region": "eu", "nested": None}, {"mcp-param-region": "eu"}, True),
    ({"region": "eu"}, {}, False),
    ({"region": "eu"}, {"mcp-param-region": "EU"}, False),
    ({"region": "eu"}, {"mcp-param-region": "=?base64?ZXU?="}, False),
    ({"region": "eu"}, {"mcp-param-region": "=?base64?Z!U=?="}, False),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu"}, False),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu", "mcp-param-number": "43"}, False),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu", "mcp-param-number": "4" * 99}, False),
    ({"region": "eu", "number": 42}, {"mcp-param-region": "eu", "mcp-param-number": "true"}, False),
    ({"region": "eu", "flag": True}, {"mcp-param-region": "eu", "mcp-param-flag": "True"}, False),
    ({"region": "eu", "flag": False}, {"mcp-param-region": "eu", "mcp-param-flag": "true"}, False),
    ({"region": "eu"}, {"mcp-param-region": "eu", "mcp-param-number": "5"}, False),
    ({"region": ["eu"]}, {"mcp-param-region": "eu"}, False),
    ({"region": "eu", "nested": {"city": "x"}}, {"mcp-param-region": "eu"}, False),
]


@pytest.mark.parametrize(("arguments", "fields", "good"), HEADERS)
@pytest.mark.requirement("3.11", "8.20", "8.22", "8.23", "8.24")
async def test_headers_repeat_parameters(
    stack: Stack, token: str, arguments: dict[str, Any], fields: dict[str, str], good: bool
) -> None:
    params = {"name": "headers", "arguments": arguments}
    sent = {name.replace("-", "_"): value for name, value in fields.items()}
    found = await ask(stack, token, "tools/call", params, **sent)
    assert (found.get("code"), found.get("status")) == ((None, None) if good else (-32020, 400)), found
    legacy = await ask(stack, token, "tools/call", params, "2025-11-25")
    assert "content" in legacy


async def test_headers_without_arguments(stack: Stack, token: str) -> None:
    found = await ask(stack, token, "tools/call", {"name": "headers"})
    assert found["isError"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"a": 5}, "5"), ({}, '"a" is a required property'), ({"a": "x"}, "a: ")],
)
async def test_a_schema_of_the_authors_judges(stack: Stack, token: str, arguments: Any, said: str) -> None:
    found = await ask(stack, token, "tools/call", {"name": "schemed", "arguments": arguments})
    assert said in found["content"][0]["text"]
    assert found.get("isError", False) is (arguments != {"a": 5})


@pytest.mark.requirement("8.2")
async def test_only_what_is_granted_is_listed_where_settings_say_so(tmp_path: Path) -> None:
    async with running_stack(tmp_path, server, list="granted") as stack:
        for user, scope, many_prompts in (("alice", "mcp:read", 2), ("bob", "mcp:read mcp:write", 3)):
            token = await stack.token(user, scope)
            assert len((await ask(stack, token, "prompts/list"))["prompts"]) == many_prompts
            templates = (await ask(stack, token, "resources/templates/list"))["resourceTemplates"]
            assert [one["uriTemplate"] for one in templates] == ["item://{number}{?detail}", "many://{+path}"]
        assert (await ask(stack, None, "prompts/list"))["prompts"] == []


@pytest.mark.requirement("8.12")
async def test_a_text_content_may_carry_hints() -> None:
    block = TextContent("x", meta={"example.org/a": 1})
    assert msgspec.json.encode(block) == b'{"type":"text","text":"x","_meta":{"example.org/a":1}}'


@pytest.mark.requirement("16.4")
async def test_what_may_depend_on_its_reader_is_private(stack: Stack, token: str) -> None:
    for who, text in ((token, "alice"), (None, "None")):
        found = await ask(stack, who, "resources/read", {"uri": "mine://whatever"})
        assert found["contents"][0]["text"] == text
        assert (found["cacheScope"], found["ttlMs"]) == ("private", 0)
    assert (await ask(stack, token, "resources/read", {"uri": "many://a"}))["cacheScope"] == "public"


@pytest.mark.requirement("8.14")
@pytest.mark.parametrize("tool", ["schemed", "headers"])
async def test_a_call_whose_arguments_are_no_object_is_malformed(stack: Stack, token: str, tool: str) -> None:
    found = await ask(stack, token, "tools/call", {"name": tool, "arguments": []}, "2025-11-25")
    assert found["code"] == -32602


@pytest.mark.requirement("12.4")
@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "server/discover"])
async def test_an_unknown_level_is_refused_whatever_is_asked(stack: Stack, token: str, method: str) -> None:
    message = wire.modern(method)
    message["params"]["_meta"][wire.PREFIX + "logLevel"] = "loud"
    answer = await stack.post(message, token, **wire.headers(method))
    assert answer.json()["error"]["code"] == -32602


@pytest.mark.requirement("8.21")
@pytest.mark.parametrize(("number", "good"), [(2**53 - 1, True), (2**53, False), (-(2**53), False)])
async def test_a_repeated_number_is_one_that_every_reader_reads_alike(
    stack: Stack, token: str, number: int, good: bool
) -> None:
    params = {"name": "headers", "arguments": {"region": "eu", "number": number}}
    found = await ask(stack, token, "tools/call", params, mcp_param_region="eu", mcp_param_number=str(number))
    assert found.get("code") == (None if good else -32020)
