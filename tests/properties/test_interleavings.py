"""Calls of many people at once, through all of the server: each answer is its caller's, and each token too.

A seed says which task goes on at each await (`kit.shuffled`), how the issuer and the API behave, and who hangs up.
Nothing of ours stands aside: tokens are verified, exchanged, kept, dropped and asked for anew, over real sockets. The
exchange alone, the only place that opens a token, has 10,000 calls in `tests/unit/rest/test_exchange.py`;
`INTERLEAVINGS=10000` makes as many of all of the server (half a minute).
"""

import asyncio
import base64
import itertools
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from mcp_server import Context, McpPlugin, McpServer, Scope, create_app, settings
from tests.kit import wire
from tests.kit.imports import document, get
from tests.kit.shuffled import ShuffledLoop

SEEDS = 2
CALLS = int(os.environ.get("INTERLEAVINGS", "2000")) // SEEDS
AT_ONCE = 50
PEOPLE = 12
TOOLS = ("read_one", "write_one") * 4 + ("twice",)
AUDIENCE = "whose-api"
READ, WRITE = "whose:read", "whose:write"
TOLD = re.compile(r"(?:someone|call)-\d+")
"""Marks of people and of calls, wherever they stand."""
ENDS = ("could not get access", "did not accept", "session has ended", "status 401", "401")
KEY = ECKey.generate_key("P-256", {"kid": "k", "use": "sig", "alg": "ES256"})


class World(asyncio.Protocol):
    """The issuer and the API, on one socket: which token was given for whom, and whatever is wrong with a request."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.port = chance, 0
        self.given: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self._numbers = itertools.count()

    def answer(self, head: bytes, body: bytes) -> tuple[int, Any]:
        line, _, fields = head.partition(b"\r\n")
        _, path, _ = line.decode().split(" ")
        if path.endswith("/openid-configuration"):
            return 200, self._metadata()
        if path == "/certs":
            return 200, {"keys": [KEY.as_dict(private=False)]}
        if b"eyJ" in head or (
            path != "/token" and b"eyJ" in body
        ):  # as each token of a client begins, and none of ours
            self.wrong.append(f"a client's token in {head + body!r}")
        return self._exchanged(body) if path == "/token" else self._api(path, fields, body)

    def _metadata(self) -> dict[str, Any]:
        base = f"http://127.0.0.1:{self.port}"
        return {"issuer": f"{base}/realm", "jwks_uri": f"{base}/certs", "token_endpoint": f"{base}/token"}

    def _exchanged(self, body: bytes) -> tuple[int, Any]:
        form = {name: value for name, (value,) in parse_qs(body.decode()).items()}
        self.seen["exchanges"] += 1
        drawn = self.chance.random()
        if drawn < 0.04:
            self.seen["refused"] += 1
            return 400, {"error": "invalid_scope", "error_description": "no"}
        if drawn < 0.08:
            self.seen["ended"] += 1
            return 400, {"error": "invalid_grant", "error_description": "Session not active"}
        said = claims(form["subject_token"])
        token = f"given.{next(self._numbers)}"
        self.given[token] = {
            "whose": said["sub"],
            "login": said["sid"],
            "aud": form["audience"],
            "scope": form["scope"],
        }
        lasts = self.chance.choice((20, 31, 300))  # not kept at all, kept for a second, kept
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": lasts, "scope": form["scope"]}

    def _api(self, path: str, fields: bytes, body: bytes) -> tuple[int, Any]:
        found = re.findall(rb"(?im)^authorization: Bearer (\S+)", fields)
        told = self.given.get(found[0].decode()) if len(found) == 1 else None
        if told is None:
            self.wrong.append(f"{path} with {found!r}")
            return 401, {}
        self.seen["asked"] += 1
        if self.chance.random() < 0.08:
            self.seen["rejected"] += 1
            return 401, {"title": "not accepted"}
        return 200, told | {"asked": path.rpartition("/")[2], "body": body.decode()}


class Connection(asyncio.Protocol):
    """One connection of `World`, HTTP/1.1 as far as it is needed; some answers come later than they could."""

    def __init__(self, world: World) -> None:
        self._world, self._held = world, b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, ended, body = self._held.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not ended or len(body) < (int(length[1]) if length else 0):
            return
        self._held = b""
        status, said = self._world.answer(head, body)
        text = msgspec.json.encode(said)
        answer = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(text))
        later = self._world.chance.choice((0, 0, 0, 0.001, 0.003))
        asyncio.get_running_loop().call_later(later, self._transport.write, answer + text)


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


class Login:
    """One person's login, of which there are several: its access token, and what it may."""

    numbers = itertools.count()

    def __init__(self, world: World, number: int, resource: str) -> None:
        self.person, self.name = f"someone-{number}", f"login-{next(self.numbers)}"
        self.scopes = {READ, WRITE} if number % 3 else {READ}
        now = int(time.time())
        said = {
            "iss": f"http://127.0.0.1:{world.port}/realm", "aud": resource, "iat": now, "exp": now + 900, "typ": "Bearer",
            "sub": self.person, "sid": self.name, "azp": "client", "scope": " ".join(sorted(self.scopes)),
        }  # fmt: skip
        self.token = jwt.encode({"alg": "ES256", "typ": "JWT", "kid": "k"}, said, KEY, algorithms=["ES256"])


