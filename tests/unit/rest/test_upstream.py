"""One call of an API: as whom, with which headers, and what becomes of what the API says of it."""

import base64
import contextlib
from pathlib import Path
from typing import Any, NoReturn, TextIO

import pytest
from msgspec import Raw

from mcp_server import Context, McpServer, ToolError
from mcp_server.authoring.errors import SessionEnded
from mcp_server.identity import Credential
from mcp_server.protocol.types.content import TextContent
from mcp_server.registry.requirement import NeedsScopes
from mcp_server.rest.exchange import NoAccess
from mcp_server.rest.model import UnusableDocument
from tests.kit.calls import Channel
from tests.kit.contexts import context
from tests.kit.imports import Desk, document, get, imported, in_path
from tests.kit.logs import written_since
from tests.kit.principals import principal
from tests.kit.upstreams import Api, answers, api, says

ORDER = {"/orders/{id}": get("get_order", "orders:read", in_path("id")), "/orders/mine": get("mine", "orders:mine")}
WHO = principal(scopes=("mcp:read", "orders:read"))


def incoming(**headers: str) -> Channel:
    channel = Channel()
    channel.credential = Credential(b"s3cret-of-the-caller", WHO)
    channel.headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return channel


async def called(tmp_path: Path, upstream: Api, *, desk: Desk | None = None, spec: Any = None, channel: Any = None, server: McpServer | None = None, **table: Any) -> Any:  # fmt: skip
    file = tmp_path / "doc.json"
    file.write_bytes(spec or document(ORDER))
    server = server or McpServer("s")
    async with imported(server, file, f"http://127.0.0.1:{upstream.port}/v1", desk, **table):
        tool = server.tools["get_order"]
        made = context(incoming=channel or incoming(), who=WHO)
        return await tool.call(tool.decode(Raw(b'{"id": "7"}')), lambda: made)


def sent(upstream: Api, place: int = -1) -> dict[str, str]:
    lines = upstream.seen[place].head.decode().split("\r\n")
    return {"asked": lines[0]} | {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }


OK = answers(200, b'{"id": 7}', content_type="application/json")


async def test_a_call_has_a_token_of_the_apis_own_and_nothing_of_the_callers(tmp_path: Path) -> None:
    desk = Desk()
    async with api(OK) as upstream:
        channel = incoming(authorization="Bearer theirs", cookie="c=1", x_tenant="acme", x_other="o")
        result = await called(
            tmp_path, upstream, desk=desk, channel=channel,
            identity={"audience": "api", "forward": ["X-Tenant"]},
        )  # fmt: skip
        assert result.structured_content == Raw(b'{"id":7}')
        fields = sent(upstream)
    assert fields["asked"] == "GET /v1/orders/7 HTTP/1.1"
    assert fields["authorization"] == "Bearer token-1"
    assert fields["x-tenant"] == "acme"
    assert not fields.keys() & {"cookie", "x-other", "traceparent"}
    assert b"s3cret" not in upstream.seen[0].head
    identity, credential, _ = desk.asked[0]
    assert (identity.wanted.audience, identity.wanted.scopes) == ("api", frozenset({"orders:read"}))
    assert credential is channel.credential


@pytest.mark.parametrize(
    ("scheme", "identity", "secret", "name", "value"),
    [
        (None, {"mode": "none"}, "", "authorization", None),
        (None, {"mode": "secret", "secret": "k"}, "abc", "authorization", "Bearer abc"),
        (None, {"mode": "secret", "secret": "k"}, "u:p", "authorization", "Basic dTpw"),
        (None, {"mode": "secret", "secret": "k"}, "Token abc", "authorization", "Token abc"),
        (None, {"mode": "secret", "secret": "k", "header": "X-Own"}, "abc", "x-own", "abc"),
        ({"in": "header", "name": "X-Key"}, {"mode": "secret", "secret": "k"}, "abc", "x-key", "abc"),
        ({"in": "header", "name": "Host"}, {"mode": "secret", "secret": "k", "header": "X-Own"}, "abc", "x-own", "abc"),
        ({"in": "header", "name": "Host"}, {"mode": "none"}, "abc", "authorization", None),
        ({"in": "cookie", "name": "sid"}, {"mode": "secret", "secret": "k"}, "a;b", "cookie", "sid=a%3Bb"),
        ({"in": "query", "name": "key"}, {"mode": "secret", "secret": "k"}, "a&b", "asked", "GET /v1/orders/7?key=a%26b HTTP/1.1"),
        (None, {"mode": "client_credentials", "audience": "api"}, "", "authorization", "Bearer token-1"),
    ],
)  # fmt: skip
async def test_other_credentials(
    tmp_path: Path, scheme: Any, identity: Any, secret: str, name: str, value: str | None
) -> None:
    desk = Desk()
    desk.secret = secret
    schemes = {"securitySchemes": {"key": {"type": "apiKey", **scheme}}} if scheme else {}
    spec = document({"/orders/{id}": get("get_order", "", in_path("id"))}, components=schemes)
    async with api(OK) as upstream:
        await called(tmp_path, upstream, desk=desk, spec=spec, identity=identity)
        assert sent(upstream).get(name) == value


