"""Every row of the era table and of the error table that exists without streams, on the wire, in both eras."""

from typing import Any

import pytest

from mcp_server.protocol import revisions
from tests.kit import schema, wire
from tests.kit.stack import Stack

M = wire.MODERN
LIST = ("tools/list",)
META = "_meta"


def body(changed: dict[str, Any]) -> dict[str, Any]:
    return wire.modern("tools/list") | changed


def meta_of(**changed: Any) -> dict[str, Any]:
    whole = {"io.modelcontextprotocol/protocolVersion": M, "io.modelcontextprotocol/clientCapabilities": {}}
    return {"params": {META: {name: value for name, value in (whole | changed).items() if value is not ...}}}


VERSION, CAPABILITIES = wire.PREFIX + "protocolVersion", wire.PREFIX + "clientCapabilities"
H = wire.headers("tools/list")
WITHOUT_VERSION = {"mcp_method": "tools/list"}


def stated(version: str) -> dict[str, str]:
    return wire.headers("tools/list", version=version)


CALL = wire.modern("tools/call", {"name": "list_orders", "arguments": {}})
CALLED = wire.headers("tools/call", "list_orders")
INIT = wire.legacy("initialize", wire.INITIALIZE)

Row = tuple[str, Any, dict[str, str], int, int | None]
ROWS: list[Row] = [
    ("A modern", body({}), H, 200, None),
    ("A trace keys beside", body(meta_of(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")), H, 200, None),
    ("B header absent", body({}), WITHOUT_VERSION, 400, -32020),
    ("C other, known", body({}), stated("2025-11-25"), 400, -32020),
    ("C M unknown, H ours", body(meta_of(**{VERSION: "v999.0.0"})), H, 400, -32020),
    ("D unknown in both", body(meta_of(**{VERSION: "v999.0.0"})), stated("v999.0.0"), 400, -32022),
    ("E legacy in an envelope", body(meta_of(**{VERSION: "2025-11-25"})), stated("2025-11-25"), 400, -32022),
    ("F no _meta", wire.legacy("tools/list", {}), H, 400, -32602),
    ("F no params", wire.legacy("tools/list"), H, 400, -32602),
    ("F no version", body(meta_of(**{VERSION: ...})), H, 400, -32602),
    ("F no capabilities", body(meta_of(**{CAPABILITIES: ...})), H, 400, -32602),
    ("F capabilities a list", body(meta_of(**{CAPABILITIES: []})), H, 400, -32602),
    ("F version a number", body(meta_of(**{VERSION: 5})), H, 400, -32602),
    ("F version a number, no header", body(meta_of(**{VERSION: 5})), {}, 400, -32602),
    ("F _meta a list", wire.legacy("tools/list", {META: []}), H, 400, -32602),
    ("G legacy by header", wire.legacy("tools/list"), {"mcp_protocol_version": "2025-11-25"}, 200, None),
    ("G 2025-06-18", wire.legacy("tools/list"), {"mcp_protocol_version": "2025-06-18"}, 200, None),
    ("G only a progress token", wire.legacy("tools/list", {META: {"progressToken": 0}}), {"mcp_protocol_version": "2025-11-25"}, 200, None),
    ("H initialize", INIT, {}, 200, None),
    ("J nothing at all", wire.legacy("tools/list"), {}, 200, None),
    ("K unknown header", wire.legacy("tools/list"), {"mcp_protocol_version": "1900-01-01"}, 400, -32022),
    ("L array, no session", [wire.legacy("ping")], {}, 400, -32600),
    ("L array, 2025-11-25", [wire.legacy("ping")], {"mcp_protocol_version": "2025-11-25"}, 400, -32600),
    ("L array, modern", [wire.modern("tools/list")], H, 400, -32600),
    ("L array, unknown", [wire.legacy("ping")], {"mcp_protocol_version": "x"}, 400, -32022),
    ("L array, empty", [], {"mcp_protocol_version": "2025-03-26"}, 400, -32600),
    ("L array, too long", [wire.legacy("ping")] * 51, {"mcp_protocol_version": "2025-03-26"}, 400, -32600),
    ("modern initialize", wire.modern("initialize", wire.INITIALIZE), wire.headers("initialize"), 404, -32601),
    ("modern ping", wire.modern("ping"), wire.headers("ping"), 404, -32601),
    ("modern setLevel", wire.modern("logging/setLevel"), wire.headers("logging/setLevel"), 404, -32601),
    ("modern subscribe", wire.modern("resources/subscribe"), wire.headers("resources/subscribe"), 404, -32601),
    ("modern unsubscribe", wire.modern("resources/unsubscribe"), wire.headers("resources/unsubscribe"), 404, -32601),
    ("modern unknown", wire.modern("unknown/method"), wire.headers("unknown/method"), 404, -32601),
    ("not advertised", wire.modern("prompts/list"), wire.headers("prompts/list"), 404, -32601),
    ("legacy unknown", wire.legacy("unknown/method"), {}, 200, -32601),
    ("legacy discover", wire.legacy("server/discover"), {"mcp_protocol_version": "2025-11-25"}, 200, -32601),
    ("Mcp-Method absent", body({}), {"mcp_protocol_version": M}, 400, -32020),
    ("Mcp-Method other", body({}), wire.headers("tools/call"), 400, -32020),
    ("Mcp-Method in capitals", body({}), wire.headers("TOOLS/LIST"), 400, -32020),
    ("Mcp-Name absent", CALL, wire.headers("tools/call"), 400, -32020),
    ("Mcp-Name other", CALL, wire.headers("tools/call", "get_order"), 400, -32020),
    ("Mcp-Name in capitals", CALL, wire.headers("tools/call", "LIST_ORDERS"), 400, -32020),
    ("Mcp-Name in Base64", CALL, wire.headers("tools/call", "=?base64?bGlzdF9vcmRlcnM=?="), 200, None),
    ("Mcp-Name in bad Base64", CALL, wire.headers("tools/call", "=?base64?bGlzdF9vcmRlcnM?="), 400, -32020),
    ("Mcp-Name with foreign letters", CALL, wire.headers("tools/call", "=?base64?bGl!!!c=?="), 400, -32020),
    ("Mcp-Name with capital marker", CALL, wire.headers("tools/call", "=?BASE64?bGlzdF9vcmRlcnM=?="), 400, -32020),
    ("Mcp-Name for prompts", wire.modern("prompts/get", {"name": "p"}), wire.headers("prompts/get"), 400, -32020),
    ("Mcp-Name for resources", wire.modern("resources/read", {"uri": "a:b"}), wire.headers("resources/read", "a:c"), 400, -32020),
    ("Mcp-Name elsewhere is ignored", body({}), wire.headers("tools/list", "x"), 200, None),
    ("not JSON", b"{", {}, 400, -32700),
    ("empty", b"", {}, 400, -32700),
    ("not UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', {}, 400, -32700),
    ("a text", b'"hello"', {}, 400, -32600),
    ("null", b"null", {}, 400, -32600),
    ("no jsonrpc", {"id": 1, "method": "ping"}, {}, 400, -32600),
    ("jsonrpc 1.0", wire.legacy("ping") | {"jsonrpc": "1.0"}, {}, 400, -32600),
    ("id null", wire.legacy("ping", request_id=None), {}, 400, -32600),
    ("id true", wire.legacy("ping", request_id=True), {}, 400, -32600),
    ("id a fraction", wire.legacy("ping", request_id=1.5), {}, 400, -32600),
    ("id a list", wire.legacy("ping", request_id=[1]), {}, 400, -32600),
    ("method a number", wire.legacy("ping") | {"method": 1}, {}, 400, -32600),
    ("params a list", wire.legacy("ping") | {"params": []}, {}, 400, -32600),
    ("params a text", wire.legacy("ping") | {"params": "x"}, {}, 400, -32600),
    ("neither method nor result", {"jsonrpc": "2.0", "id": 1}, {}, 400, -32600),
    ("result and error", {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, {}, 400, -32600),
    ("a response in the modern era", {"jsonrpc": "2.0", "id": 1, "result": {}}, {"mcp_protocol_version": M}, 400, -32600),
    ("nested endlessly", b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}", {}, 400, -32600),
    ("unknown tool", wire.modern("tools/call", {"name": "no"}), wire.headers("tools/call", "no"), 200, -32602),
    ("unknown tool, legacy", wire.legacy("tools/call", {"name": "no"}), {}, 200, -32602),
    ("no tool name", wire.modern("tools/call", {}), wire.headers("tools/call", "x"), 200, -32602),
    ("tool name a number", wire.legacy("tools/call", {"name": 1}), {}, 200, -32602),
    ("bad cursor", wire.modern("tools/list", {"cursor": "x"}), H, 200, -32602),
    ("empty cursor", wire.modern("tools/list", {"cursor": ""}), H, 200, -32602),
    ("cursor a number", wire.legacy("tools/list", {"cursor": 1}), {}, 200, -32602),
    ("progress token a list, legacy", wire.legacy("tools/list", {META: {"progressToken": []}}), {}, 200, -32602),
    ("initialize without params", wire.legacy("initialize"), {}, 200, -32602),
    ("bad arguments, 2025-06-18", wire.legacy("tools/call", {"name": "get_order", "arguments": {}}), {"mcp_protocol_version": "2025-06-18"}, 200, -32602),
    ("arguments a list, 2025-06-18", wire.legacy("tools/call", {"name": "get_order", "arguments": []}), {"mcp_protocol_version": "2025-06-18"}, 200, -32602),
]  # fmt: skip


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("carol", "mcp:read mcp:write mcp:admin")


@pytest.mark.parametrize(
    ("message", "headers", "status", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
@pytest.mark.requirement(
    "1.3",
    "1.4",
    "1.6",
    "1.7",
    "2.1",
    "2.5",
    "3.1",
    "3.2",
    "3.3",
    "3.5",
    "3.7",
    "3.8",
    "3.9",
    "3.10",
    "4.1",
    "4.2",
    "4.3",
    "5.10",
    "5.11",
    "7.1",
    "7.2",
    "8.14",
)
async def test_a_row(
    stack: Stack, token: str, message: Any, headers: dict[str, str], status: int, code: int | None
) -> None:
    answer = await stack.post(message, token, **headers)
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert said.get("error", {}).get("code") == code
    given = message.get("id") if isinstance(message, dict) else None
    readable = isinstance(given, str | int) and not isinstance(given, bool)
    assert said.get("id", ...) == (given if readable else ...)
    revision = headers.get("mcp_protocol_version", "2025-11-25")
    if revision not in revisions.LEGACY + revisions.MODERN:
        revision = M
    schema.check(said, message.get("method", "") if isinstance(message, dict) else "", revision)


@pytest.mark.parametrize("version", ["v999.0.0", "2025-11-25", ""])
@pytest.mark.requirement("1.5", "1.8", "1.9", "1.10")
async def test_an_unsupported_version_is_echoed_with_what_discover_supports(
    stack: Stack, token: str, version: str
) -> None:
    answer = (await stack.post(body(meta_of(**{VERSION: version})), token, **stated(version))).json()
    found = (await stack.post(wire.modern("server/discover"), token, **wire.headers("server/discover"))).json()
    assert answer["error"]["data"] == {"supported": found["result"]["supportedVersions"], "requested": version}


@pytest.mark.parametrize("name", ["mcp-method", "mcp-protocol-version", "mcp-name"])
@pytest.mark.requirement("3.12")
async def test_a_transport_header_sent_twice_is_a_mismatch(stack: Stack, token: str, name: str) -> None:
    sent = [(key.replace("_", "-"), value) for key, value in CALLED.items()]
    sent += [(key, value) for key, value in sent if key == name]
    sent += [("authorization", f"Bearer {token}"), ("content-type", "application/json")]
    answer = await stack.http.post(stack.resource, json=CALL, headers=sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("asked", [*revisions.LEGACY, M, "1999-01-01"])
@pytest.mark.requirement("1.15", "5.12")
async def test_initialize_agrees_on_the_asked_revision_or_our_newest(stack: Stack, token: str, asked: str) -> None:
    answer = await stack.post(wire.legacy("initialize", wire.INITIALIZE | {"protocolVersion": asked}), token)
    agreed = asked if asked in revisions.LEGACY else "2025-11-25"
    assert answer.json()["result"]["protocolVersion"] == agreed
    assert all(0x21 <= ord(letter) <= 0x7E for letter in answer.headers["mcp-session-id"])
    schema.check(answer.json(), "initialize", agreed)


@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call"])
@pytest.mark.requirement("6.1", "6.3", "7.4", "16.1")
async def test_modern_results_carry_their_envelope(stack: Stack, token: str, method: str) -> None:
    name = "list_orders" if method == "tools/call" else None
    message = wire.modern(method, {"name": name} if name else {})
    result = (await stack.post(message, token, **wire.headers(method, name))).json()["result"]
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "orders"
    if method != "tools/call":
        assert (result["cacheScope"], result["ttlMs"]) == ("private", 60_000)
    schema.check({"result": result}, method, M)


@pytest.mark.parametrize("revision", revisions.LEGACY)
@pytest.mark.requirement("5.14", "5.18", "8.10")
async def test_legacy_results_hold_what_their_revision_knows(stack: Stack, token: str, revision: str) -> None:
    headers = {"mcp_protocol_version": revision}
    listed = (await stack.post(wire.legacy("tools/list"), token, **headers)).json()
    called = (
        await stack.post(
            wire.legacy("tools/call", {"name": "get_order", "arguments": {"order_id": 1}}), token, **headers
        )
    ).json()
    schema.check(listed, "tools/list", revision)
    schema.check(called, "tools/call", revision)
    listing = wire.legacy("tools/call", {"name": "list_orders", "arguments": {}})
    orders = (await stack.post(listing, token, **headers)).json()
    schema.check(orders, "tools/call", revision)
    structured = revision != "2025-03-26"
    assert any("outputSchema" in tool for tool in listed["result"]["tools"]) is structured
    assert ("structuredContent" in called["result"]) is structured
    if structured:  # a list is no object: without this Gemini CLI refuses the result that it then makes itself
        assert orders["result"]["structuredContent"]["result"][0]["item"] == "teapot"
    assert not {"resultType", "_meta", "ttlMs"} & (set(listed["result"]) | set(called["result"]))
    assert (await stack.post(wire.legacy("ping"), token, **headers)).json()["result"] == {}


@pytest.mark.requirement("5.19", "8.14", "8.27")
async def test_an_argument_error_tells_the_model_which_field_and_why(stack: Stack, token: str) -> None:
    arguments = {"item": "cup", "quantity": 0}
    message = wire.modern("tools/call", {"name": "create_order", "arguments": arguments})
    result = (await stack.post(message, token, **wire.headers("tools/call", "create_order"))).json()["result"]
    assert result["isError"] is True
    assert result["content"][0]["text"] == "Invalid arguments for create_order: quantity: Expected `int` >= 1"


async def test_a_tools_own_error_is_a_result(stack: Stack, token: str) -> None:
    message = wire.modern("tools/call", {"name": "get_order", "arguments": {"order_id": 999}})
    result = (await stack.post(message, token, **wire.headers("tools/call", "get_order"))).json()["result"]
    assert (result["isError"], result["content"][0]["text"]) == (True, "There is no order 999.")


@pytest.mark.parametrize(
    ("message", "headers", "status"),
    [
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, {"mcp_protocol_version": "2025-11-25"}, 202),
        ({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}, {}, 202),
        ({"jsonrpc": "2.0", "method": "notifications/cancelled"}, {"mcp_protocol_version": M}, 202),
        ({"jsonrpc": "2.0", "id": 7, "result": {}}, {"mcp_protocol_version": "2025-11-25"}, 202),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, {"mcp_protocol_version": "1900-01-01"}, 400),
    ],
)
@pytest.mark.requirement("2.6", "4.4", "5.5")
async def test_what_needs_no_answer_gets_none(
    stack: Stack, token: str, message: Any, headers: dict[str, str], status: int
) -> None:
    answer = await stack.post(message, token, **headers)
    assert answer.status_code == status
    assert (answer.content == b"") is (status == 202)


@pytest.mark.requirement("5.11")
async def test_a_batch_of_the_oldest_revision_is_answered_item_by_item(stack: Stack, token: str) -> None:
    batch = [
        wire.legacy("ping", request_id="a"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"id": 5},
        wire.legacy("initialize", wire.INITIALIZE, 6),
    ]
    answers = (await stack.post(batch, token, mcp_protocol_version="2025-03-26")).json()
    assert [(one.get("id"), one.get("error", {}).get("code")) for one in answers] == [
        ("a", None),
        (5, -32600),
        (6, -32600),
    ]


async def test_a_batch_with_a_call_beyond_the_scopes_runs_nothing(stack: Stack) -> None:
    alice = await stack.token("alice")
    carol = await stack.token("carol", "mcp:admin")
    count = wire.legacy("tools/call", {"name": "list_orders"})
    before = (await stack.post(count, carol)).text
    create = wire.legacy("tools/call", {"name": "create_order", "arguments": {"item": "x", "quantity": 1}})
    answer = await stack.post([wire.legacy("ping"), create], alice, mcp_protocol_version="2025-03-26")
    assert answer.status_code == 403
    assert (await stack.post(count, carol)).text == before


async def test_notifications_alone_in_a_batch_are_accepted(stack: Stack, token: str) -> None:
    batch = [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    assert (await stack.post(batch, token, mcp_protocol_version="2025-03-26")).status_code == 202


@pytest.mark.requirement("5.2", "5.3", "5.4", "5.17", "25.31", "27.1")
async def test_a_session_belongs_to_the_principal_that_opened_it(stack: Stack, token: str) -> None:
    old = wire.legacy("initialize", wire.INITIALIZE | {"protocolVersion": "2025-03-26"})
    session = (await stack.post(old, token)).headers["mcp-session-id"]
    mine = {"mcp_session_id": session}
    assert (await stack.post([wire.legacy("ping")], token, **mine)).status_code == 200  # row I and L
    other = await stack.token("alice")
    assert (await stack.post(wire.legacy("ping"), other, **mine)).status_code == 404
    assert (await stack.post(wire.legacy("ping"), token, mcp_session_id="unknown")).status_code == 404
    assert (await stack.post(wire.legacy("ping"), token, mcp_session_id="x" * 300)).status_code == 404
    send = {"authorization": f"Bearer {other}", "mcp-session-id": session}
    assert (await stack.http.delete(stack.resource, headers=send)).status_code == 404
    send["authorization"] = f"Bearer {token}"
    assert (await stack.http.delete(stack.resource, headers=send)).status_code == 204
    assert (await stack.post(wire.legacy("ping"), token, **mine)).status_code == 404
    del send["mcp-session-id"]
    assert (await stack.http.delete(stack.resource, headers=send)).status_code == 400


async def test_carol_deletes_what_is_there(stack: Stack, token: str) -> None:
    def delete(number: int) -> Any:
        message = wire.modern("tools/call", {"name": "delete_order", "arguments": {"order_id": number}})
        return stack.post(message, token, **wire.headers("tools/call", "delete_order"))

    assert (await delete(2)).json()["result"]["content"][0]["text"] == "Order 2 is deleted."
    assert (await delete(2)).json()["result"]["isError"] is True


@pytest.mark.requirement("5.10")
async def test_where_nothing_names_a_revision_it_is_the_oldest(stack: Stack, token: str) -> None:
    call = wire.legacy("tools/call", {"name": "get_order", "arguments": {"order_id": 1}})
    for fields, structured in (({}, False), ({"mcp_protocol_version": "2025-11-25"}, True)):
        answer = await stack.post(call, token, **fields)
        assert ("structuredContent" in answer.json()["result"]) is structured