def whose(folder: Path) -> Path:
    """The API's document: one operation that reads and one that writes."""
    content = {"application/json": {"schema": {"type": "object", "properties": {"note": {"type": "string"}}}}}
    writing = get("writeOne", WRITE)["get"] | {"requestBody": {"required": True, "content": content}}
    place = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    writing["parameters"] = [place]
    paths = {"/read/{id}": get("readOne", READ, place), "/write/{id}": {"post": writing}}
    (folder / "whose.json").write_bytes(document(paths))
    return folder / "whose.json"


def made(folder: Path, world: World) -> McpPlugin:
    """The server: the API's operations, and a handler that asks it twice."""
    server = McpServer("whose", scopes=(Scope(READ), Scope(WRITE)))

    @server.tool(scopes={READ})
    async def twice(number: str, ctx: Context) -> dict[str, Any]:
        """Ask twice."""
        first = (await ctx.upstream("whose").get(f"/read/{number}")).json()
        second = (await ctx.upstream("whose").get(f"/read/{number}")).json()
        assert first == second
        return dict(second)

    base = f"http://127.0.0.1:{world.port}"
    loaded = settings.load(
        {
            "MCP_ISSUER": f"{base}/realm",
            "MCP_OPENAPI": str(whose(folder)),
            "MCP_UPSTREAM_URL": base,
            "MCP_UPSTREAM_AUDIENCE": AUDIENCE,
            "MCP_CLIENT_SECRET": "s3cret",
            "MCP_ALGORITHMS": '["ES256"]',
            "MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL": "1000000",
            "MCP_AUDIT_FILE": str(folder / "audit.jsonl"),
        }
    )
    return create_app(server, loaded).plugins.get(McpPlugin)


