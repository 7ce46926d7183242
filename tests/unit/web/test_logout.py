"""The logout endpoint: what it reads, what it answers, and how much of it a stranger may ask."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
from litestar import Litestar
from loguru import logger

from mcp_server.auth.logout import AWAY, NOT_HEARD, AcceptedLogout, BackchannelLogout, LogoutRefused
from mcp_server.observe.audit import AuditLog, beside
from mcp_server.web import logout
from mcp_server.web.incoming.client_address import TrustedProxies
from mcp_server.web.logout import FORM, JUDGED, MAX_BODY, LogoutEndpoint, routes
from tests.kit.backends import until

URL = "http://localhost:8000/mcp/backchannel-logout"
GOOD = {"content-type": FORM}


class Taking:
    """Takes the token `good`; `hold` keeps it waiting in its turn, `away` behind it."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, str]] = []
        self.hold: asyncio.Event | None = None
        self.away: asyncio.Event | None = None
        self.reason = "bad_signature"

    async def take(self, token: bytes, turn: AbstractAsyncContextManager[None]) -> AcceptedLogout:
        return await self.pushed(token, "", turn)

    async def pushed(self, token: bytes, action: str, turn: AbstractAsyncContextManager[None]) -> AcceptedLogout:
        async with turn:
            self.taken.append((token, action))
            if self.hold is not None:
                await self.hold.wait()
            if token != b"good":
                raise LogoutRefused(self.reason, "a detail for the log")
        if self.away is not None:
            await self.away.wait()
        return AcceptedLogout(issuer="https://issuer", client="portal", subject="user")


