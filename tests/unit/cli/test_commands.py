"""The commands: what they print and how they end."""

import asyncio
import json
import re
import signal
import socket
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcp_server.cli import main
from tests.kit.interrupts import interruptible
from tests.kit.stack import running_stack
from tests.kit.tokens import OUT, Forge

DEMO = "tests.kit.servers.orders:server"


def run(*arguments: str, stdin: str | None = None, **environment: str) -> Any:
    clean = dict.fromkeys(("MCP_ISSUER", "MCP_RESOURCE"))
    return CliRunner().invoke(main, list(arguments), input=stdin, env={**clean, **environment})


def test_check_names_every_problem_or_says_what_is_trusted() -> None:
    bad = run("check", MCP_PORT="x", MCP_ISSUERS="y")
    assert bad.exit_code == 1
    assert all(name in bad.output for name in ("MCP_PORT", "MCP_ISSUERS", "MCP_ISSUER: is required"))
    good = run("check", MCP_ISSUER="https://kc.example/realms/mcp")
    assert good.exit_code == 0
    assert good.output == (
        "ok: the settings can be used (the issuer was not asked): "
        "http://localhost:8000/mcp trusts https://kc.example/realms/mcp\n"
    )


def test_scopes_are_shown_as_a_table_and_as_json() -> None:
    assert "delete_order  mcp:admin" in run("scopes", DEMO).output
    found = json.loads(run("scopes", DEMO, "--format", "json").output)
    assert [one["name"] for one in found["scopes"]] == [
        "mcp:read",
        "mcp:write",
        "mcp:infer",
        "orders:read",
        "orders:write",
        "mcp:admin",
    ]
    assert found["scopes"][-1] == {
        "name": "mcp:admin",
        "consent": "Administer through the MCP server",
        "roles": ["admin"],
        "implies": ["mcp:write"],
        "patterns": [],
    }
    assert found["tools"]["get_order"] == ["mcp:read"]


def test_scopes_are_shown_of_all_that_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "author_of_needs.py").write_text(NEEDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = run("scopes", "author_of_needs:server").output
    for row in (
        "refund  a orders:refund:{x} | b  fresh=60 acr=2,3",
        "told  (told by told)",
        "open  (public)",
        "a://b  mcp:read",
        "a://{x}  orders:refund:{x}",
        "ask  mcp:read",
        "what names none needs mcp:read",
    ):
        assert row in re.sub(" {2,}", "  ", shown)
    found = json.loads(run("scopes", "author_of_needs:server", "--format", "json").output)
    assert found["tools"]["refund"] == {"any_of": [["a", "orders:refund:{x}"], ["b"]]}
    assert (found["tools"]["told"], found["default"]) == ({"function": "told"}, ["mcp:read"])
    assert (found["templates"], found["prompts"]) == ({"a://{x}": ["orders:refund:{x}"]}, {"ask": ["mcp:read"]})
    assert {one["name"]: one["patterns"] for one in found["scopes"]}["orders:refund"] == ["orders:refund:{x}"]
    other = json.loads(run("scopes", "author_of_needs:server", "--format", "json", **SETTINGS).output)
    assert (other["default"], other["prompts"]) == (["else"], {"ask": ["else"]})


def test_what_only_functions_and_handlers_name_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "author_of_named.py").write_text(NAMED)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = run("scopes", "author_of_named:server").output
    assert "declared beside these, for functions and handlers to name: orders:discount:{x} recall clerk\n" in shown
    found = json.loads(run("scopes", "author_of_named:server", "--format", "json").output)["scopes"]
    assert {one["name"]: one["patterns"] for one in found} == {
        "a": [],
        "orders:discount": ["orders:discount:{x}"],
        "recall": [],
        "clerk": [],
    }


def test_check_warns_of_scopes_that_no_realm_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "author_of_loose.py").write_text(NEEDS)
    (tmp_path / "author_of_strict.py").write_text(NAMED)
    monkeypatch.syspath_prepend(str(tmp_path))
    loose = run("check", "author_of_loose:server", **SETTINGS)
    assert (loose.exit_code, loose.stderr.count("a function names its scopes")) == (0, 1)
    assert "warning: tool 'told': a function names its scopes, and the server declares none" in loose.stderr
    strict = run("check", "author_of_strict:server", MCP_PARAMETERIZED_SCOPES="true", **SETTINGS)
    base, implied = strict.stderr.splitlines()
    assert base.startswith("warning: tool 'base' needs orders:discount as it is, and with MCP_PARAMETERIZED_SCOPES")
    assert implied.startswith(
        "warning: scope 'orders:recall:*' is implied, and there is none that it could be: Scope('"
    )


