"""The official clients over the imported sample API, on both issuers: login, list, step-up, exchange, result, refresh.

What came of their tokens is looked for in all that was written or sent: an API must never see one of them.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import httpx2
import msgspec
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from devstack.demo.api.app import AUDIENCE, create
from devstack.demo.api.callers import Trust
from devstack.demo.orders import demo
from devstack.realm.model import FEATURES, REALM_FILE
from tests.kit.authorities import SERVER_SECRET, Authority, Embedded, Keycloak, claims, lasts
from tests.kit.official import REDIRECT, Memory, Person, typescript
from tests.kit.stack import free_port, running_mcp, serving, until

pytestmark = pytest.mark.live
BRIEF = "mcp-brief"
"""The desktop client under another name, whose access tokens end after so many seconds."""
LIFE_S = 6
WHO = {"python": ("bob", "carol"), "typescript": ("carol", "bob")}
MODES = ("auto", "legacy")
ORDERS = {"python": (1, 5), "typescript": (9, 13)}


class Session(msgspec.Struct, kw_only=True):
    """What one client did and got; `held` are its access tokens, `grants` what it asked the token endpoint for."""

    logins: int
    held: list[str]
    grants: list[str]
    tools: list[str]
    open: list[int]
    cancelled: dict[str, Any]
    after: dict[str, Any]
    scope: str


class Overheard:
    """An ASGI application and all that goes in and out of it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.bytes: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.asked.append((f"{scope['method']} {scope['path']}", fields))
        self.bytes.append(scope["path"].encode() + b"?" + scope["query_string"])

        async def hear() -> Any:
            message = await receive()
            self.bytes.append(message.get("body", b""))
            return message

        async def say(message: Any) -> None:
            self.bytes += [message.get("body", b""), *(value for _, value in message.get("headers", ()))]
            await send(message)

        await self._app(scope, hear, say)


class Run(msgspec.Struct, kw_only=True):
    """What several sessions left behind; `written` has every log and every body, by where it was found."""

    authority: Authority
    sessions: dict[tuple[str, str], Session]
    api: Overheard
    audit: list[dict[str, Any]]
    written: dict[str, str]
    heard: list[str] = msgspec.field(default_factory=list)


