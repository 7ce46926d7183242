"""Headers that a handler sends to an API: its own, and none that frames the request or says as whom it is made."""

from pathlib import Path
from typing import Any

import pytest

from mcp_server import ToolError
from mcp_server.authoring.context import TaskRequest
from mcp_server.rest.offer.guards.spellings import MAX_NAMES
from tests.kit.handling import OK, ORDER, Handled, incoming, sent
from tests.kit.imports import Desk, document
from tests.kit.upstreams import api

KEY = {"mode": "secret", "secret": "k", "header": "X-Own-Key"}
KEYED = document(
    ORDER, components={"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}}
)


async def test_a_handler_sends_headers_of_its_own(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            headers = {"If-Match": '"v1"', "X-Note": "é, and\ta tab", "Prefer": ""}
            await handled.context().upstream("shop").request("DELETE", "/orders/7", headers=headers)
    fields = sent(upstream)
    assert (fields["if-match"], fields["x-note"], fields["prefer"]) == ('"v1"', "é, and\ta tab", "")
    assert (fields["authorization"], fields["accept"]) == ("Bearer token-1", "*/*")


@pytest.mark.parametrize(
    ("headers", "accept", "kind"),
    [
        ({}, "*/*", "application/json"),
        ({"ACCEPT": "text/csv"}, "text/csv", "application/json"),
        ({"Content-Type": "application/merge-patch+json"}, "*/*", "application/merge-patch+json"),
        ({"content-type": "application/vnd.api+json; ext=x"}, "*/*", "application/vnd.api+json; ext=x"),
    ],
)
async def test_its_words_on_the_body_stand_in_place_of_ours(
    tmp_path: Path, headers: dict[str, str], accept: str, kind: str
) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            await handled.context().upstream("shop").request("PATCH", "/orders/7", body={"n": None}, headers=headers)
    head = upstream.seen[0].head.decode().lower()
    assert (sent(upstream)["accept"], sent(upstream)["content-type"]) == (accept, kind)
    assert (head.count("\r\naccept: "), head.count("\r\ncontent-type: ")) == (1, 1)
    assert upstream.seen[0].body == b'{"n":null}'


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "cookie", "DPoP", "Proxy-Authorization", "proxy-connection", "Host", "Content-Length",
        "Transfer-Encoding", "Content-Encoding", "Accept-Encoding", "Connection", "Keep-Alive", "TE", "Trailer",
        "Upgrade", "Expect", "HTTP2-Settings", "Forwarded", "Via", "X-Forwarded-For", "Sec-Fetch-Site",
        # as CGI reads them
        "content_length", "X_Forwarded_Host",
        # another request than its line says
        "X-HTTP-Method-Override", "x_http_method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-Real-IP",
        # as whom: by the operator's word, and the document's
        "X-Own-Key", "x_own_key", "X-Api-Key", "x_api_key", "X-Tenant",
    ],
)  # fmt: skip
async def test_a_header_that_is_this_servers_to_say_is_not_sent(tmp_path: Path, name: str) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk(), spec=KEYED, identity={**KEY, "forward": ["X-Tenant"]})
        async with handled.open:
            with pytest.raises(ValueError, match=f"^header '{name}' is not a handler's to send"):
                await handled.context().upstream("shop").request("GET", "/orders/7", headers={name: "1"})
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("headers", "raised", "text"),
    [
        ({"X-Note": "a\r\nAuthorization: Bearer mine"}, ToolError, "X-Note: must have no line breaks"),
        ({"X-Note": "a\nb"}, ToolError, "X-Note: must have no line breaks"),
        ({"X-Note": "a\x00b"}, ToolError, "X-Note: must have no line breaks"),
        ({"X-Note": "\ud800"}, ToolError, "X-Note: "),
        ({"X-Note": "a" * 20_000}, ToolError, "X-Note: over 16384 characters"),
        ({"X-Note\r\nHost": "a"}, ValueError, "no name of a header"),
        ({"X Note": "a"}, ValueError, "no name of a header"),
        ({"": "a"}, ValueError, "no name of a header"),
        ({"X-Note": 7}, TypeError, "header 'X-Note': the value is a text, and not int"),
        ({"X-Note": None}, TypeError, "and not NoneType"),
        ({"X-Note": b"a"}, TypeError, "and not bytes"),
        ({"Content-Type": "text/csv"}, ValueError, "a body is sent as JSON, and 'text/csv' is none"),
    ],
)
async def test_what_is_no_header_is_told_to_whose_it_is(tmp_path: Path, headers: Any, raised: Any, text: str) -> None:
    """A value may be an argument, so the model hears of it; a name or a type is the author's, and is in the log."""
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, desk := Desk())
        async with handled.open:
            with pytest.raises(raised, match=text) as caught:
                await handled.context().upstream("shop").request("POST", "/orders", body=1, headers=headers)
    assert type(caught.value) is raised
    assert (desk.asked, upstream.seen) == ([], [])


IN_QUERY = document(
    ORDER, components={"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}}
)


@pytest.mark.parametrize(
    "query",
    [
        {"api_key": "mine"}, {"API-Key": "mine"}, {"api_key[]": "mine"}, {"api%5Fkey": "mine"},
        {"filter": {"api_key": "mine"}},  # a value that a model has made: its members are names of the query
        {"_method": "DELETE"}, {"filter": {"_method": "DELETE"}},
    ],
)  # fmt: skip
async def test_no_name_of_a_query_stands_beside_the_apis_key_or_says_a_method(tmp_path: Path, query: Any) -> None:
    """Of two keys an API may take the first."""
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk(), spec=IN_QUERY, identity={"mode": "secret", "secret": "k"})
        async with handled.open:
            shop = handled.context().upstream("shop")
            with pytest.raises(ToolError, match=r"^query: no member .*: '(api_key|_method)' is this server's"):
                await shop.request("GET", "/orders/7", query=query)
            await shop.get("/orders/7", key="a", filter={"method": "b"})
    (asked,) = upstream.seen
    assert asked.head.startswith(b"GET /v1/orders/7?key=a&method=b&api_key=s3cret HTTP/1.1")


@pytest.mark.parametrize("nested", [False, True])
async def test_a_query_has_no_more_names_than_are_looked_at(tmp_path: Path, nested: bool) -> None:
    many = {f"a{number}": 1 for number in range(MAX_NAMES + 1)}
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            with pytest.raises(ToolError, match=f"^(query|filter): over {MAX_NAMES} members, or"):
                await handled.context().upstream("shop").get("/orders/7", **({"filter": many} if nested else many))
    assert upstream.seen == []


async def test_no_member_of_a_body_says_another_method(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            with pytest.raises(ToolError, match=r"^body: no member '_Method': the method is said by itself"):
                await handled.context().upstream("shop").post("/orders", {"a": 1, "_Method": "DELETE"})
    assert upstream.seen == []


async def test_a_key_of_the_handlers_own_stands_in_a_task(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            shop = handled.context(request=TaskRequest(incoming(), "task-1", 1)).upstream("shop")
            await shop.request("POST", "/orders", body={}, headers={"Idempotency-Key": "mine"})
            assert sent(upstream)["idempotency-key"] == "mine"
            await shop.post("/orders", {})
            assert sent(upstream)["idempotency-key"] == "task-1"
