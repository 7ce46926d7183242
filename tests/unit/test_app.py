"""The composition root: what an application gets, what is advertised of a registry that changes, its two starts."""

import asyncio
import re
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get
from loguru import logger
from prometheus_client import REGISTRY

from mcp_server import McpPlugin, McpServer, Scope, Settings, create_app, requires_scopes, settings
from tests.kit import wire
from tests.unit.observe.test_audit import lines

ORIGIN = "http://localhost:8000"
AWAY = "http://localhost:9/realms/mcp"


def loaded(tmp_path: Path, **more: str) -> Settings:
    return settings.load({"MCP_ISSUER": AWAY, "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl"), **more})


def client(app: Litestar) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=cast("Any", app)), base_url=ORIGIN)


def scopes_of(answer: httpx.Response) -> list[str]:
    found = re.search('scope="([^"]*)"', answer.headers["www-authenticate"])
    return found[1].split() if found else []


@get("/report", guards=[requires_scopes("report:read")])
async def report() -> str:
    return "report"


class Changing:
    """A server whose tools come and go, in an application with a guarded route."""

    def __init__(self, tmp_path: Path, **more: str) -> None:
        self.server = McpServer("changing")
        self.add("first", "a:read")
        self.app = Litestar(
            [report],
            plugins=[McpPlugin(self.server, loaded(tmp_path, **more))],
            openapi_config=None,
            logging_config=None,
        )

    def add(self, name: str, *scopes: str, public: bool = False) -> None:
        @self.server.tool(name, scopes=set(scopes) or None, public=public)
        async def tool() -> str:
            return "done"

    async def advertised(self) -> tuple[list[str], list[str], list[str], bool]:
        """The scopes of the metadata, of the endpoint's 401 and of a guard's; whether strangers come in."""
        async with client(self.app) as http:
            metadata = (await http.get("/.well-known/oauth-protected-resource")).json()["scopes_supported"]
            guard = scopes_of(await http.get("/report"))
            stranger = await http.post("/mcp", json=wire.legacy("tools/list"))
            token = await http.post("/mcp", json=wire.legacy("tools/list"), headers={"authorization": "Bearer x"})
            return metadata, scopes_of(token), guard, stranger.status_code == 200


@pytest.mark.requirement("25.6")
async def test_challenges_metadata_and_guards_say_the_same_of_tools_that_come_and_go(tmp_path: Path) -> None:
    """House fault 19: challenges, and whether strangers come in, were those of the start."""
    changing = Changing(tmp_path)
    assert await changing.advertised() == (["a:read"], ["a:read"], ["a:read"], False)
    changing.add("second", "b:write")
    both = ["a:read", "b:write"]
    assert await changing.advertised() == (both, both, both, False)
    changing.add("third", public=True)
    assert await changing.advertised() == (both, both, both, True)
    changing.server.remove_tool("first")
    changing.server.remove_tool("third")
    assert await changing.advertised() == (["b:write"], ["b:write"], ["b:write"], False)
    changing.server.resource("x://y", name="y", scopes={"c:read"})(report.fn)
    changed = ["b:write", "c:read"]
    assert await changing.advertised() == (changed, changed, changed, False)


async def test_an_operators_list_is_what_is_asked_for_whatever_comes_and_goes(tmp_path: Path) -> None:
    changing = Changing(tmp_path, MCP_CHALLENGE_SCOPES="login")
    changing.add("second", "b:write")
    assert await changing.advertised() == (["login"], ["login"], ["login"], False)