class Run:
    """The server, the world around it, and the people who call."""

    def __init__(self, plugin: McpPlugin, world: World) -> None:
        self.plugin, self.world, self.chance = plugin, world, world.chance
        self.resource = plugin._settings.auth.resource
        self.logins = [Login(world, number % PEOPLE, self.resource) for number in range(2 * PEOPLE)]
        self.ends: Counter[str] = Counter()

    async def call(self, number: int) -> None:
        """One call of anybody's; it may be given up at any moment."""
        place = self.chance.randrange(len(self.logins))
        login, mark = self.logins[place], f"call-{number}"
        tool = self.chance.choice(TOOLS)
        asking = asyncio.create_task(self._ask(login, tool, mark))
        if self.chance.random() < 0.1:
            for _ in range(self.chance.randrange(30)):
                await asyncio.sleep(0)
            asking.cancel()
        try:
            status, body = await asking
        except asyncio.CancelledError:
            self.ends["given up"] += 1
            return
        self._judge(login, tool, mark, status, body)
        if status == 401:  # this login is over, as the issuer has said: they come back with another
            self.logins[place] = Login(self.world, int(login.person.partition("-")[2]), self.resource)

    def _judge(self, login: Login, tool: str, mark: str, status: int, body: bytes) -> None:
        strange = {*TOLD.findall(body.decode())} - {login.person, mark}
        assert not strange, (login.person, mark, body)
        if tool == "write_one" and WRITE not in login.scopes:
            assert status in (401, 403), (status, body)
            self.ends["challenged"] += 1
            return
        if status != 200:
            assert status == 401, (status, body)
            self.ends["session over"] += 1
            return
        result = msgspec.json.decode(body)["result"]
        if result.get("isError"):
            assert any(one in result["content"][0]["text"] for one in ENDS), body
            self.ends["no access"] += 1
            return
        told = msgspec.json.decode(result["content"][0]["text"])
        wanted = WRITE if tool == "write_one" else READ
        assert (told["whose"], told["login"]) == (login.person, login.name), (login.name, told)
        assert (told["aud"], told["scope"], told["asked"]) == (AUDIENCE, wanted, mark), told
        assert tool != "write_one" or msgspec.json.decode(told["body"]) == {"note": mark}
        self.ends["answered"] += 1

    async def _ask(self, login: Login, tool: str, mark: str) -> tuple[int, bytes]:
        arguments = {"number" if tool == "twice" else "id": mark} | ({"note": mark} if tool == "write_one" else {})
        params = {"name": tool, "arguments": arguments}
        modern = self.chance.random() < 0.5
        message = (wire.modern if modern else wire.legacy)("tools/call", params)
        fields = wire.headers("tools/call", tool) if modern else {"mcp_protocol_version": "2025-11-25"}
        return await posted(self.plugin, message, login.token, fields, gone=self.chance.random() < 0.05)


async def posted(plugin: McpPlugin, message: Any, token: str, more: dict[str, str], *, gone: bool) -> tuple[int, bytes]:
    """One POST to the endpoint; who is `gone` hangs up as soon as they have asked."""
    content = msgspec.json.encode(message)
    fields = {"host": "localhost:8000", "content-type": "application/json", "content-length": str(len(content))}
    fields |= {"accept": "application/json, text/event-stream", "authorization": f"Bearer {token}", **more}
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "raw_path": b"/mcp", "query_string": b""}
    first: list[Any] = [{"type": "http.request", "body": content}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if first:
            return dict(first.pop())
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await plugin.endpoint({**scope, "client": ("127.0.0.1", 5), "headers": named}, receive, send)
    if gone:
        raise asyncio.CancelledError
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return sent[0]["status"], body.partition(b"data: ")[2].partition(b"\n")[0] or body


@asynccontextmanager
async def running(folder: Path, seed: int) -> AsyncIterator[Run]:
    world = World(random.Random(seed))
    server = await asyncio.get_running_loop().create_server(lambda: Connection(world), "127.0.0.1", 0)
    world.port = server.sockets[0].getsockname()[1]
    plugin: Any = made(folder, world)
    try:
        async with plugin._lifespan(None):
            yield Run(plugin, world)
    finally:
        server.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_interleaving_mixes_people_up_or_passes_a_token_on(seed: int, tmp_path: Path) -> None:
    async def go() -> Run:
        async with running(tmp_path, seed) as run:
            numbers = iter(range(CALLS))

            async def one_after_another() -> None:
                for number in numbers:
                    await run.call(number)

            await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
            return run

    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(seed)) as runner:
        run = runner.run(go())
    assert run.world.wrong == []
    assert run.ends.total() == CALLS
    kinds = ("answered", "no access", "session over", "challenged", "given up")
    assert all(run.ends[kind] for kind in kinds), run.ends
    assert run.ends["answered"] > CALLS / 2, run.ends
    assert all(run.world.seen[kind] for kind in ("refused", "ended", "rejected")), run.world.seen
    audit = "".join(path.read_text() for path in tmp_path.glob("audit*"))
    assert not re.search(r"eyJ|given\.\d", audit)