NAMED = """
from mcp_server import McpServer, Scope
implied = ('orders:discount:*', 'orders:recall:*')
scopes = [Scope('a'), Scope('orders:discount:{x}'), Scope('recall'), Scope('clerk', implies=implied)]
server = McpServer('named', scopes=scopes)
def told(arguments, caller): return {'orders:discount:{x}'}
@server.tool(scopes=told)
def discount(x: int) -> str: return ''
server.tool('plain', scopes={'a'})(discount)
server.tool('base', scopes={'orders:discount'})(discount)
"""
SETTINGS = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_DEFAULT_SCOPES": "else"}
NEEDS = """
from mcp_server import McpServer, any_of
server = McpServer('needs')
def told(arguments, caller): return {'a'}
@server.tool(scopes=any_of({'a', 'orders:refund:{x}'}, {'b'}), fresh=60, acr=['2', '3'])
def refund(x: int) -> str: return ''
server.tool('told', scopes=told)(refund)
server.tool('open', public=True)(refund)
server.resource('a://b', name='b')(lambda: '')
@server.resource('a://{x}', scopes={'orders:refund:{x}'})
def of(x: str) -> str: return ''
@server.prompt
def ask() -> str: return ''
"""


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no.such.module:server", "no module"),
        ("json:server", "no McpServer"),
        ("tests.kit.servers.orders:other", "no McpServer"),
    ],
)
def test_a_target_that_is_none_is_named(target: str, said: str) -> None:
    found = run("scopes", target)
    assert (found.exit_code, said in found.output) == (1, True)


AUTHORS: dict[str, tuple[str, str]] = {
    "a type without JSON": ("@server.tool\ndef look(x: object) -> str:\n    return ''", "'look'"),
    "an undeclared scope": ("@server.tool(scopes={'mcp:write'})\ndef look() -> str:\n    return ''", "mcp:write"),
    "a scope that is none": ("Scope('a b')", "scope-token"),
    "a tool twice": (
        "for _ in range(2):\n    @server.tool(name='look')\n    def look() -> str: ...",
        "registered already",
    ),
}


@pytest.mark.parametrize("case", AUTHORS)
def test_what_is_refused_at_registration_is_told_in_a_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, said = AUTHORS[case]
    module = f"author_{case.replace(' ', '_')}"
    (tmp_path / f"{module}.py").write_text(
        "from mcp_server import McpServer, Scope\nserver = McpServer('x', scopes=[Scope('mcp:read')])\n" + body
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for verb in ("scopes", "serve"):
        found = run(verb, f"{module}:server", MCP_ISSUER="https://kc.example/realms/mcp")
        assert (found.exit_code, type(found.exception)) == (1, SystemExit)
        assert said in found.output
        assert f"{module}.py:" in found.output


def test_an_error_of_the_authors_own_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "author_of_an_error.py").write_text("int('x')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(run("scopes", "author_of_an_error:server").exception, ValueError)


@pytest.mark.parametrize("setting", ["MCP_PORT", "MCP_ADMIN_PORT"])
def test_a_port_that_is_in_use_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another server listens with SO_REUSEPORT, as granian does: the kernel would share the connections out."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = run("serve", DEMO, **{"MCP_ISSUER": "https://kc.example/realms/mcp", setting: str(port)})
    assert found.exit_code == 1
    assert f"port {port} is in use: {setting} names another" in " ".join(found.output.split())


def test_where_nobody_looks_an_error_has_no_frame_and_no_broken_line() -> None:
    """In the log of a container a line stays a line; a usage error names its command."""
    settings = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_AUDIT_CHAIN": "short"}
    found = run("serve", DEMO, **settings)
    told = "MCP_AUDIT_CHAIN: each must have at least 32 characters: openssl rand -base64 32"
    assert (found.exit_code, found.stderr.splitlines()) == (1, ["Error: the settings cannot be used:", told])
    found = run("revoke")
    assert (found.exit_code, found.stderr.splitlines()[1:]) == (
        2,
        ["Error: Missing option '--why'.", "Try 'main revoke --help' for help."],
    )
    found = run("--verison")
    assert found.exit_code == 2
    assert found.stderr.splitlines()[1].startswith("Error: No such option '--verison'")


async def test_an_interrupt_while_it_is_loaded_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "rich_click.py").write_text("import sys\nprint('loading', flush=True)\nsys.stdin.read()\n")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mcp_server", "serve"),
        env={"PYTHONPATH": str(tmp_path)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=interruptible,
    )
    assert child.stdout
    assert child.stderr
    async with asyncio.timeout(60):
        assert await child.stdout.readline() == b"loading\n"
        child.send_signal(signal.SIGINT)
        assert (await child.wait(), await child.stderr.read()) == (-signal.SIGINT, b"")


