"""The commands over an API that is configured: what would be served, what a call would send, what is refused."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcp_server import settings
from mcp_server.app import FastPathApp
from mcp_server.cli import main, target
from mcp_server.cli.serving.folder import private_folder
from mcp_server.protocol.types.lifecycle import Implementation
from mcp_server.rest.importing.configs import DocumentInfo
from mcp_server.rest.importing.live_apis import LiveApis
from mcp_server.version import __version__
from tests.kit.imports import document, get, in_path

ENVIRONMENT = {
    "MCP_ISSUER": "https://login.test/realms/x",
    "MCP_RESOURCE": "https://mcp.test/mcp",
    "MCP_UPSTREAM_URL": "https://api.test/v1",
    "MCP_UPSTREAM_AUDIENCE": "orders-api",
    "MCP_CLIENT_SECRET": "s3cret-of-this-server-alone",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.json").write_bytes(
        document({"/orders": get("list_orders", "orders:read"), "/orders/{id}": get("get_order", "", in_path("id"))})
    )

    def invoke(*arguments: str, **more: str | None) -> Any:
        named = {f"MCP_{name.upper()}": value for name, value in more.items()}
        return CliRunner().invoke(main, arguments, env={**ENVIRONMENT, "MCP_OPENAPI": "orders.json", **named})

    return invoke


def test_check_says_what_would_be_served(run: Any) -> None:
    done = run("check")
    assert done.exit_code == 0, done.output
    assert "orders: 2 operations, 2 tools, 0 not selected, 0 refused; ≈" in done.output
    assert "scopes list_orders: orders:read" in done.output
    assert "scopes get_order: the default scopes" in done.output


def test_check_prints_its_report_and_nothing_else(run: Any) -> None:
    """Raw lines of the log stood between those of the report, on the same terminal."""
    for verb in ("check", "scopes"):
        done = run(verb)
        assert (done.exit_code, done.stderr) == (0, "")
        assert "imported" not in done.stdout


def test_check_tells_arguments_that_have_another_name(run: Any, tmp_path: Path) -> None:
    wanted = {"name": "filter[status]", "in": "query", "schema": {"type": "string"}}
    (tmp_path / "orders.json").write_bytes(document({"/orders": get("list_orders", "orders:read", wanted)}))
    assert "  renamed list_orders: filter[status] (query) → filter_status\n" in run("check").stdout


MAPPED = """
[apis.orders.scopes]
"orders:read" = "mcp:read"
"""


@pytest.mark.parametrize("verb", ["check", "scopes"])
def test_an_exchange_that_no_realm_of_ours_would_allow_is_a_warning(run: Any, tmp_path: Path, verb: str) -> None:
    (tmp_path / "mcp.toml").write_text(MAPPED)
    done = run(verb)
    assert done.exit_code == 0
    assert "warning: the exchange for orders-api asks for orders:read, which no caller" in done.stderr
    assert run(verb, upstream_scopes="mcp:read").stderr == ""


def test_an_api_of_which_nothing_is_offered_is_a_warning(run: Any, tmp_path: Path) -> None:
    (tmp_path / "mcp.toml").write_text('[apis.orders]\ninclude = ["/order"]\n')
    done = run("check")
    assert done.exit_code == 0
    assert done.stderr == "warning: nothing of the API orders is offered: see include, exclude and what is refused\n"
    assert "pattern '/order' matches no operation" in done.stdout


@pytest.mark.parametrize("name", ["email", "offline_access", "uma_authorization", "orders-api-audience"])
def test_a_scope_that_a_realm_has_itself_is_a_warning(run: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "orders.json").write_bytes(
        document({"/orders": get("list_orders", name), "/x": get("x", "x-audience")})
    )
    done = run("check")
    assert done.exit_code == 0
    assert f"warning: scope {name}: a realm of Keycloak's" in done.stderr
    assert "x-audience" not in done.stderr
    (tmp_path / "mcp.toml").write_text(f'[apis.orders.scopes]\n"{name}" = "mcp:read"\nx-audience = "mcp:read"\n')
    assert run("check", upstream_scopes="mcp:read").stderr == ""


def test_check_shows_a_request_and_sends_nothing(run: Any) -> None:
    done = run("check", "--request", "get_order", '{"id": "a b"}')
    assert done.exit_code == 0, done.output
    assert "GET https://api.test/v1/orders/a%20b" in done.output
    assert "authorization" not in done.output
    for name, arguments, text in (
        ("nothing", "{}", "no imported tool 'nothing'"),
        ("get_order", "[", "no JSON object"),
        ("get_order", "{}", "id"),
    ):
        done = run("check", "--request", name, arguments)
        assert done.exit_code == 1
        assert text in done.output
    assert "no API is configured" in run("check", "--request", "x", "{}", openapi=None, upstream_url=None).output


def test_a_request_of_a_refused_operation_is_told_why(run: Any, tmp_path: Path) -> None:
    (tmp_path / "orders.json").write_bytes(document({"/orders": get("listOrders", "a"), "/x": get("x")}))
    (tmp_path / "mcp.toml").write_text('[apis.orders.scopes]\nb = "mcp:read"\n')
    assert "1 tools, 0 not selected, 1 refused" in run("check").stdout
    for name in ("listOrders", "list_orders"):
        done = run("check", "--request", name, "{}")
        assert done.exit_code == 1
        assert "the operation is refused: listOrders: " in done.output
    assert "no imported tool 'nothing'" in run("check", "--request", "nothing", "{}").output


def test_check_tells_names_of_settings_that_match_nothing(run: Any, tmp_path: Path) -> None:
    """The start of a server tells them, too; a limit of no tool is none."""
    wanted = {"name": "orderId", "in": "query", "schema": {"type": "string"}}
    (tmp_path / "orders.json").write_bytes(document({"/orders": get("list_orders", "orders:read", wanted)}))
    dear = '[apis.orders.operations.list_orders]\nlimits = ["cost 11"]\n'
    (tmp_path / "mcp.toml").write_text('[apis.orders]\naudit_arguments = ["ordrId", "orderId", "zzz"]\n' + dear)
    limits = json.dumps({"*": ["1/s", "10/day"], "list_ordes": ["1/s"], "zzz": ["1/s"]})
    done = run("check", limits=limits, challenge_scopes="orders:raed orders:read")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "warning: MCP_LIMITS names a tool that the server does not have: list_ordes; did you mean list_orders?",
        "warning: MCP_LIMITS names a tool that the server does not have: zzz",
        "warning: no call of list_orders fits into '10/day', which MCP_LIMITS states for all calls: it costs 11",
        (
            "warning: MCP_CHALLENGE_SCOPES names a scope that the server does not declare: orders:raed; "
            "did you mean orders:read?"
        ),
    ]
    plain = {"/orders": get("list_orders", "orders:read", wanted), "/x": get("x")}
    (tmp_path / "orders.json").write_bytes(document(plain))  # `x` needs the default scope
    assert run("check", challenge_scopes="orders:read mcp:read").stderr == ""
    remarks = [line.strip() for line in done.stdout.splitlines() if "audit_arguments" in line]
    assert remarks == [
        "remark apis.orders.audit_arguments: no tool has an argument 'ordrId'; did you mean 'orderId'?",
        "remark apis.orders.audit_arguments: no tool has an argument 'zzz'",
    ]


def test_the_tools_that_find_others_may_have_limits_where_they_are_there(run: Any, tmp_path: Path) -> None:
    limits = '{"search_tools": ["1/s"]}'
    assert "does not have: search_tools" in run("check", limits=limits).stderr
    (tmp_path / "mcp.toml").write_text('[apis.orders]\nlist = "search"\n')
    assert run("check", limits=limits).stderr == ""


WRONG = """
[apis.orders]
inclde = ["tag:x"]
base_url = "https://api.test"
[apis.orders.identity]
mode = "nane"
[apis.stock]
document = "stock.json"
base_url = "https://stock.test"
[apis.stock.identity]
mode = "secret"
secret = "k"
[apis.archive]
document = "archive.json"
base_url = "https://archive.test"
[apis.free]
base_url = "https://free.test"
"""


def test_check_tells_all_that_is_wrong_in_one_report(run: Any, tmp_path: Path) -> None:
    """Settings, tables, secrets and documents came one after the other, each in the next run, and in a box."""
    (tmp_path / "mcp.toml").write_text(WRONG)
    (tmp_path / "archive.json").write_text("{")
    done = run("check", port="x", upstream_audience=None, client_secret=None, issuer=None)
    assert (done.exit_code, done.stdout) == (1, "")
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [
        "MCP_PORT",
        "MCP_ISSUER",
        "apis.orders.inclde",
        "apis.orders.identity.mode",
        "apis.stock.identity.secret",
        "apis.archive.identity.audience",
        "apis.free.identity.audience",
        "MCP_CLIENT_SECRET",
        "the API stock cannot be imported",
        "the API archive cannot be imported",
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"upstream_url": "none", "upstream_audience": None}, ["MCP_UPSTREAM_URL"]),  # nor is a base address missing
        ({"client_secret": None, "client_secret_file": "nothing"}, ["MCP_CLIENT_SECRET_FILE"]),
        ({"config": "broken.toml", "upstream_audience": None}, ["broken.toml"]),
        ({"openapi": "nothing.json", "metrics_port": "8000"}, ["MCP_METRICS_PORT", "the API nothing cannot be imported"]),
    ],
)  # fmt: skip
def test_check_says_nothing_of_what_hangs_on_what_cannot_be_read(
    run: Any, tmp_path: Path, more: dict[str, str | None], told: list[str]
) -> None:
    (tmp_path / "broken.toml").write_text("[")
    done = run("check", **more)
    assert (done.exit_code, [line.partition(": ")[0] for line in done.stderr.splitlines()]) == (1, told)


def test_check_tells_what_is_wrong_with_the_code_beside_the_settings(run: Any, tmp_path: Path) -> None:
    (tmp_path / "half_a_server.py").write_text("def")
    done = run("check", "half_a_server:server", port="x")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 2)
    assert "half_a_server.py:1: " in done.stderr
    assert run("check", "--request", "list_orders", "{}", port="x").stderr == "MCP_PORT: must be a whole number\n"


def test_a_guard_that_cannot_be_made_is_told_with_its_authors_line(run: Any, tmp_path: Path) -> None:
    """Not with the line of this server by which the registry was asked."""
    lines = ("from mcp_server import Scope, requires_scopes", "", 'guard = requires_scopes(Scope("a", "b"))')
    (tmp_path / "guarded_server.py").write_text("\n".join(lines))
    assert "guarded_server.py:3: scopes is a set of texts" in run("check", "guarded_server:server").stderr


def test_scopes_lists_imported_tools_and_what_the_list_costs(run: Any) -> None:
    done = run("scopes")
    assert done.exit_code == 0, done.output
    assert "list_orders  orders:read" in done.output
    assert "the list of tools is ≈" in done.output
    listed = json.loads(run("scopes", "--format", "json").stdout)
    assert listed["tools"] == {"get_order": ["mcp:read"], "list_orders": ["orders:read"]}
    assert listed["apis"] == [{"name": "orders-api", "scopes": ["orders:read"]}]


CODE = """
from mcp_server import McpServer
server = McpServer("s")
server.include_openapi("orders.json", include=["id:list_orders"])