class Lines(logging.Handler):
    """What is logged in this process by the ways of the standard library: the API's lines, the embedded issuer's."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.contextmanager
def listening() -> Iterator[Lines]:
    lines, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(lines)
        root.setLevel(before)


@contextlib.asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Authority]:
    realm = msgspec.json.decode(REALM_FILE.read_bytes())
    (known,) = (one for one in realm["clients"] if one["clientId"] == "mcp-public")
    realm["clients"].append(known | {"clientId": BRIEF})
    realm["accessTokenLifespan"] = LIFE_S
    (folder / "realm.json").write_bytes(msgspec.json.encode(realm))
    made = Embedded(f"http://localhost:{free_port()}/mcp", FEATURES, folder / "realm.json")
    async with made.running():
        yield made


@contextlib.contextmanager
def with_brief_tokens(keycloak: Keycloak) -> Iterator[None]:
    with keycloak.admin() as admin:
        (known,) = admin.listed("/clients", clientId="mcp-public")
        attributes = known["attributes"] | {"access.token.lifespan": str(LIFE_S)}
        admin.send("POST", "/clients", known | {"id": None, "clientId": BRIEF, "attributes": attributes})
        try:
            yield
        finally:
            (made,) = admin.listed("/clients", clientId=BRIEF)
            admin.send("DELETE", f"/clients/{made['id']}")


@pytest.fixture(scope="module", params=["embedded", "keycloak"])
async def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, log_file: TextIO
) -> AsyncIterator[Run]:
    """All clients at once, each in both eras."""
    folder = tmp_path_factory.mktemp("shop")
    async with contextlib.AsyncExitStack() as opened:
        lines = opened.enter_context(listening())
        if request.param == "embedded":
            authority = await opened.enter_async_context(embedded(folder))
        else:
            authority = request.getfixturevalue("keycloak")
            opened.enter_context(with_brief_tokens(request.getfixturevalue("keycloak")))
        logs = {"the server's log": Path(log_file.name)}
        if isinstance(authority, Keycloak):
            logs["the issuer's log"] = authority.log
        began = {name: path.stat().st_size for name, path in logs.items()}
        found = await all_sessions(authority, folder)
        written = {name: path.read_bytes()[began[name] :].decode() for name, path in logs.items()}
        audit = "".join(path.read_text() for path in folder.glob("audit*"))
        others = "\n".join(record.getMessage() for record in lines.records)
        found.heard += [one.getMessage() for one in lines.records if one.name == "orders-api"]
        found.written |= written | {"the audit": audit, "other logs": others}
        yield found


async def all_sessions(authority: Authority, folder: Path) -> Run:
    port = free_port()
    api = Overheard(create(Trust(authority.issuer, AUDIENCE, authority.issuer)))
    settings = {"client_secret": SERVER_SECRET, "challenge_scopes": "orders:read"}
    server = demo(f"http://127.0.0.1:{port}")
    async with (
        serving(api, port),
        running_mcp(folder, authority.issuer, authority.resource, server, ready=True, **settings) as mcp,
    ):
        answers = mcp.watched._app = Overheard(mcp.watched._app)
        asked = [(client, mode) for client in WHO for mode in MODES]
        done = await asyncio.gather(*(session(mcp.resource, client, mode) for client, mode in asked))
        audit = mcp.audited()
    return Run(
        authority=authority,
        sessions=dict(zip(asked, done, strict=True)),
        api=api,
        audit=audit,
        written={"the API's bodies": as_text(api), "the server's bodies": as_text(answers)},
    )


def as_text(overheard: Overheard) -> str:
    return b"\n".join(overheard.bytes).decode("latin-1")


async def session(url: str, client: str, mode: str) -> Session:
    order, user = of_mode(ORDERS[client], mode), of_mode(WHO[client], mode)
    if client == "python":
        return await in_python(url, mode, order, user)
    said = await typescript("session.mjs", url, mode, BRIEF, str(order), user=user)
    return msgspec.convert(said, Session)


def of_mode(both: Any, mode: str) -> Any:
    return both[MODES.index(mode)]


async def in_python(url: str, mode: Any, order: int, user: str) -> Session:
    known = OAuthClientInformationFull(
        client_id=BRIEF, redirect_uris=[AnyUrl("http://127.0.0.1/callback")], token_endpoint_auth_method="none"
    )
    person, memory, grants = Person(user), Memory(known), list[str]()
    metadata = OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT)], client_name="Python")
    provider = OAuthClientProvider(url, metadata, memory, person.open, person.come_back)

    async def note(answer: httpx2.Response) -> None:
        if "/token" in answer.request.url.path:
            grants.append(dict(httpx2.QueryParams(answer.request.content.decode()))["grant_type"])

    hooks: Mapping[str, Any] = {"response": [note]}
    async with (
        httpx2.AsyncClient(auth=provider, trust_env=False, timeout=30, event_hooks=hooks) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        tools = [one.name for one in (await client.list_tools()).tools]
        there = (await client.call_tool("list_orders", {"status": "open"})).structured_content
        cancelled = await client.call_tool("cancel_order", {"order_id": order})

        async def is_over() -> bool:
            return time.time() > (provider.context.token_expiry_time or 0)

        await until(is_over)
        after = await client.call_tool("list_products", {"limit": 1})
    assert memory.tokens
    return Session(
        logins=person.logins,
        held=memory.held,
        grants=grants,
        tools=tools,
        open=[one["id"] for one in there["items"]],
        cancelled=cancelled.model_dump(by_alias=True, exclude_none=True),
        after=after.model_dump(by_alias=True, exclude_none=True),
        scope=memory.tokens.scope or "",
    )


async def test_each_client_logs_in_and_goes_all_the_way(run: Run) -> None:
    for (client, mode), one in run.sessions.items():
        who, order = (client, mode), of_mode(ORDERS[client], mode)
        assert {"list_products", "cancel_order", "stock_report"} <= {*one.tools}, who
        assert order in one.open, who
        assert (one.cancelled.get("isError", False), one.cancelled["content"][0]["text"]) == (False, "Done (204)."), who
        # One to read, one to delete. The client of Python takes a token for good that ended within this second, and
        # answers the 401 by another login; that of TypeScript refreshes.
        assert one.logins == one.grants.count("authorization_code") >= 2, (who, one.grants)
        assert client == "python" or one.logins == 2, (who, one.grants)


async def test_an_access_token_that_ends_is_refreshed_and_the_next_call_works(run: Run) -> None:
    for who, one in run.sessions.items():
        assert not one.after.get("isError"), (who, one.after)
        assert one.after["structuredContent"]["items"], who
        assert one.grants[-1] == "refresh_token", (who, one.grants)
        assert lasts(claims(one.held[0]), LIFE_S), who
        assert {"orders:read", "orders:write"} <= {*one.scope.split()}, who


async def test_the_api_hears_its_own_audience_the_person_and_the_server(run: Run) -> None:
    subjects = {of_mode(WHO[client], mode): claims(one.held[0])["sub"] for (client, mode), one in run.sessions.items()}
    assert len({*subjects.values()}) == 2
    for client, modes in WHO.items():
        for mode, user in zip(MODES, modes, strict=True):
            order = of_mode(ORDERS[client], mode)
            line = f"/orders/{order}  aud={AUDIENCE} sub={subjects[user]} azp={run.authority.resource}"
            assert [one for one in run.heard if one.startswith(f"/orders/{order} ")] == [line]
    assert not [one for one in run.heard if "refused" in one]
    for path, fields in run.api.asked:
        told = claims(fields["authorization"].removeprefix("Bearer "))
        assert (told["aud"], told["azp"]) == (AUDIENCE, run.authority.resource), path
        assert told["sub"] in subjects.values()
        assert {*told["scope"].split()} == {"orders:write" if path.startswith("DELETE") else "orders:read"}, path


async def test_no_token_is_written_or_sent_on(run: Run) -> None:
    own = {token for one in run.sessions.values() for token in one.held}
    sent = {fields["authorization"].removeprefix("Bearer ") for _, fields in run.api.asked}
    assert len(own) >= 12  # two logins and a refresh of each
    assert not own & sent
    sought = {part for token in own | sent for part in (token, *token.split(".")[1:])}
    found = [(place, part[:12]) for place, text in run.written.items() for part in sought if part in text]
    assert found == []
    headers = [value for _, fields in run.api.asked for name, value in fields.items() if name != "authorization"]
    assert not [value for value in headers for part in sought if part in value]
    assert all(run.written[place] for place in ("the API's bodies", "the server's bodies", "the server's log"))
    cancelled = [line for line in run.audit if line.get("tool") == "cancel_order"]
    assert [line["reason"] for line in cancelled if line["decision"] == "deny"].count("insufficient_scope") == 4
