"""What an author calls of an API, and what a document or a path may not do."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TextIO

import msgspec
import pytest

from mcp_server import NeedsScopes, ToolError
from mcp_server.authoring.errors import SessionEnded
from mcp_server.rest.exchange import NoAccess
from mcp_server.rest.model import UnusableDocument
from tests.kit.contexts import context
from tests.kit.handling import OK, ORDER, Handled, called, sent
from tests.kit.imports import Desk, document, get, in_path
from tests.kit.logs import written_since
from tests.kit.principals import principal
from tests.kit.upstreams import answers, api


def needing(lacks: str) -> AbstractContextManager[Any]:
    """Within it the scopes are asked for that are lacking, if any are."""
    return pytest.raises(NeedsScopes, match=f"needs {lacks}$") if lacks else nullcontext()


async def test_a_handler_calls_the_api_by_its_methods(tmp_path: Path) -> None:
    desk = Desk()
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, desk)
        async with handled.open:
            shop = handled.context().upstream("shop")
            answer = await shop.get("/orders/7", q=["a b", "c"], none=None)
            assert (answer.status, answer.json(), answer.text) == (200, {"id": 7}, '{"id": 7}')
            assert answer.headers["content-type"] == "application/json"
            assert sent(upstream)["asked"] == "GET /v1/orders/7?q=a%20b&q=c HTTP/1.1"
            for method in ("post", "put", "patch"):
                await getattr(shop, method)("/orders", {"a": 1}, dry=True)
                assert sent(upstream)["asked"] == f"{method.upper()} /v1/orders?dry=true HTTP/1.1"
                assert upstream.seen[-1].body == b'{"a":1}'
            await shop.delete("/orders/7")
            assert sent(upstream)["asked"].startswith("DELETE")
            with pytest.raises(ToolError, match="what was not expected"):
                answer.json(list[int])


class Over(Desk):
    """Of a caller whose session is over."""

    async def headers(self, *_: object, **__: object) -> NoReturn:
        refused = NoAccess("session_ended")
        refused.ended = True
        raise refused


async def test_only_an_imported_tool_sends_the_client_for_another_token(tmp_path: Path) -> None:
    """A handler may have acted already, which a client that comes back would do twice: it is told in words."""
    async with api(OK) as upstream:
        with pytest.raises(SessionEnded, match=r"^Your session has ended; sign in again\.$"):
            await called(tmp_path, upstream, desk=Over())
        handled = Handled(tmp_path, upstream, Over())
        async with handled.open:
            with pytest.raises(ToolError, match="sign in again") as raised:
                await handled.context().upstream("shop").get("/orders/7")
        assert type(raised.value) is ToolError
        assert upstream.seen == []


@pytest.mark.parametrize(
    ("path", "scopes", "asked"),
    [
        ("/orders/7", None, {"orders:read"}),
        ("/orders/mine", None, set()),  # needs what the caller lacks: the API says so itself
        ("orders/7", None, {"orders:read"}),
        ("//orders/7", None, {"orders:read"}),
        ("/elsewhere", None, set()),  # not in the document: nothing, and the author is told
        ("/orders/7/lines", None, set()),
        ("/orders/7", {"x"}, {"x"}),
        ("/elsewhere", {"x"}, {"x"}),
    ],
)
async def test_a_handlers_call_takes_no_more_than_it_needs(
    tmp_path: Path, path: str, scopes: Any, asked: Any, log_file: TextIO
) -> None:
    desk, before = Desk(), log_file.tell()
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, desk)
        async with handled.open:
            await handled.context().upstream("shop").request("GET", path, scopes=scopes)
    assert desk.asked[0][0].wanted.scopes == asked
    told = written_since(log_file, before)
    assert ("no operation of the document" in told) is (scopes is None and "mine" not in path and not asked)


WIDE = {
    **ORDER,
    "/products": get("list_products", "products:read"),
    "/stock": get("stock", "stock:read"),
    "/health": get("health", "orders:read"),
    "/open": get("open"),
}


@pytest.mark.parametrize(
    ("path", "table", "asked", "mode"),
    [
        ("/products", {"include": ["id:get_order"]}, {"products:read"}, "exchange"),
        ("/products", {"exclude": ["id:list_products"]}, {"products:read"}, "exchange"),
        ("/products", {"exclude": ["id:list_products"], "list": "search"}, {"products:read"}, "exchange"),
        ("/products", {"operations": {"list_products": {"as": "resource"}}}, {"products:read"}, "exchange"),
        ("/open", {"include": ["id:get_order"]}, set(), "exchange"),
        # a forgotten line of the map refuses the tool, and a handler asks in the API's own words
        ("/stock", {"scopes": {"orders:*": "orders:read", "products:*": "products:read"}}, {"stock:read"}, "exchange"),
        # what mcp.toml says of an operation stands for calls of handlers, too
        ("/health", {"operations": {"health": {"identity": {"mode": "none"}}}}, {"orders:read"}, "none"),
        ("/health", {"exclude": ["id:health"], "operations": {"health": {"identity": {"mode": "none"}}}}, {"orders:read"}, "none"),
        ("/products", {"include": ["id:get_order"], "operations": {"list_products": {"scopes": ["stock:read"]}}}, {"products:read"}, "exchange"),
    ],
)  # fmt: skip
async def test_a_handler_may_call_an_operation_that_is_no_tool(
    tmp_path: Path, path: str, table: dict[str, Any], asked: Any, mode: str, log_file: TextIO
) -> None:
    """`include` says what a model sees: a call of the author's was made without scopes, and the log blamed the path."""
    desk, before = Desk(), log_file.tell()
    who = principal(scopes=("orders:read", "products:read", "stock:read"))
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, desk, spec=document(WIDE), **table)
        async with handled.open:
            await handled.context(who).upstream("shop").get(path)
    identity, *_ = desk.asked[0]
    assert (identity.wanted.scopes, identity.mode) == (asked, mode)
    assert "no operation of the document" not in written_since(log_file, before)