@server.tool(scopes={"products:read"})
async def cheapest() -> str:
    return ""
"""


def test_the_realm_hears_of_what_a_handler_may_ask_for(run: Any, tmp_path: Path) -> None:
    """The scope of its tool is one of an operation that is no tool: an exchange may ask for it, and for no other."""
    paths = {"/orders": get("list_orders", "orders:read"), "/products": get("list_products", "products:read"), "/x": get("x", "x:read")}  # fmt: skip
    (tmp_path / "orders.json").write_bytes(document(paths))
    (tmp_path / "handler_of_products.py").write_text(CODE)
    listed = json.loads(run("scopes", "handler_of_products:server", "--format", "json", openapi=None).stdout)
    assert listed["apis"] == [{"name": "orders-api", "scopes": ["orders:read", "products:read"]}]


def test_the_realm_hears_of_tokens_that_are_the_servers_own(run: Any, tmp_path: Path) -> None:
    assert "service_account" not in json.loads(run("scopes", "--format", "json").stdout)
    (tmp_path / "mcp.toml").write_text(
        '[apis.orders.operations.list_orders]\nidentity = { mode = "client_credentials", audience = "stock" }\n'
    )
    listed = json.loads(run("scopes", "--format", "json").stdout)
    assert listed["service_account"] == ["orders:read"]
    assert listed["apis"] == [{"name": "orders-api", "scopes": []}, {"name": "stock", "scopes": ["orders:read"]}]


def test_scopes_tells_audiences_resources_and_the_documents_own_texts(run: Any, tmp_path: Path) -> None:
    flow = {"authorizationUrl": "https://i.test", "tokenUrl": "https://i.test", "scopes": {"orders:read": "See orders"}}
    schemes = {"securitySchemes": {"realm": {"type": "oauth2", "flows": {"authorizationCode": flow}}}}
    paths = {"/orders": get("list_orders", "orders:read"), "/orders/{id}": get("get_order", "", in_path("id"))}
    (tmp_path / "orders.json").write_bytes(document(paths, components=schemes))
    (tmp_path / "mcp.toml").write_text(
        '[apis.orders.operations.list_orders]\nas = "resource"\n'
        '[apis.orders.operations.get_order]\nas = "both"\nidentity = { audience = "archive" }\n'
    )
    listed = json.loads(run("scopes", "--format", "json", default_scopes="shop:use").stdout)
    assert [(one["name"], one["consent"]) for one in listed["scopes"]] == [
        ("orders:read", "See orders"),
        ("shop:use", "Use shop:use"),
    ]
    assert {one["name"]: one["scopes"] for one in listed["apis"]} == {"orders-api": ["orders:read"], "archive": []}
    assert (listed["tools"], listed["default"]) == ({"get_order": ["shop:use"]}, ["shop:use"])
    assert listed["resources"] == {"orders:///orders": ["orders:read"]}
    assert listed["templates"] == {"orders:///orders/{id}": ["shop:use"]}
    assert "what names none needs shop:use (MCP_DEFAULT_SCOPES)" in run("scopes", default_scopes="shop:use").stdout


def test_settings_that_cannot_be_used_are_a_warning_of_scopes(run: Any) -> None:
    done = run("scopes", port="x")
    assert (done.exit_code, done.stderr) == (0, "warning: MCP_PORT: must be a whole number\n")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"openapi": "nothing.json"}, "the API nothing cannot be imported"),
        ({"upstream_audience": None}, "MCP_UPSTREAM_AUDIENCE"),
        ({"client_secret": None}, "MCP_CLIENT_SECRET"),
        ({"upstream_url": None}, "MCP_UPSTREAM_URL"),
        ({"config": "nothing.toml"}, "No such file"),
        ({"openapi": None, "upstream_url": None}, "nothing to serve"),
    ],
)
def test_what_cannot_be_served_is_said_before_there_are_workers(run: Any, more: Any, text: str) -> None:
    done = run("serve", **more)
    assert done.exit_code == 1
    assert text in " ".join(done.output.replace("│", " ").split())


def test_a_server_that_nobody_named_is_called_as_its_only_api_is(run: Any, tmp_path: Path) -> None:
    """Within what clients take: names are theirs to put before each tool's, and long texts are cut in silence."""
    told = DocumentInfo(
        api="orders", title="Orders \u202e& Returns", version="v1.10", description=f"Buy things.\n\n{'x' * 9}"
    )
    server = target.load("", told)
    assert server.info == Implementation(name="orders-returns", title="Orders & Returns", version="v1.10")
    assert server.instructions == "Buy things."
    long = target.load("", DocumentInfo(api="orders", title="\u4e2d" * 500, version="1" * 500, description="y" * 9_000))
    assert (long.info.name, len(long.info.title or ""), len(long.info.version)) == ("orders", 100, 40)
    assert len(long.instructions or "") <= 1_024
    nothing = target.load("", DocumentInfo(api="orders", title="", version="", description=""))
    assert nothing.info == Implementation(name="orders", version=__version__)
    assert nothing.instructions is None


def test_workers_are_given_what_was_read(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "MCP_OPENAPI": "orders.json"}.items():
        monkeypatch.setenv(name, value)
    found = settings.load()
    with private_folder() as folder:
        reports, handed = target.handed_over(target.load(""), found, folder)
        assert [one.count.tools for one in reports] == [2]
        assert handed.about == DocumentInfo(api="orders", title="T", version="1", description="")
        assert [one.name for one in handed.apis] == ["orders"]
        (tmp_path / "orders.json").unlink()
        (tmp_path / "mcp.toml").write_text("[")  # whoever begins now reads neither
        app = FastPathApp(target.load("", handed.about), found, handed)
        assert app.plugin._apis is not None
        asyncio.run(begun(app.plugin._apis))
        assert app.plugin._server.info.name == "t"


async def begun(imports: LiveApis) -> None:
    await imports.start()
    assert [one.report.api for one in imports.plans] == ["orders"]
    await imports.stop()


def test_no_folder_is_one_message(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the places of temporary files nor memory can be written to."""

    def refused(**_: Any) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    done = run("serve")
    assert done.exit_code == 1
    assert "no folder for temporary files, which TMPDIR names" in " ".join(done.output.replace("│", " ").split())