def test_the_next_release_may_begin_beside_the_last_one_where_that_is_said() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = {"MCP_PORT": str(other.getsockname()[1]), "MCP_AUDIT_FILE": "/proc/none", "MCP_REUSE_PORT": "true"}
        found = run("serve", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", **settings)
    said = " ".join(found.output.split())
    assert (found.exit_code, "MCP_AUDIT_FILE" in said, "in use" in said) == (1, True, False)


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    found = run("serve", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", MCP_HOST="192.0.2.1")
    assert found.exit_code == 1
    assert "cannot listen on 192.0.2.1, port 8000 (MCP_HOST, MCP_PORT): " in " ".join(found.output.split())


@pytest.mark.parametrize(
    ("resource", "path", "told"),
    [
        ("https://mcp.example", None, "MCP_RESOURCE has the path /, and the endpoint is at /mcp (MCP_PATH): "),
        ("https://mcp.example/api/mcp", None, "MCP_RESOURCE has the path /api/mcp, and the endpoint is at /mcp "),
        ("https://mcp.example/api/mcp", "/api/mcp", ""),
        ("https://mcp.example/mcp/", None, ""),
        ("https://mcp.example", "/", ""),
    ],
)
def test_check_tells_a_public_path_that_is_not_the_endpoints(resource: str, path: str | None, told: str) -> None:
    given = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": resource}
    found = run("check", DEMO, MCP_CLIENT_SECRET="s3cret", **given, **({"MCP_PATH": path} if path else {}))
    assert found.exit_code == 0
    assert found.stderr.startswith(f"warning: {told}" if told else "")
    assert bool(found.stderr) == bool(told)


@pytest.mark.parametrize(
    ("stated", "needed"),
    [
        ({"MCP_ADMIN_HOST": "0.0.0.0"}, {"MCP_ADMIN_PORT": "9000"}),
        ({"MCP_AUDIT_KEEP": "9"}, {"MCP_AUDIT_FILE": "audit.jsonl"}),
        ({"MCP_AUDIT_MAX_BYTES": "20000"}, {"MCP_AUDIT_FILE": "audit.jsonl"}),
        ({"MCP_OTLP_HEADERS": "api-key=k"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}),
        ({"MCP_NO_PROXY": "kc.example"}, {"MCP_PROXY": "http://proxy.example:3128"}),
        ({"MCP_STEP_UP_URL": "https://mcp.example/more"}, {"MCP_STEP_UP": "both"}),
    ],
)
def test_check_tells_a_setting_that_is_of_no_use_alone(stated: dict[str, str], needed: dict[str, str]) -> None:
    """Who states the address and no port believes that metrics are there, who states a key that they are sent."""
    alone = run("check", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", **stated)
    (name,), (other,) = stated, needed
    assert alone.exit_code == 0
    assert alone.stderr.startswith(f"warning: {name} is set, and is of no use without {other}")
    assert not run("check", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", **stated, **needed).stderr


@pytest.mark.parametrize(
    "said",
    [
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "collector:4318"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_check_tells_of_no_header_where_somebody_speaks_of_a_collector(said: dict[str, str]) -> None:
    found = run("check", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", MCP_OTLP_HEADERS="api-key=k", **said)
    assert not found.stderr


def test_check_tells_an_audience_of_no_api() -> None:
    found = run("check", DEMO, MCP_ISSUER="https://kc.example/realms/mcp", MCP_UPSTREAM_AUDIENCE="orders")
    assert found.stderr == "warning: MCP_UPSTREAM_AUDIENCE is set, and is of no use without MCP_OPENAPI\n"


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        (":server", ""),
        (".orders:server", ", as in orders:server"),
        ("./orders.py:server", ", as in orders:server"),
        ("shop/orders.py", ", as in shop.orders:server"),
        ("/srv/orders", ", as in orders:server, from the folder /srv"),
        ("../shop/orders.py:api", ", as in orders:api, from the folder ../shop"),
        (str(Path.cwd() / "shop" / "orders.py"), ", as in shop.orders:server"),
        ("orders.py:api", ", as in orders:api"),
        ("orders", ""),
    ],
)
def test_a_file_in_place_of_a_module_is_told(named: str, hint: str) -> None:
    found = run("scopes", named)
    assert found.exit_code == 1
    assert found.stderr.splitlines()[-1].endswith(f"; expected module:server{hint}")
    assert found.stderr.splitlines()[-1].startswith("Error: no module '")


URL = "https://mcp.example/mcp"


def test_without_an_address_the_settings_must_say_it() -> None:
    found = run("client-config", "vscode", MCP_PORT="x")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "--url" in found.stderr
    assert "MCP_PORT" in found.stderr


def test_serve_refuses_bad_settings_before_anything_runs() -> None:
    found = run("serve", DEMO, MCP_PORT="x")
    assert found.exit_code == 1
    assert "MCP_PORT" in found.output


def test_explain_token_needs_settings() -> None:
    assert run("explain-token", "abc").exit_code == 1


@pytest.mark.parametrize("stdin", ["", "\n", "Bearer ", "Bearer"])
def test_explain_token_without_a_token_says_so(stdin: str) -> None:
    found = run("explain-token", stdin=stdin, MCP_ISSUER="https://kc.example/realms/mcp")
    assert (found.exit_code, "no token given" in found.output) == (1, True)


async def test_explain_token_names_the_step_and_the_cure(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        forge = Forge(stack)
        known = {"MCP_ISSUER": stack.issuer.realm.issuer, "MCP_RESOURCE": stack.resource}
        for token, code, said in [
            (forge.token(), 0, "accepted (revocations and introspection are not looked at)"),
            (forge.token(aud="account"), 1, "Audience mapper"),
            (forge.token(aud="account"), 1, f"expected {stack.resource}; this token has the scopes: "),
            (forge.token(aud="account", scope="openid email"), 1, "has the scopes: openid email"),
            (forge.token(aud=["account", 5], scope=OUT), 1, "has the scopes: none"),
            (forge.token(exp=1), 1, "expired"),
            (forge.token(header={"kid": "x"}, iat=1), 1, "unknown_key"),
            ("abc", 1, "not_a_token"),
            (forge.token(pad="x" * 13_000), 1, "MCP_MAX_TOKEN_BYTES"),
            (forge.token(sub=OUT), 1, "'basic'"),
            (forge.token(sid=OUT), 1, "keycloak: no sid"),
            (forge.token(sid=OUT, azp="job"), 1, "MCP_SERVICE_CLIENTS"),
            (forge.token(jti="onrtcc:1"), 1, "jti says client_credentials"),
            (forge.token(typ="DPoP"), 1, "typ DPoP must have cnf"),
        ]:
            found = await asyncio.to_thread(run, "explain-token", stdin=f"Bearer {token}\n", **known)
            assert (found.exit_code, said in found.output) == (code, True), found.output
            assert token not in found.output
        broken = "\n  ".join(textwrap.wrap(forge.token(), 76))  # as a terminal or a mail gives it
        assert (await asyncio.to_thread(run, "explain-token", stdin=broken, **known)).exit_code == 0
        admin = forge.token(scope="mcp:admin")
        for arguments, held in (((), ["mcp:admin"]), (("--server", DEMO), ["mcp:admin", "mcp:read", "mcp:write"])):
            found = await asyncio.to_thread(run, "explain-token", *arguments, stdin=admin, **known)
            assert json.loads(found.output.partition("\n")[2])["scopes"] == held
        roles: dict[str, Any] = {
            "realm_access": {"roles": ["admin"]},
            "resource_access": {stack.resource: {"roles": ["clerk"]}},
        }
        known["MCP_ROLE_SCOPES"] = '{"admin": ["mcp:admin"], "clerk": ["mcp:write"], "other": ["x"]}'
        found = await asyncio.to_thread(run, "explain-token", stdin=forge.token(**roles), **known)  # house fault 33
        told = json.loads(found.output.partition("\n")[2])
        assert (told["roles"], told["scopes"]) == (["admin", "clerk"], ["mcp:admin", "mcp:read", "mcp:write"])