async def test_a_document_that_has_its_key_frame_the_request_is_refused(tmp_path: Path) -> None:
    for name in ("Host", "Content-Length", "transfer-encoding", "Proxy-Authorization"):
        scheme = {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": name}}}
        spec = document({"/orders/{id}": get("get_order", "", in_path("id"))}, components=scheme)
        async with api(OK) as upstream:
            with pytest.raises(UnusableDocument, match=rf"securitySchemes/key: its key .*'{name}', which frames"):
                await called(tmp_path, upstream, spec=spec, identity={"mode": "secret", "secret": "k"})


@pytest.mark.parametrize(
    "path", ["/a/..;/b", "/a/.;x", "/a/%2e%2e;/b", "/a?b=1", "/a#b", "/{a}", "/a\\b", "/a/../b", "/%2e%2e/b"]
)
async def test_a_path_that_would_leave_its_place_is_not_sent(tmp_path: Path, path: str) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            with pytest.raises(ToolError):
                await handled.context().upstream("shop").get(path)
        assert upstream.seen == []


async def test_what_is_no_success_is_a_tool_error_and_an_unknown_name_a_lookup_error(tmp_path: Path) -> None:
    async with api(answers(422, b'{"title": "n is 0"}', content_type="application/json")) as upstream:
        handled = Handled(tmp_path, upstream, Desk())
        async with handled.open:
            made = handled.context()
            with pytest.raises(ToolError, match="n is 0"):
                await made.upstream("shop").get("/orders/7")
            with pytest.raises(LookupError, match="no API 'other': there are shop"):
                made.upstream("other")
        with pytest.raises(LookupError, match="no API 'shop': there are none"):
            made.upstream("shop")
        with pytest.raises(LookupError, match="MCP_OPENAPI"):
            context().upstream("shop")


EXPORT = {**ORDER, "/orders/export": get("export_all", "orders:admin"), "/caf%C3%A9/{id}": get("cafe", "orders:admin", in_path("id"))}  # fmt: skip
SECRET = {"mode": "secret", "secret": "k", "header": "x-key"}
CREDENTIALS = {"mode": "client_credentials", "audience": "api"}
STATED = {"audience": "api", "scopes": ["orders:admin"]}


@pytest.mark.parametrize("identity", [SECRET, CREDENTIALS, STATED])
@pytest.mark.parametrize("path", ["/orders/export", "/orders/%65xport", "/orders/export/", "//orders/export"])
async def test_an_argument_does_not_pick_as_whom_a_handler_calls(
    tmp_path: Path, identity: Any, path: str, log_file: TextIO
) -> None:
    """`/orders/{quoted argument}` was another operation, and was called with that one's secret for whoever asked."""
    before, table = log_file.tell(), {"operations": {"export_all": {"identity": identity}}}
    async with api(OK, OK) as upstream:
        handled = Handled(tmp_path, upstream, desk := Desk(), spec=document(EXPORT), **table)
        async with handled.open:
            with pytest.raises(NeedsScopes, match="orders:admin"):
                await handled.context().upstream("shop").get(path)
            assert (desk.asked, upstream.seen) == ([], [])
            assert "whose scopes its caller lacks" in written_since(log_file, before)
            await handled.context().upstream("shop").get("/orders/7")
            admin = principal(scopes=("orders:admin",))
            await handled.context(admin).upstream("shop").get(path)
    assert [one.mode for one, *_ in desk.asked] == ["exchange", identity.get("mode", "exchange")]
    assert [one.wanted.scopes for one, *_ in desk.asked] == [{"orders:read"}, {"orders:admin"}]


@pytest.mark.parametrize("identity", [SECRET, CREDENTIALS, STATED])
async def test_a_head_is_a_get_of_which_the_content_is_left_out(tmp_path: Path, identity: Any) -> None:
    """RFC 9110 §9.3.2: what the document says of the GET goes for it, as whom it is called above all."""
    spec = document({**EXPORT, "/stock/{id}": {"head": get("stock", "orders:read", in_path("id"))["get"]}, "/stock/all": get("all_stock", "orders:admin")})  # fmt: skip
    async with api(answers(200, b"")) as upstream:
        handled = Handled(tmp_path, upstream, desk := Desk(), spec=spec, identity=identity)
        async with handled.open:
            shop = handled.context().upstream("shop")
            for path in ("/orders/export", "/orders/EXPORT", "/stock/all", "/stock/ALL"):
                with pytest.raises(NeedsScopes, match="orders:admin"):
                    await shop.request("HEAD", path)
            assert (desk.asked, upstream.seen) == ([], [])
            for path in ("/orders/7", "/stock/7"):
                await shop.request("HEAD", path)
    assert {one.wanted.scopes for one, *_ in desk.asked} == {frozenset(identity.get("scopes", ["orders:read"]))}


@pytest.mark.parametrize(
    ("path", "held", "table", "lacks"),
    [
        ("/orders/7", ["mcp:read"], {}, "orders:read"),
        ("/orders/7", ["orders:read"], {}, ""),
        ("/caf%c3%a9/7", ["orders:read"], {}, "orders:admin"),
        ("/orders/a%2Fexport", ["orders:read"], {}, ""),
        # what the document asks nothing for, and what it does not have, needs the default scopes
        ("/open", ["orders:read"], {}, "mcp:read"),
        ("/open", ["mcp:read"], {}, ""),
        ("/elsewhere", ["orders:read"], {}, "mcp:read"),
        ("/elsewhere", ["mcp:read"], {}, ""),
        # what the operator says of the operation stands for the document's word
        ("/orders/export", ["orders:read"], {"operations": {"export_all": {"scopes": ["orders:read"]}}}, ""),
        ("/orders/export", ["orders:read"], {"operations": {"export_all": {"public": True}}}, ""),
    ],
)
async def test_an_api_that_is_called_with_a_secret_asks_what_its_tools_ask(
    tmp_path: Path, path: str, held: list[str], table: Any, lacks: str
) -> None:
    spec = document({**EXPORT, "/open": get("open")})
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, desk := Desk(), spec=spec, identity=SECRET, **table)
        async with handled.open:
            shop = handled.context(principal(scopes=held)).upstream("shop")
            if lacks:
                with pytest.raises(NeedsScopes, match=f"needs {lacks}$"):
                    await shop.get(path)
            else:
                await shop.get(path)
    assert len(desk.asked) == len(upstream.seen) == (not lacks)