def plugged(tmp_path: Path, *handlers: Any, **more: Any) -> Litestar:
    plugin = McpPlugin(McpServer("s"), loaded(tmp_path), **more)
    return Litestar(list(handlers), plugins=[plugin], openapi_config=None, logging_config=None)


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        ({}, [200, 503, 401]),
        ({"probes": False}, [404, 404, 401]),
        ({"counters": False}, [200, 503, 404]),
        ({"probes": False, "counters": False}, [404, 404, 404]),
    ],
)
async def test_probes_and_counters_can_be_left_to_the_application(
    tmp_path: Path, more: dict[str, bool], statuses: list[int]
) -> None:
    async with client(plugged(tmp_path, **more)) as http:
        assert [(await http.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")] == statuses
        assert (await http.get("/.well-known/oauth-protected-resource/mcp")).status_code == 200


async def test_an_application_keeps_its_own_healthz(tmp_path: Path) -> None:
    @get("/healthz")
    async def healthz() -> str:
        return "the application's"

    async with client(plugged(tmp_path, healthz, probes=False)) as http:
        assert (await http.get("/healthz")).text == "the application's"


async def test_a_strange_host_is_refused_on_our_routes_and_none_of_our_business_on_others(tmp_path: Path) -> None:
    @get("/own")
    async def own() -> str:
        return "own"

    app = plugged(tmp_path, own)
    async with client(app) as http:
        strange = {"host": "evil.example"}
        assert (await http.get("/.well-known/oauth-protected-resource", headers=strange)).status_code == 403
        assert (await http.get("/healthz", headers=strange)).status_code == 200  # probes ask by address
        assert (await http.get("/healthz", headers={"host": "localhost:x"})).status_code == 400
        app.plugins.get(McpPlugin)._audit.flush()
        assert len(lines(tmp_path / "audit.strangers.jsonl")) == 2
        twice = [("host", "localhost"), ("host", "localhost")]
        assert [(await http.get(path, headers=twice)).status_code for path in ("/healthz", "/own")] == [400, 200]


def tried() -> float:
    labels = {"issuer": AWAY, "outcome": "failed"}
    return REGISTRY.get_sample_value("mcp_key_fetches_total", labels) or 0.0


def test_each_start_refreshes_and_each_end_closes_what_it_opened(tmp_path: Path) -> None:
    """House fault 12. A new loop each time, as tests of an author's application have it."""
    app = create_app(McpServer("twice"), loaded(tmp_path))
    assert not list(tmp_path.iterdir())

    async def life() -> None:
        before = tried()
        async with app.lifespan(), asyncio.timeout(60):
            assert (tmp_path / "audit.jsonl").exists()
            while tried() == before:
                await asyncio.to_thread(lambda: None)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(life())
    asyncio.run(life())


def test_what_fails_at_the_start_closes_what_was_opened_before_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "audit.jsonl")
    app = create_app(McpServer("s"), loaded(tmp_path, MCP_AUDIT_FILE=place))

    async def life() -> None:
        with pytest.raises(ExceptionGroup) as failed:  # Litestar's own task group has it among what failed
            async with app.lifespan():
                pytest.fail("began")
        assert failed.group_contains(FileExistsError)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(life())


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("mcp:read mcp:wirte mcp:x", "['mcp:wirte', 'mcp:x']"),
        ("mcp:read", None),
        ("mcp:write recall", None),
        ("", None),
    ],
)
async def test_a_scope_that_clients_are_told_and_no_tool_needs_is_in_the_log(
    named: str, told: str | None, tmp_path: Path
) -> None:
    server = McpServer("s", scopes=[Scope(name) for name in ("mcp:read", "mcp:write", "recall")])  # for a handler

    @server.tool(scopes={"mcp:write"})
    async def write() -> None: ...

    @server.tool
    async def read() -> None: ...

    given = {"MCP_ISSUER": "http://localhost:1", "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message} {extra}", level="WARNING")
    try:
        async with create_app(server, settings.load({**given, "MCP_CHALLENGE_SCOPES": named})).lifespan():
            pass
    finally:
        logger.remove(sink)
    about = [line for line in lines if "MCP_CHALLENGE_SCOPES" in line]
    assert len(about) == (told is not None)
    assert all(str(told) in line for line in about)