class Trickling:
    """A right body, but for its last byte, which comes when `ended` is set."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        yield b"logout_token=goo"
        self.began.set()
        await self.ended.wait()
        yield b"d"


class Posting:
    """The endpoint of an application without sockets."""

    def __init__(self, taking: Taking, app: Any, http: httpx.AsyncClient, audit: AuditLog, file: Path) -> None:
        self.taking, self._app, self.http, self._audit, self._file = taking, app, http, audit, file

    async def __call__(self, content: Any = b"logout_token=good", path: str = "", **headers: str) -> httpx.Response:
        sent = GOOD | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(path or URL, content=content, headers=sent)

    async def hang_up(self) -> int:
        """Send half a body and go; the status that nobody reads."""
        came = iter([{"type": "http.request", "body": b"logout_token=goo", "more_body": True}])
        said: list[Any] = []

        async def receive() -> Any:
            return next(came, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            said.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "query_string": b"",
            "path": "/mcp/backchannel-logout", "raw_path": b"/mcp/backchannel-logout", "root_path": "",
            "headers": [(b"host", b"localhost:8000"), (b"content-type", FORM.encode())], "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await self._app(scope, receive, send)
        return int(said[0]["status"])

    def audited(self) -> list[dict[str, Any]]:
        self._audit.flush()
        files = [one for one in (self._file, beside(self._file)) if one.exists()]
        return [json.loads(line) for one in files for line in one.read_bytes().splitlines()]


@asynccontextmanager
async def posting(folder: Path) -> AsyncIterator[Posting]:
    audit, taking = AuditLog(str(folder / "audit.jsonl")), Taking()
    audit.open()
    endpoint = LogoutEndpoint(cast("BackchannelLogout", taking), audit, TrustedProxies())
    app = Litestar(routes(endpoint, "/mcp/"), openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app=cast("Any", app))
    async with httpx.AsyncClient(transport=transport) as http:
        yield Posting(taking, app, http, audit, folder / "audit.jsonl")
    audit.close()


async def has_taken(post: Posting, count: int) -> bool:
    return len(post.taking.taken) == count


async def test_a_right_one_is_a_200_without_a_word_and_a_line_of_the_audit(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        answer = await post(content_type=f"{FORM}; charset=utf-8")
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
        (line,) = post.audited()
        assert {name: line[name] for name in ("decision", "reason", "method", "subject", "client", "address")} == {
            "decision": "allow", "reason": "logged_out", "method": "backchannel-logout", "subject": "user",
            "client": "portal", "address": "127.0.0.1",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (b"logout_token=bad", FORM, "bad_signature"),
        (b"logout_token=good", "text/plain", "not_a_form"),
        (b"logout_token=good", "", "not_a_form"),
        (b"", FORM, "not_one_logout_token"),
        (b"logout_token", FORM, "not_a_form"),
        ("logout_token=\u00e4".encode(), FORM, "not_a_form"),
        (b"&".join([b"a=b"] * 9), FORM, "not_a_form"),
        (b"token=good", FORM, "not_one_logout_token"),
        (b"logout_token=good&logout_token=good", FORM, "not_one_logout_token"),
        (b"logout_token=" + b"x" * MAX_BODY, FORM, "body_too_large"),
    ],
)
async def test_a_wrong_one_is_a_400_that_tells_nothing(
    tmp_path: Path, content: bytes, media_type: str, reason: str
) -> None:
    async with posting(tmp_path) as post:
        answer = await post(content, content_type=media_type)
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
        assert answer.headers["cache-control"] == "no-store"
        assert [(one["decision"], one["reason"]) for one in post.audited()] == [("deny", reason)]
        assert post.taking.taken == ([(b"bad", "")] if reason == "bad_signature" else [])


async def test_a_client_that_the_settings_do_not_name_is_a_warning_and_no_strangers_noise_is(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    sink = logger.add(lambda line: told.append((line.record["level"].name, line.record["message"])), level="DEBUG")
    try:
        async with posting(tmp_path) as post:
            for reason in (NOT_HEARD, "bad_signature"):
                post.taking.reason = reason
                assert (await post(b"logout_token=bad")).status_code == 400
            assert [one["reason"] for one in post.audited()] == [NOT_HEARD, "bad_signature"]
    finally:
        logger.remove(sink)
    assert told == [
        ("WARNING", "a logout is refused: MCP_LOGOUT_CLIENTS does not name its client"),
        ("INFO", "a logout is refused"),
    ]


async def test_what_keycloak_pushes_is_the_whole_body(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        base = URL.removesuffix("/backchannel-logout")
        for path, action in (("k_push_not_before", "PUSH_NOT_BEFORE"), ("k_logout", "LOGOUT")):
            answer = await post(b"good\n", f"{base}/{path}", content_type="text/plain")
            assert (answer.status_code, answer.content, post.taking.taken[-1]) == (204, b"", (b"good", action))
        assert (await post(b"bad", f"{base}/k_logout")).status_code == 400


async def test_only_what_is_wrong_is_held_to_a_rate(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        assert {(await post()).status_code for _ in range(50)} == {200}
        post.taking.reason = AWAY
        assert {(await post(b"logout_token=bad")).status_code for _ in range(50)} == {400}
        post.taking.reason = "unknown_key"
        statuses = [(await post(b"logout_token=bad")).status_code for _ in range(20)]
        assert (statuses[0], statuses[-1]) == (400, 429)
        taken = len(post.taking.taken)
        answer = await post()
        assert (answer.status_code, answer.json()) == (429, {"error": "temporarily_unavailable"})
        assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("2", "no-store")
        assert (len(post.taking.taken), post.audited()[-1]["reason"]) == (taken, "too_fast")


async def test_what_names_an_issuer_that_is_away_has_an_allowance_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logout, "WRONG_PER_S", 0.01)
    monkeypatch.setattr(logout, "AWAY_PER_S", 1.0)
    async with posting(tmp_path) as post:
        post.taking.reason = "issuer_away"
        statuses = [(await post(b"logout_token=bad")).status_code for _ in range(30)]
        assert (statuses[:5], statuses[-1]) == ([400] * 5, 429)


async def test_a_thousand_right_ones_of_one_address_wait_for_their_turn(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        post.taking.hold = asyncio.Event()
        waiting = [asyncio.create_task(post()) for _ in range(1000)]
        await until(lambda: has_taken(post, JUDGED.of_address))
        post.taking.hold.set()
        assert {(await one).status_code for one in waiting} == {200}


async def test_right_ones_wait_for_the_store_in_nobodys_way(tmp_path: Path) -> None:
    """Behind a store that hangs two in three of 600 were refused, and their logins went on."""
    async with posting(tmp_path) as post:
        post.taking.away = asyncio.Event()
        waiting = [asyncio.create_task(post()) for _ in range(4 * JUDGED.at_once)]
        await until(lambda: has_taken(post, 4 * JUDGED.at_once))
        post.taking.away.set()
        assert {(await one).status_code for one in waiting} == {200}


async def test_of_many_wrong_ones_at_once_few_are_judged(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        post.taking.hold = asyncio.Event()
        waiting = [asyncio.create_task(post(b"logout_token=bad")) for _ in range(200)]
        await until(lambda: has_taken(post, JUDGED.of_address))
        post.taking.hold.set()
        assert {(await one).status_code for one in waiting} == {400, 429}
        assert len(post.taking.taken) < 50


@pytest.mark.parametrize(("bound", "value"), [("TURN_S", 0.01), ("JUDGED", msgspec.structs.replace(JUDGED, waiting=0))])
async def test_whose_turn_does_not_come_is_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: object
) -> None:
    monkeypatch.setattr(logout, bound, value)
    async with posting(tmp_path) as post:
        post.taking.hold = asyncio.Event()
        waiting = [asyncio.create_task(post()) for _ in range(JUDGED.of_address)]
        await until(lambda: has_taken(post, JUDGED.of_address))
        answer = await post()
        assert (answer.status_code, post.audited()[-1]["reason"]) == (429, "too_many_at_once")
        post.taking.hold.set()
        assert {(await one).status_code for one in waiting} == {200}
        assert (await post()).status_code == 200


async def test_bodies_that_trickle_keep_no_right_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout, "MAX_ARRIVING", 8)
    async with posting(tmp_path) as post:
        slow = [Trickling() for _ in range(12)]
        strangers = [asyncio.create_task(post(one.body())) for one in slow]
        for one in slow:
            await one.began.wait()
        assert {(await one).status_code for one in strangers[:4]} == {429}
        assert not any(one.done() for one in strangers[4:])
        assert (await post()).status_code == 200
        slow[-1].ended.set()
        assert (await strangers[-1]).status_code == 200
        for one in slow:
            one.ended.set()
        assert sorted([(await one).status_code for one in strangers[4:]]) == [200] * 7 + [429]


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logout, "BODY_S", 0.01)
    async with posting(tmp_path) as post:
        answer = await post(Trickling().body())
        assert (answer.status_code, post.audited()[-1]["reason"]) == (400, "body_too_slow")


async def test_who_hangs_up_in_a_body_is_no_error_of_ours_and_held_to_the_rate(tmp_path: Path) -> None:
    """Each hung up for a traceback of two KiB, as often as a stranger liked."""
    async with posting(tmp_path) as post:
        statuses = [await post.hang_up() for _ in range(20)]
        assert (statuses[0], statuses[-1], set(statuses)) == (400, 429, {400, 429})
        assert post.audited()[0]["reason"] == "aborted"


async def test_it_is_posted_to_and_nothing_else(tmp_path: Path) -> None:
    async with posting(tmp_path) as post:
        assert [(await post.http.request(method, URL)).status_code for method in ("GET", "PUT", "OPTIONS")] == [
            405, 405, 204,
        ]  # fmt: skip