async def test_a_token_that_the_api_does_not_accept_is_had_anew_once(tmp_path: Path) -> None:
    desk = Desk()
    async with api(answers(401), OK) as upstream:
        assert (await called(tmp_path, upstream, desk=desk)).structured_content == Raw(b'{"id":7}')
        assert [rejected for _, _, rejected in desk.asked] == ["", "token-1"]
        assert sent(upstream)["authorization"] == "Bearer token-2"
    async with api(answers(401)) as upstream:
        result = await called(tmp_path, upstream)
        assert result.is_error is True
        assert len(upstream.seen) == 2
        assert "did not accept our credential" in text_of(result)


def text_of(result: Any) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


class Slow(Desk):
    """Takes so much of the call's time for each token."""

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self.takes_s, self.now = takes_s, 0.0
        self.left: list[float | None] = []

    def monotonic(self) -> float:
        return self.now

    async def headers(
        self, identity: Any, credential: Any, rejected: str = "", *, within_s: float | None = None
    ) -> tuple[tuple[str, str], ...]:
        self.left.append(within_s)
        self.now += self.takes_s
        return await super().headers(identity, credential, rejected, within_s=within_s)


async def test_a_call_has_one_deadline_for_the_token_the_request_and_both_once_more(tmp_path: Path) -> None:
    """Of five seconds; two tokens take four and nine tenths, so a tenth is left for the second request."""
    desk = Slow(2.45)
    async with api(answers(401), says()) as upstream:
        with pytest.raises(ToolError, match=r"^The API did not answer within the 0\.1 s that it was given"):
            await called(tmp_path, upstream, desk=desk)
        assert desk.left == [5.0, 2.55]
        assert len(upstream.seen) == 2
    desk = Slow(3)
    async with api(answers(401), OK) as upstream:
        with pytest.raises(ToolError, match="was over before the API could be asked"):
            await called(tmp_path, upstream, desk=desk)
        assert len(upstream.seen) == 1


def echoes(status: int, text: str) -> Any:
    return answers(status, text.encode(), content_type="application/json")


@pytest.mark.parametrize("status", [200, 400, 403, 422])
async def test_an_api_that_repeats_its_credential_does_not_hand_it_to_a_model(tmp_path: Path, status: int) -> None:
    pair = base64.b64encode(b"orders:s3cret-of-ours").decode()
    secret = {"mode": "secret", "secret": "k"}
    for identity, said in (
        (secret, pair),
        (secret, "s3cret-of-ours"),
        ({"audience": "api"}, "token-of-the-caller-1"),
    ):
        desk = Named("orders:s3cret-of-ours")
        async with api(echoes(status, f'{{"detail": "seen {said} here"}}')) as upstream:
            found = text_of(await called(tmp_path, upstream, desk=desk, identity=identity))
        assert said not in found
        assert "[masked] here" in found


