"""Guarded routes in an application of one's own: they alone are authenticated, and nobody's `user` is replaced."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from mcp_server import principal_of, requires_scopes
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.observe.audit import AuditLog
from mcp_server.web.authn import RouteAuthentication
from mcp_server.web.guards import STATE_KEY
from mcp_server.web.incoming.client_address import TrustedProxies
from tests.kit import proofs
from tests.kit.issuers import INTROSPECT, METADATA, Paper
from tests.kit.proofs import KEY
from tests.unit.observe.test_audit import lines

ORIGIN = "http://localhost:8000"
BOUND: dict[str, Any] = {"cnf": {"jkt": KEY.thumbprint()}, "typ": "DPoP"}


@get("/open")
async def open_to_all(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return {"user": request.scope.get("user"), "auth": request.scope.get("auth"), "ours": principal_of(request)}


@get("/guarded", guards=[requires_scopes("mcp:read")])
async def guarded(request: Request[Any, Any, Any]) -> dict[str, Any]:
    ours = principal_of(request)
    return {"user": getattr(request.user, "subject", request.user), "ours": ours and ours.subject}


@get("/twice", guards=[requires_scopes("mcp:read"), requires_scopes("mcp:write")])
async def twice() -> str:
    return "in"


@get("/files/{name:str}", guards=[requires_scopes("mcp:read")])
async def file(request: Request[Any, Any, Any]) -> str:
    return str(request.path_params["name"])


@websocket("/socket", guards=[requires_scopes("mcp:read")])
async def talk(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text(cast("Any", principal_of(socket)).subject)
    await socket.close()


class HostsOwn(AbstractAuthenticationMiddleware):
    """Authentication of the application's own, for other credentials than ours."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        return AuthenticationResult(user="host's user", auth="host's auth")


def refused(_: Request[Any, Any, Any], error: AccessDeniedError) -> Response[str]:
    return Response(error.refusal.reason.slug, status_code=error.refusal.reason.status)


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
async def authentication(paper: Paper, audit: Path) -> AsyncIterator[RouteAuthentication]:
    async with paper.fetcher() as fetcher:
        log = AuditLog(str(audit))
        yield RouteAuthentication(
            Authenticator(paper.config(opaque=True), fetcher=fetcher), log, TrustedProxies(), origin=ORIGIN
        )
        log.close()


def application(authentication: RouteAuthentication | None, *middleware: Any) -> Litestar:
    return Litestar(
        [open_to_all, guarded, twice, file, talk],
        middleware=middleware,
        state=State({} if authentication is None else {STATE_KEY: authentication}),
        exception_handlers={AccessDeniedError: refused},
        openapi_config=None,
        logging_config=None,
    )


@contextmanager
def host(authentication: RouteAuthentication | None, *middleware: Any) -> Iterator[httpx.AsyncClient]:
    app = application(authentication, *middleware)
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
    yield httpx.AsyncClient(transport=transport, base_url=ORIGIN)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_credentials_on_a_foreign_route_are_not_ours_to_judge(
    paper: Paper, authentication: RouteAuthentication
) -> None:
    """House fault 22: each new opaque credential of the host's own users was sent to the issuer."""
    with host(authentication) as http:
        for header in (bearer("a-session-of-the-host"), bearer(paper.token()), {"authorization": "Basic abc"}, {}):
            answer = await http.get("/open", headers=header)
            assert (answer.status_code, answer.json()) == (200, {"user": None, "auth": None, "ours": None})
        assert (await http.get("/open?access_token=abc")).status_code == 200
        assert paper.asked == []
        assert (await http.get("/guarded", headers=bearer("opaque"))).status_code == 401
        assert INTROSPECT in paper.asked


async def test_what_the_host_says_of_its_user_stays(paper: Paper, authentication: RouteAuthentication) -> None:
    with host(authentication, HostsOwn) as http:
        opened = (await http.get("/open")).json()
        assert opened == {"user": "host's user", "auth": "host's auth", "ours": None}
        seen = (await http.get("/guarded", headers=bearer(paper.token()))).json()
        assert seen == {"user": "host's user", "ours": "user"}
        assert (await http.get("/guarded")).status_code == 401  # whom the host knows, we need not know
    with host(authentication) as http:
        seen = (await http.get("/guarded", headers=bearer(paper.token()))).json()
        assert seen == {"user": "user", "ours": "user"}


