"""The commands of devstack in this process, so that each of their lines is seen."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from devstack.cli import main
from devstack.first_call import Example, callers, example
from devstack.processes import PortInUse, Stack, port_of, require_free
from devstack.realm.client_scopes import PARAMETERS
from devstack.realm.model import read
from devstack.realm.scopes import DEMO, Api, DeclaredServer, Scope, of_server, usual_server
from devstack.up import realm_file
from devstack.welcome import Screen, welcome
from tests.kit.authorities import claims
from tests.kit.imports import document
from tests.kit.keycloak_standin import installed
from tests.kit.stack import Stack as Running
from tests.kit.stack import free_port

Tools = dict[str, list[str] | dict[str, Any]]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "arguments", [("token", "alice", "--issuer", "http://127.0.0.1:1/realms/mcp"), ("tokn",), ("--x",)]
)
def test_where_nobody_looks_an_error_is_a_line(arguments: tuple[str, ...]) -> None:
    found = run(*arguments)
    assert found.exit_code in (1, 2)
    assert found.stderr.splitlines()[-1].startswith("Error: ")
    assert "│" not in found.stderr


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        *((option, ("up",)) for option in ("--issuer", "--resource", "--api", "--document-origin")),
        *((option, ("token", "alice")) for option in ("--issuer", "--resource")),
        ("--issuer", ("logout", "alice")),
        ("--issuer", ("rotate-keys",)),
        *((option, ("realm", "diff")) for option in ("--keycloak", "--resource")),
    ],
)
@pytest.mark.parametrize("url", ["foo", "http:foo", "http://localhost:81000"])
def test_what_is_no_url_is_refused_by_its_option(option: str, arguments: tuple[str, ...], url: str) -> None:
    found = run(*arguments, option, url)
    assert found.exit_code == 2
    assert f"Error: Invalid value for '{option}': must be an absolute http(s) URL" in found.stderr


@pytest.mark.parametrize("option", ["--issuer", "--resource", "--api"])
@pytest.mark.parametrize(
    "url",
    [
        "https://localhost:8000/x",
        "http://a.example:8000/x",
        "http://localhost:8000/x?y=1",
        "http://localhost:8000/x?",
        "http://[::1]:8000/x",
        "http://u:p@localhost:8000/x",
    ],
)
def test_what_is_started_is_at_an_address_of_this_machine(option: str, url: str) -> None:
    """Elsewhere, or by https, it was waited for in vain for a minute, or refused by a child."""
    found = run("up", option, url)
    assert found.exit_code == 2
    assert f"Error: Invalid value for '{option}': must be http://localhost:PORT/PATH" in found.stderr


def addresses() -> tuple[str, str]:
    return f"http://localhost:{free_port()}/realms/mcp", f"http://localhost:{free_port()}/mcp"


@contextmanager
def once_ready(resource: str, then: Callable[[], None]) -> Iterator[None]:
    """Does something when the server answers, however long a Keycloak takes on a busy machine; not after the block."""
    over = threading.Event()

    def wait() -> None:
        with httpx.Client(trust_env=False) as http:
            while not over.wait(0.02):
                with contextlib.suppress(httpx.TransportError):
                    if http.get(resource.replace("/mcp", "/readyz")).status_code == 200:
                        then()
                        return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.live
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket that the signal came before
@pytest.mark.parametrize(
    ("ending", "more"), [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGINT, ("--keycloak", "--features", ""))]
)
def test_up_until_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals, more: tuple[str, ...]
) -> None:
    for name, value in installed(tmp_path).items() if more else ():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    issuer, resource = addresses()
    before = signal.getsignal(ending)
    with once_ready(resource, lambda: os.kill(os.getpid(), ending)):
        api = f"http://localhost:{free_port()}"
        found = run("up", "--issuer", issuer, "--resource", resource, "--api", api, *more)
    assert found.exit_code == 0, found.output
    assert found.output.rstrip().endswith("stopped")
    assert signal.getsignal(ending) is before
    require_free(issuer, "x")
    require_free(resource, "x")
    require_free(api, "x")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--resource", "{issuer}"), "the authorization server and the MCP server cannot both have port {port}: "),
        (
            ("--api", "http://localhost:{port}"),
            "the authorization server and the sample API cannot both have port {port}: ",
        ),
    ],
)
def test_two_that_would_have_one_port_are_told_before_anything_runs(more: tuple[str, ...], said: str) -> None:
    issuer, resource = addresses()
    place = {"issuer": issuer, "port": str(port_of(issuer))}
    given = ["--issuer", issuer, "--resource", resource, *(one.format(**place) for one in more)]
    found = run("up", *given)
    assert found.exit_code == 1
    assert said.format(**place) in " ".join(found.output.split())


SHOP = """
from mcp_server import McpServer, Scope