@pytest.mark.parametrize("identity", [SECRET, CREDENTIALS, STATED])
@pytest.mark.parametrize(
    ("order", "held", "lacks"),
    [
        ("export", ["orders:read"], "orders:admin"),
        ("EXPORT", ["orders:read"], "orders:admin"),  # to ASP.NET and Express
        ("export/", ["orders:read"], "orders:admin"),  # behind an nginx that rewrites
        ("//export", ["orders:read"], "orders:admin"),
        ("export;v=1", ["orders:read"], "orders:admin"),
        ("export.json", ["orders:read"], "orders:admin"),  # to Rails
        ("7.json", ["orders:read"], ""),
        (".json", ["orders:read"], ""),
        ("7/export", ["orders:read"], ""),
        ("%65xport", ["orders:read"], ""),  # encoded once more on its way, and no `export` to the API
        ("7", ["orders:read"], ""),
        ("export", ["orders:read", "orders:admin"], ""),
        ("exports", ["orders:read"], ""),
    ],
)
async def test_an_argument_does_not_make_an_imported_tool_another_one(
    tmp_path: Path, identity: Any, order: str, held: list[str], lacks: str
) -> None:
    """Called in one name for all, the API cannot tell who may not have `/orders/export`, and `get_order` is not asked."""
    async with api(OK) as upstream:
        made = called(
            tmp_path, upstream, spec=document(EXPORT), identity=identity, who=principal(scopes=held), order=order
        )
        with needing(lacks):
            await made
    assert len(upstream.seen) == (not lacks)