async def test_a_guard_asks_for_all_its_scopes_and_the_audit_has_each_decision(
    paper: Paper, authentication: RouteAuthentication, audit: Path
) -> None:
    with host(authentication) as http:
        answers = [
            await http.get("/guarded"),
            await http.get("/guarded", headers=bearer(paper.token(scope="other"))),
            await http.get("/guarded?access_token=a", headers=bearer(paper.token())),
            await http.get("/guarded", headers=[*bearer("a").items(), *bearer("b").items()]),
            await http.get("/twice", headers=bearer(paper.token(scope="mcp:read mcp:write"))),
        ]
    assert [(one.status_code, one.text) for one in answers] == [
        (401, "no_credentials"),
        (403, "insufficient_scope"),
        (400, "token_in_query"),
        (400, "several_credentials"),
        (200, "in"),
    ]
    authentication._audit.flush()
    found = lines(audit)
    assert [(line["route"], line.get("reason", "")) for line in found] == [
        ("/guarded", "insufficient_scope"),
        ("/twice", ""),
        ("/twice", ""),
    ]
    assert found[1]["request_id"] == found[2]["request_id"]


async def test_two_guards_judge_one_proof_once(paper: Paper, authentication: RouteAuthentication) -> None:
    token = paper.token(scope="mcp:read mcp:write", **BOUND)
    sent = {"authorization": f"DPoP {token}", "dpop": proofs.made(token, htm="GET", htu=f"{ORIGIN}/twice")}
    with host(authentication) as http:
        assert (await http.get("/twice", headers=sent)).status_code == 200
        assert (await http.get("/twice", headers=sent)).text == "bad_proof"


@pytest.mark.parametrize("path", ["/files/a%20b", "/files/a%2520b", "/files/caf%C3%A9", "/files/a~b?x=1", "/files/%2e"])
async def test_a_proof_names_the_path_as_it_is_sent(
    paper: Paper, authentication: RouteAuthentication, path: str
) -> None:
    """House fault 41: the path was compared with its escapes undone."""
    token = paper.token(**BOUND)
    with host(authentication) as http:
        for named, status in ((path, 200), ("/files/other", 401)):
            proof = proofs.made(token, htm="GET", htu=ORIGIN + named)
            answer = await http.get(path, headers={"authorization": f"DPoP {token}", "dpop": proof})
            assert answer.status_code == status, answer.text


async def test_without_a_raw_path_the_decoded_one_is_escaped_again(
    paper: Paper, authentication: RouteAuthentication
) -> None:
    token = paper.token(**BOUND)
    proof = proofs.made(token, htm="GET", htu=f"{ORIGIN}/a%20b")
    headers = [(b"authorization", f"DPoP {token}".encode()), (b"dpop", proof.encode())]
    scope: dict[str, Any] = {"method": "GET", "path": "/a b", "query_string": b"", "headers": headers, "client": None}
    caller = await authentication.caller(scope)
    assert caller.trail.principal is caller.outcome is scope["user"]
    assert await authentication.caller(scope) is caller


async def test_a_guard_without_the_plugin_lets_nobody_in(paper: Paper) -> None:
    with host(None) as http:
        assert (await http.get("/guarded", headers=bearer(paper.token()))).status_code == 500


def test_a_guard_without_scopes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        requires_scopes()


async def test_an_issuer_that_is_away_is_no_reason_to_log_in_again(
    paper: Paper, authentication: RouteAuthentication
) -> None:
    paper.documents[METADATA] = OSError("away")
    with host(authentication) as http:
        answer = await http.get("/guarded", headers=bearer(paper.token(iat=int(time.time()))))
    assert (answer.status_code, answer.text) == (503, "issuer_away")


@pytest.mark.parametrize("scopes", [(), ("",), ("a b",), ('a"b',), ("mcp:read", "a\r\nx: y")])
def test_what_is_no_scope_is_refused_when_the_guard_is_made(scopes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="scope"):
        requires_scopes(*scopes)


def test_scopes_make_a_guard() -> None:
    assert callable(requires_scopes("mcp:read", "mcp:write"))


async def test_a_websocket_is_guarded_like_a_route(
    paper: Paper, authentication: RouteAuthentication, audit: Path
) -> None:
    """Its scope has no method: the guard failed on it, and wrote no line."""

    async def opened(**headers: str) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": "/socket", "raw_path": b"/socket", "query_string": b"", "root_path": ""}
        scope |= {
            "headers": named,
            "client": ("127.0.0.1", 5),
            "subprotocols": [],
            "scheme": "ws",
            "http_version": "1.1",
        }

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await application(authentication)(cast("Any", scope), cast("Any", receive), cast("Any", send))
        return sent

    answers = [
        await opened(),
        await opened(**bearer(paper.token(scope="other"))),
        await opened(**bearer(paper.token())),
    ]
    assert [[one["type"] for one in answer] for answer in answers] == [
        ["websocket.close"],
        ["websocket.close"],
        ["websocket.accept", "websocket.send", "websocket.close"],
    ]
    assert [answers[place][0]["code"] for place in (0, 1)] == [4401, 4403]  # and not 4500: nothing has failed here
    assert answers[2][1]["text"] == "user"
    authentication._audit.flush()
    known, strangers = lines(audit), lines(audit.with_name("audit.strangers.jsonl"))
    assert [line.get("reason", "") for line in strangers] == ["no_credentials"]
    assert [line.get("reason", "") for line in known] == ["insufficient_scope", ""]
