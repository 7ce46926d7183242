"""One call of an API: as whom, with which headers, and what becomes of what the API says of it."""

import base64
import contextlib
from pathlib import Path
from typing import Any, TextIO

import pytest
from msgspec import Raw

from mcp_server import McpServer, ToolError
from mcp_server.observe.tracing import restored
from mcp_server.registry.requirement import NeedsScopes
from tests.kit.calls import Channel
from tests.kit.contexts import context
from tests.kit.handling import OK, ORDER, WHO, called, incoming, lacking, sent, text_of
from tests.kit.imports import Desk, document, get, imported, in_path
from tests.kit.logs import written_since
from tests.kit.principals import principal
from tests.kit.upstreams import answers, api, says


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


@pytest.mark.parametrize("forward", ["x-own-key", "X_Own_Key"])
async def test_a_client_does_not_bring_a_key_of_its_own_beside_ours(tmp_path: Path, forward: str) -> None:
    """An operator who names the header that has the secret: both were sent, the client's first."""
    key = {"mode": "secret", "secret": "k", "header": "X-Own-Key"}
    async with api(OK) as upstream:
        channel = incoming(x_own_key="the client's")
        channel.headers["x_own_key"] = "the client's"
        await called(tmp_path, upstream, channel=channel, identity=key | {"forward": [forward]})
    assert upstream.seen[0].head.lower().count(b"own") == 1
    assert sent(upstream)["x-own-key"] == "s3cret"


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


ADMIN = document({**ORDER, "/orders/export": get("export_all", "orders:admin")})
"""Another operation of it needs what it misses."""


async def test_a_scope_that_the_api_misses_becomes_our_challenge_where_the_realm_has_it(tmp_path: Path) -> None:
    async with api(lacking("orders:admin")) as upstream:
        with pytest.raises(NeedsScopes) as needs:
            await called(tmp_path, upstream, spec=ADMIN)
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


MORE = principal(scopes=("mcp:read", "orders:read", "orders:admin", "mcp:admin"))


@pytest.mark.parametrize(
    ("who", "table", "asked", "status"),
    [
        (MORE, {}, [{"orders:read"}, {"orders:read", "orders:admin"}], 200),
        (WHO, {}, [{"orders:read"}], 403),  # a step-up first, which the challenge is for
        (MORE, {"identity": {"audience": "api", "scopes": ["orders:read"]}}, [{"orders:read"}], 403),  # the operator's
        (MORE, {"identity": {"audience": "api", "mode": "client_credentials"}}, [{"orders:read"}], 403),
        (MORE, {"scopes": {"orders:read": "orders:read", "orders:admin": "mcp:admin"}}, [{"orders:read"}, {"orders:read", "orders:admin"}], 200),
        (MORE, {"scopes": {"orders:read": "orders:read"}}, [{"orders:read"}], 403),  # nobody's in the realm
    ],
)  # fmt: skip
async def test_what_a_caller_has_stepped_up_to_goes_into_the_exchange(
    tmp_path: Path, who: Any, table: dict[str, Any], asked: list[Any], status: int
) -> None:
    """The API wants what its document does not name: without this the call failed for ever, step-up or not."""
    desk = Desk()
    async with api(lacking("orders:admin"), OK) as upstream:
        try:
            result = await called(tmp_path, upstream, spec=ADMIN, desk=desk, who=who, **table)
            assert (result.is_error is True) is (status == 403)
        except NeedsScopes:
            assert who is WHO
    assert [identity.wanted.scopes for identity, *_ in desk.asked] == asked


@pytest.mark.parametrize(
    ("misses", "named", "table", "asked"),
    [
        ("mcp:admin", "", {}, ""),  # the MCP server's own: nothing of the API's names it
        ("orders:read mcp:admin", "", {}, ""),
        ("offline_access", "offline_access", {}, ""),
        ("openid", "openid", {}, ""),
        ("payments:write", "payments:write", {}, "payments:write"),
        ("payments:write", "", {"scopes": {"orders:*": "orders:read", "unmapped": "keep"}}, ""),
        ("payments:write", "", {"scopes": {"orders:*": "orders:read", "payments:*": "mcp:admin"}}, "mcp:admin"),
        ("offline_access", "", {"scopes": {"orders:*": "orders:read", "offline_access": "mcp:admin"}}, "mcp:admin"),
    ],
)
@pytest.mark.parametrize("holds", [False, True])
async def test_an_api_asks_for_no_scope_that_is_not_its_own(
    tmp_path: Path, misses: str, named: str, table: dict[str, Any], asked: str, holds: bool
) -> None:
    """Its 403 sent people for any scope of the realm, and took whatever the caller held into its token."""
    flows = {"clientCredentials": {"tokenUrl": "https://i.test", "scopes": {named: "of it"} if named else {}}}
    schemes = {"securitySchemes": {"realm": {"type": "oauth2", "flows": flows}}}
    more = ("mcp:admin", "offline_access", "openid", "payments:write") if holds else ()
    who, desk = principal(scopes=("mcp:read", "orders:read", *more)), Desk()
    async with api(lacking(misses), OK) as upstream:
        made = called(tmp_path, upstream, spec=document(ORDER, components=schemes), who=who, desk=desk, **table)
        if asked and not holds:
            with pytest.raises(NeedsScopes, match=f"needs {asked}$"):
                await made
        else:
            assert ((await made).is_error is True) is (not asked)
    taken = {"orders:read", misses} if asked and holds else {"orders:read"}
    assert desk.asked[-1][0].wanted.scopes == taken


async def test_a_token_of_more_scopes_that_is_not_to_be_had_leaves_the_refusal(
    tmp_path: Path, log_file: TextIO
) -> None:
    """The realm lets the server's client not ask for it: the model hears the API's word, the operator the cure."""

    class Narrow(Desk):
        async def headers(self, identity: Any, *asked: Any, **more: Any) -> tuple[tuple[str, str], ...]:
            self.refuses = "orders:admin" in identity.wanted.scopes
            return await super().headers(identity, *asked, **more)

    before = log_file.tell()
    async with api(lacking("orders:admin"), OK) as upstream:
        found = text_of(await called(tmp_path, upstream, spec=ADMIN, desk=Narrow(), who=MORE))
        assert len(upstream.seen) == 1
    assert "does not allow this to the caller (403)" in found
    assert "does; until then each call is made twice" in written_since(log_file, before)


async def test_nobody_is_sent_for_a_scope_that_the_exchange_would_not_ask_for(tmp_path: Path) -> None:
    """`identity.scopes` is the operator's word for all callers: a login for more would come back to the same 403."""
    async with api(lacking("orders:admin")) as upstream:
        stated = await called(tmp_path, upstream, identity={"audience": "api", "scopes": ["orders:read"]})
        assert stated.is_error is True
        with pytest.raises(NeedsScopes, match="mcp:admin"):
            await called(
                tmp_path,
                upstream,
                identity={"audience": "api", "scopes": ["mcp:read", "mcp:admin"]},
                scopes={"orders:read": "mcp:read", "orders:admin": "mcp:admin"},
            )


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


TRACEPARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


async def test_a_trace_goes_on(tmp_path: Path) -> None:
    async with api(OK) as upstream:
        file = tmp_path / "doc.json"
        file.write_bytes(document(ORDER))
        server = McpServer("s")
        async with imported(server, file, f"http://127.0.0.1:{upstream.port}"):
            made = context(incoming=incoming(), trace=restored(TRACEPARENT))
            tool = server.tools["get_order"]
            await tool.call(tool.decode(Raw(b'{"id": "7"}')), lambda: made)
        assert sent(upstream)["traceparent"] == TRACEPARENT