class Named(Desk):
    """Gives out tokens of usual length."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret

    async def headers(self, *asked: Any, **more: Any) -> tuple[tuple[str, str], ...]:
        ((name, value),) = await super().headers(*asked, **more)
        return ((name, value.replace("token-1", "token-of-the-caller-1")),)


async def test_where_no_token_is_to_be_had_nothing_is_sent(tmp_path: Path) -> None:
    desk = Desk()
    desk.refuses = True
    async with api(OK) as upstream:
        with pytest.raises(ToolError, match=r"^This server could not get access to the API for you; .*\.$"):
            await called(tmp_path, upstream, desk=desk)
        with pytest.raises(ToolError, match="on behalf of a signed-in user"):
            await called(tmp_path, upstream, channel=Channel())
        assert upstream.seen == []


async def test_an_api_that_gives_no_answer_says_whether_to_try_again(tmp_path: Path) -> None:
    async with api(says(then="resets")) as upstream:
        with pytest.raises(ToolError, match=r"^The API closed the connection .*safe") as failed:
            await called(tmp_path, upstream)
        assert str(upstream.port) not in str(failed.value)


def lacking(scope: str) -> Any:
    return answers(403, b"{}", www_authenticate=f'Bearer error="insufficient_scope", scope="{scope}"')


async def test_a_scope_that_the_api_misses_becomes_our_challenge_where_the_realm_has_it(tmp_path: Path) -> None:
    async with api(lacking("orders:admin")) as upstream:
        with pytest.raises(NeedsScopes) as needs:
            await called(tmp_path, upstream)
        assert needs.value.requirement.named(parameterized=False) == {"orders:admin"}
        mapped = {"orders:read": "mcp:read", "orders:admin": "mcp:admin"}
        with pytest.raises(NeedsScopes, match="mcp:admin"):
            await called(tmp_path, upstream, scopes=mapped)
        unmapped = await called(tmp_path, upstream, scopes={"orders:read": "mcp:read", "orders:mine": "mcp:read"})
        assert unmapped.is_error is True


async def test_a_scope_that_the_caller_has_is_asked_for_by_nobody(tmp_path: Path, log_file: TextIO) -> None:
    """The client would come back with the same token, for ever: it is the operator's to mend."""
    tables: list[tuple[str, dict[str, Any]]] = [
        ("orders:read", {}),
        ("orders:admin", {"scopes": {"orders:*": "mcp:read"}}),
    ]
    for scope, table in tables:
        before = log_file.tell()
        async with api(lacking(scope)) as upstream:
            found = text_of(await called(tmp_path, upstream, **table))
            assert "does not allow this to the caller (403)" in found
            assert "the caller holds the scope, and the API refuses it" in written_since(log_file, before)


@pytest.mark.parametrize(
    ("wanted", "identity", "cure"),
    [
        ("orders:admin", {}, "the document does not ask for orders:admin here: an overlay that adds it"),
        (
            "orders:admin",
            {"scopes": ["orders:read"]},
            "identity.scopes (MCP_UPSTREAM_SCOPES) does not name orders:admin",
        ),
        ("orders:read", {}, "the issuer left them out of the token"),
        ("", {}, "it was sent a token with 'api' in aud"),
    ],
)
async def test_the_log_says_what_to_change_where_an_api_misses_scopes(
    tmp_path: Path, log_file: TextIO, wanted: str, identity: dict[str, Any], cure: str
) -> None:
    before = log_file.tell()
    refusal = lacking(wanted) if wanted else answers(401, b"{}")
    async with api(refusal, refusal) as upstream:
        with contextlib.suppress(NeedsScopes):
            await called(tmp_path, upstream, identity={"audience": "api", **identity})
    assert f'"cure":"{cure}' in written_since(log_file, before)


async def test_a_trace_goes_on(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        file = tmp_path / "doc.json"
        file.write_bytes(document(ORDER))
        server = McpServer("s")
        async with imported(server, file, f"http://127.0.0.1:{upstream.port}"):
            made = context(incoming=incoming(), trace_id="ab" * 16)
            tool = server.tools["get_order"]
            await tool.call(tool.decode(Raw(b'{"id": "7"}')), lambda: made)
        assert sent(upstream)["traceparent"].startswith(f"00-{'ab' * 16}-")


# What an author calls


class Handled:
    """A handler's context over a scripted API."""

    def __init__(self, tmp_path: Path, upstream: Api, desk: Desk) -> None:
        self.file = tmp_path / "doc.json"
        self.file.write_bytes(document(ORDER))
        self.server = McpServer("s")
        self.open = imported(self.server, self.file, f"http://127.0.0.1:{upstream.port}/v1", desk)

    def context(self, who: Any = WHO) -> Context:
        return context(incoming=incoming(), upstreams=self.server.upstreams, who=who)


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