@pytest.mark.parametrize(("spelt", "held", "lacks"), [
    ("/orders/EXPORT", ["orders:read"], "orders:admin"),
    ("/orders/export.json", ["orders:read"], "orders:admin"),
    ("/orders/EXPORT", ["orders:read", "orders:admin"], ""),
    ("/orders/exports", ["orders:read"], ""),
])  # fmt: skip
async def test_nor_does_another_spelling_in_the_document(
    tmp_path: Path, spelt: str, held: list[str], lacks: str
) -> None:
    """Two fixed paths that an API takes for one: the one that asks for less must not open the other."""
    id_in_query = {"name": "id", "in": "query", "schema": {"type": "string"}}
    spec = document({**EXPORT, "/orders/{id}": {}, spelt: get("get_order", "orders:read", id_in_query)})
    async with api(OK) as upstream:
        made = called(tmp_path, upstream, spec=spec, identity=SECRET, who=principal(scopes=held))
        with needing(lacks):
            await made
    assert len(upstream.seen) == (not lacks)


async def test_in_the_callers_own_name_the_api_judges(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        await called(tmp_path, upstream, spec=document(EXPORT), who=principal(scopes=["orders:read"]), order="export")
    assert len(upstream.seen) == 1


async def test_whoever_started_the_process_has_what_the_server_can_do(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        handled = Handled(tmp_path, upstream, Desk(), spec=document(EXPORT), identity=SECRET)
        async with handled.open:
            desktop = msgspec.structs.replace(principal(scopes=()), token_digest="")
            await handled.context(desktop).upstream("shop").get("/orders/export")
        assert sent(upstream)["x-key"] == "s3cret"


async def test_no_scope_is_exchanged_for_a_caller_whom_the_tool_would_not_let_in(tmp_path: Path) -> None:
    """A map that forgets a scope leaves the default scopes for it: who lacks these was given the API's own."""
    table: Any = {"scopes": {"x": "x", "unmapped": "default"}}
    async with api(OK, OK) as upstream:
        handled = Handled(tmp_path, upstream, desk := Desk(), **table)
        async with handled.open:
            for held in ("other", "mcp:read"):
                await handled.context(principal(scopes=(held,))).upstream("shop").get("/orders/7")
    assert [one.wanted.scopes for one, *_ in desk.asked] == [set(), {"orders:read"}]