server = McpServer("shop", version="1", scopes=({},))


@server.tool(scopes={{"{}"}})
async def look(number: int) -> str:
    \"\"\"Look around.\"\"\"
    return ""
"""


@pytest.mark.parametrize(
    ("declared", "scope", "asked"),
    [
        ("", "shop:look", "token alice --scope shop:look --issuer"),
        ("Scope('shop:look', 'Look', roles=('writer',))", "shop:look", "token bob --scope shop:look --issuer"),
        ("Scope('shop:look', 'Look', roles=('clerk',))", "shop:look", "token carol --scope shop:look --issuer"),
        ("Scope('mcp:read', 'Look', roles=('admin',))", "mcp:read", "token carol --issuer"),
        ("", "mcp:read", "token alice --issuer"),
        (
            "Scope('shop:sell', 'Sell', roles=('writer',))",
            "shop:sell:{number}",
            "token bob --scope shop:sell:1 --issuer",
        ),
    ],
)
def test_the_first_line_to_paste_is_one_that_a_person_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str, scope: str, asked: str
) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(declared, scope).replace("(,)", "()"))
    monkeypatch.chdir(tmp_path)
    features = ("cimd", PARAMETERS)
    told = of_server("shop:server")
    file = realm_file(told, documents=True, parameters=True)
    realm = read("http://localhost:1/realms/mcp", features=features, file=file)
    screen = welcome(realm, Screen(server="shop:server", told=told))
    assert asked in screen
    assert ("tools/list" in screen, "list_orders" in screen) == (True, False)


@pytest.mark.parametrize(
    ("file", "text", "given", "found"),
    [
        ("", "", {}, DEMO),
        ("", "", {"MCP_OPENAPI": ""}, DEMO),
        ("", "", {"MCP_OPENAPI": "orders.yaml"}, ""),
        ("", "", {"MCP_CONFIG_FILE": "/etc/config"}, ""),
        ("mcp.toml", "", {}, ""),
        (".env", "# MCP_OPENAPI=orders.yaml\nMCP_OPENAPI=\nMCP_PORT=1\n", {}, DEMO),
        (".env", "MCP_PORT=1\nexport MCP_OPENAPI = orders.yaml\n", {}, ""),
    ],
)
def test_an_api_of_ones_own_is_served_without_naming_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, given: dict[str, str], found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if file:
        (tmp_path / file).write_text(text)
    assert usual_server(given) == found


def test_an_imported_api_is_in_the_realm_and_on_the_first_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scopes = Scope("shop:look", "Look"), Scope("shop:sell", "Sell", roles=("writer",))
    told = DeclaredServer(scopes, (Api("shop-api", ("shop:look", "shop:sell")),))
    realm = read("http://localhost:1/realms/mcp", file=realm_file(told, documents=True, parameters=False))
    assert any(one.client_id == "shop-api" for one in realm.clients)
    assert next(one for one in realm.scopes if one.name == "shop-api-audience").audience == "shop-api"
    wanted = Example(user="bob", scope="shop:sell shop:look", tool="list_sales")
    screen = welcome(realm, Screen(server="", told=told, example=wanted))
    for text in (
        "your API       gets tokens of this issuer (http://localhost:1/realms/mcp/protocol/openid-connect/certs)",
        "aud shop-api and scope shop:look shop:sell",
        "alice (shop:look), bob (shop:look shop:sell), carol (shop:look shop:sell); the password is the name",
        "token bob --scope 'shop:sell shop:look' --issuer",
        '"params":{"name":"list_sales","arguments":{}}',
        '{"mcpServers": {"shop-api": ',
    ):
        assert text in screen


async def test_a_call_that_can_be_shown_is_found_in_the_list(stack: Running) -> None:
    """What changes nothing and asks for nothing, by whom its scopes are for; what a function tells is not guessed."""
    realm = read(stack.issuer.realm.issuer, stack.resource)
    needs: Tools = {
        "find": ["mcp:read"],
        "get_order": ["orders:write"],
        "list_orders": {"any_of": [["no:such"], ["mcp:write"]]},
    }
    found = await asyncio.to_thread(example, realm, DeclaredServer((), tools={**needs, "told": {"function": "told"}}))
    assert found == Example(user="bob", scope="mcp:write", tool="list_orders")
    without: list[Tools] = [{}, {"get_order": ["mcp:read"]}, {"list_orders": []}, {"list_orders": ["no:such"]}]
    for nothing in without:
        assert await asyncio.to_thread(example, realm, DeclaredServer((), tools=nothing)) is None
    away = read(addresses()[0], stack.resource)
    assert await asyncio.to_thread(example, away, DeclaredServer((), tools=needs)) is None


def test_a_call_that_shows_what_is_exchanged_is_looked_for_first() -> None:
    tools: Tools = {"health": ["mcp:read"], "list_orders": {"any_of": [["orders:read"]]}, "drop": ["orders:write"]}
    found = callers(read(), DeclaredServer((), (Api("orders-api", ("orders:read", "orders:write")),), tools))
    assert [*found.items()] == [
        ("list_orders", ("alice", "orders:read")),
        ("drop", ("bob", "orders:write")),
        ("health", ("alice", "mcp:read")),
    ]


def test_an_api_that_comes_to_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orders.json").write_bytes(document({}))
    monkeypatch.chdir(tmp_path)
    for name, value in (("OPENAPI", "orders.json"), ("UPSTREAM_URL", "https://a.test"), ("UPSTREAM_AUDIENCE", "a")):
        monkeypatch.setenv(f"MCP_{name}", value)
    issuer, resource = addresses()
    found = run("up", "--issuer", issuer, "--resource", resource)
    assert (found.exit_code, "comes to no tools" in found.output) == (1, True)
    monkeypatch.delenv("MCP_UPSTREAM_AUDIENCE")
    found = run("up", "--issuer", issuer, "--resource", resource)
    assert "apis.orders.identity.audience: is required" in " ".join(found.output.replace("│", " ").split())
    assert (found.output.count("╭"), found.output.count("Error")) == (0, 1)


def test_a_server_that_tells_no_scopes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    issuer, resource = addresses()
    found = run("up", "--server", "no_such_shop:server", "--issuer", issuer, "--resource", resource)
    assert (found.exit_code, "no_such_shop" in found.output) == (1, True)


def test_a_port_in_use_is_named() -> None:
    issuer, resource = addresses()
    with socket.create_server(("127.0.0.1", httpx.URL(issuer).port or 0)):
        found = run("up", "--issuer", issuer, "--resource", resource)
        assert (found.exit_code, "is in use" in found.output) == (1, True)
        with pytest.raises(PortInUse, match="the authorization server needs it"):
            require_free(issuer, "the authorization server")


async def test_a_misspelt_scope_is_told_beside_those_of_the_realm(stack: Running) -> None:
    asked = ("token", "alice", "--scope", "mcp:reed", "--resource", stack.resource)
    found = await asyncio.to_thread(run, *asked, "--issuer", stack.issuer.realm.issuer)
    said = " ".join(found.output.replace("│", " ").split())
    assert (found.exit_code, "invalid_scope" in said, "the realm has: email mcp:admin" in said) == (1, True, True)


async def test_token_and_rotation(stack: Running) -> None:
    named = ["--issuer", stack.issuer.realm.issuer]
    resource = ["--resource", stack.resource]
    found = await asyncio.to_thread(run, "token", "bob", "--scope", "mcp:write", *named, *resource)
    assert (found.output.count("."), found.stderr) == (2, "")
    less = await asyncio.to_thread(run, "token", "alice", "--scope", "mcp:read mcp:write mcp:admin", *named, *resource)
    assert (less.exit_code, less.stdout.count("."), less.stdout.count("\n")) == (0, 2, 1)
    assert "warning: without mcp:write mcp:admin: alice has no role" in less.stderr
    stronger = await asyncio.to_thread(run, "token", "bob", "--acr", "2", *named, *resource)
    assert [claims(one.output)["acr"] for one in (found, stronger)] == ["1", "2"]
    wrong = await asyncio.to_thread(run, "token", "nobody", *named, *resource)
    assert (wrong.exit_code, "no such user, or wrong password: nobody" in wrong.output) == (1, True)
    ended = await asyncio.to_thread(run, "logout", "bob", *named)
    assert ended.output == "logins of bob that ended: 2\n"
    assert (await asyncio.to_thread(run, "logout", "bob", *named)).output == "logins of bob that ended: 0\n"
    nobody = await asyncio.to_thread(run, "logout", "nobody", *named)
    assert (nobody.exit_code, nobody.stdout, "there is no nobody" in nobody.stderr) == (1, "", True)
    rotated = await asyncio.to_thread(run, "rotate-keys", "--drop-old", *named)
    assert [line.split()[0] for line in rotated.output.splitlines()] == ["new", "new"]
    both = await asyncio.to_thread(run, "rotate-keys", *named)
    assert [line.split()[0] for line in both.output.splitlines()] == ["new", "new", "former", "former"]
    assert both.output.split()[5::2] == rotated.output.split()[1::2]


def test_nothing_answers() -> None:
    issuer, _ = addresses()
    for command in (["token", "bob"], ["rotate-keys"], ["logout", "bob"]):
        assert "devstack up" in run(*command, "--issuer", issuer).output


def test_a_child_that_does_not_listen_is_ended_all_the_same(tmp_path: Path) -> None:
    stack, deaf = Stack(stop_s=0.1), tmp_path / "deaf"
    code = (
        "import pathlib, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).touch(); signal.pause()"
    )
    stack.start("stubborn", ["-c", code, str(deaf)], {})
    while not deaf.exists():
        assert stack.ended() is None
        stack.watch(0.05)
    with pytest.raises(TimeoutError):
        stack.wait_ready([f"http://localhost:{free_port()}/"], 0.5)
    child = stack._children["stubborn"]
    stack.stop()
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_ends_early_is_named() -> None:
    stack = Stack()
    stack.start("short", ["-c", "pass"], {})
    with pytest.raises(ChildProcessError, match="short"):
        stack.wait_ready([f"http://localhost:{free_port()}/"], 20)
    stack.stop()


@pytest.mark.live
@pytest.mark.parametrize("moment", ["at once", "while it loads", "when it listens"])
def test_the_issuer_ends_when_it_is_told_to_however_early(moment: str) -> None:
    """A worker process that is told to end before it has handlers of its own would make Ctrl-C wait for the kill."""
    issuer, resource = addresses()
    stack = Stack()
    stack.start("issuer", ["-m", "devstack.authserver"], {"DEVSTACK_ISSUER": issuer, "DEVSTACK_RESOURCE": resource})
    child = stack._children["issuer"]
    if moment == "while it loads":
        while not (_has_children(child.pid) or _listens(issuer)):
            assert child.poll() is None
    elif moment == "when it listens":
        stack.wait_ready([issuer.replace("/realms/mcp", "/healthz")], 60)
    stack.stop()
    assert child.returncode in (0, -signal.SIGTERM, -signal.SIGABRT)  # granian aborts where its threads are half made


def _has_children(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def _listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", httpx.URL(url).port or 0)) == 0
