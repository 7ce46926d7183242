"""The realm as code: the committed file, placeholders, what differs, what is refused outside development."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from devstack.cli import main
from devstack.realm.apply.differences import Difference, chosen, differences, merged, widened
from devstack.realm.client_scopes import METADATA, RESERVED, built_in
from devstack.realm.description import Variant, describe, rendered
from devstack.realm.model import REALM_FILE, read
from devstack.realm.placeholders import resolve
from devstack.realm.scopes import DEMO, Api, DeclaredServer, NoScopes, Scope, decoded, of_file, of_server
from devstack.realm.secrets import Unsafe, for_development, for_production
from devstack.up import realm_file
from mcp_server.cli import findings, target
from tests.kit.scopes import demo_file

SCOPES = (Scope("orders:read", "Read orders", roles=("reader",)), Scope("orders:any", "Anything"))
KEYCLOAK = "https://sso.example.com"
HTTPS = {"MCP_RESOURCE_URL": "https://mcp.example.com/mcp"}


@pytest.fixture(scope="module")
def told() -> DeclaredServer:
    return of_server()


@pytest.fixture(scope="module")
def demo(told: DeclaredServer) -> tuple[Scope, ...]:
    return told.scopes


def test_the_committed_file_is_what_is_rendered_of_the_demo(told: DeclaredServer) -> None:
    assert told.apis == (Api("orders-api", ("orders:read", "orders:write")),)
    assert REALM_FILE.read_bytes() == rendered(describe(told.scopes, Variant(apis=told.apis)))


def test_scopes_are_the_servers_own(demo: tuple[Scope, ...]) -> None:
    told = [(one.name, one.consent, one.roles) for one in target.load(DEMO).described_scopes()]
    assert [(one.name, one.consent, one.roles) for one in demo] == told
    document = describe(SCOPES)
    found = {one["name"]: one for one in document["clientScopes"]}
    assert found["orders:read"]["attributes"]["consent.screen.text"] == "Read orders"
    assert {"clientScope": "orders:read", "roles": ["reader"]} in document["scopeMappings"]
    # strangers may register: a scope that is everyone's would be theirs
    assert {"clientScope": "orders:any", "roles": ["orders:any"]} in document["scopeMappings"]
    assert "orders:any" in {one["name"] for one in document["roles"]["realm"]}
    assert all("orders:any" in one["realmRoles"] for one in document["users"] if "credentials" in one)
    public = next(one for one in document["clients"] if one["clientId"] == "mcp-public")
    assert {"orders:read", "orders:any"} <= set(public["optionalClientScopes"])
    assert "mcp:read" not in rendered(document).decode()


def test_every_scope_carries_audience_and_roles(demo: tuple[Scope, ...]) -> None:
    for scope in describe(demo)["clientScopes"]:
        if scope["name"].startswith("mcp:"):
            kinds = {one["protocolMapper"] for one in scope["protocolMappers"]}
            assert {"oidc-audience-mapper", "oidc-usermodel-realm-role-mapper"} <= kinds


def test_built_in_scopes_are_all_there(demo: tuple[Scope, ...]) -> None:
    """A realm file that lists scopes gets no others: without `basic` no token has a `sub`."""
    assert {"basic", "profile", "email", "roles", "acr", "web-origins"} <= {one["name"] for one in built_in()}


@pytest.mark.parametrize("documents", [True, False])
@pytest.mark.parametrize("development", [True, False])
def test_variants(demo: tuple[Scope, ...], documents: bool, development: bool) -> None:
    document = describe(demo, Variant(documents=documents, development=development))
    text = rendered(document).decode()
    assert ("client-id-metadata-document" in text) is documents
    assert ("mcp-documents-local" in text) is (documents and development)
    assert ("alice@example.com" in text) is development
    assert document["sslRequired"] == ("${MCP_SSL_REQUIRED:none}" if development else "external")


@pytest.mark.parametrize(
    ("variant", "step_up"),
    [
        (Variant(), True),
        (Variant(development=False), False),
        (Variant(development=False, step_up=True), True),
    ],
)
def test_production_keeps_keycloaks_login_unless_step_up_is_said(variant: Variant, step_up: bool) -> None:
    document = describe(SCOPES, variant)
    assert ("browserFlow" in document, "acr.loa.map" in document["attributes"]) == (step_up, step_up)
    assert document.get("otpPolicyCodeReusable", False) is variant.development
    flows = {one["alias"]: one for one in document.get("authenticationFlows", ())}
    steps = [step for one in flows.values() for step in one["authenticationExecutions"]]
    assert {one["flowAlias"] for one in steps if "flowAlias" in one} == {*flows} - {document.get("browserFlow")}
    configured = {one["authenticatorConfig"] for one in steps if "authenticatorConfig" in one}
    assert configured == {one["alias"] for one in document.get("authenticatorConfig", ())}


def test_a_scope_has_a_parameter_where_keycloak_knows_them() -> None:
    patterns = ("orders:refund:{order_id}", "orders:refund:{region}:of:{order_id}")
    scope = Scope("orders:refund", "Refund an order's price", roles=("writer",), patterns=patterns)

    def attributes(variant: Variant) -> dict[str, str]:
        (found,) = (one for one in describe((scope,), variant)["clientScopes"] if one["name"] == scope.name)
        told: dict[str, str] = found["attributes"]
        return told

    static, made = attributes(Variant()), attributes(Variant(parameters=True))
    assert (static["is.parameterized.scope"], static["consent.screen.text"]) == ("false", "Refund an order's price")
    assert made["consent.screen.text"] == "Refund an order''s price: {0}"
    # some clients ask for all that the metadata names: without a parameter they would get nothing
    assert (made["is.parameterized.scope"], made[METADATA]) == ("true", "false")
    expression = re.compile(made["parameterized.scope.regexp"])
    fit = {
        one
        for one in ("42", "eu:of:42", "4%2F2", "eu:42", "", "a b", "é", "%2f", "eu::42")
        if expression.fullmatch(one)
    }
    assert fit == {"42", "eu:of:42", "4%2F2", "%2f"}


def test_no_secret_is_in_the_file() -> None:
    for client in msgspec.json.decode(REALM_FILE.read_bytes())["clients"]:
        assert client.get("secret", "${").startswith("${")


def test_placeholders_are_filled_in_keys_and_values() -> None:
    document = {"${KEY:a:b}": ["${KEY:x}", {"n": "${UNSET}"}, "${client_id}", 1, None], "t": "a${KEY:}b"}
    assert resolve(document, {}) == {"a:b": ["x", {"n": "${UNSET}"}, "${client_id}", 1, None], "t": "ab"}
    assert resolve(document, {"KEY": "k"})["k"][0] == "k"


def test_development_stays_on_this_machine(demo: tuple[Scope, ...]) -> None:
    document = describe(demo)
    assert for_development(document, {}, "http://localhost:8180")["clients"][1]["secret"] == "dev-only-agent-secret"
    for foreign in ("https://sso.example.com", "http://10.0.0.1:8180", "http://localhost.example.com"):
        with pytest.raises(Unsafe, match="loopback"):
            for_development(document, {}, foreign)


def test_production_takes_no_secret_of_development(demo: tuple[Scope, ...]) -> None:
    document = describe(demo, Variant(development=False))
    filled, left = for_production(document, HTTPS | {"MCP_AGENT_SECRET": "s3cret", "MCP_SERVER_SECRET": ""}, KEYCLOAK)
    secrets = {one["clientId"]: one.get("secret") for one in filled["clients"]}
    assert secrets == {
        "mcp-public": None,
        "mcp-agent": "s3cret",
        "https://mcp.example.com/mcp": None,
    }
    assert left == [("https://mcp.example.com/mcp", "MCP_SERVER_SECRET")]
    with pytest.raises(Unsafe, match="dev-only-"):
        for_production(document, HTTPS | {"MCP_AGENT_SECRET": "dev-only-agent-secret"}, KEYCLOAK)
    for resource in ({}, {"MCP_RESOURCE_URL": "http://mcp.example.com/mcp"}):
        with pytest.raises(Unsafe, match="https"):
            for_production(document, resource, KEYCLOAK)
    with pytest.raises(Unsafe, match="https alone"):
        for_production(document, HTTPS, "http://sso.example.com")
    assert "dev-only-" not in rendered(document).decode()


def test_an_api_is_an_audience_of_the_servers_client_alone(demo: tuple[Scope, ...]) -> None:
    document = describe(demo, Variant(development=False, apis=(Api("billing", ("mcp:read",)),)))
    clients = {one["clientId"]: one for one in document["clients"]}
    server = next(one for name, one in clients.items() if name.startswith("${MCP_RESOURCE_URL"))
    assert (server["optionalClientScopes"], "billing-audience" in server["defaultClientScopes"]) == (["mcp:read"], True)
    others = [one for one in clients.values() if one is not server]
    assert not any("billing-audience" in {*one["defaultClientScopes"], *one["optionalClientScopes"]} for one in others)
    assert not any(
        clients["billing"][flow] for flow in ("standardFlowEnabled", "serviceAccountsEnabled", "publicClient")
    )
    (mapper,) = next(one for one in document["clientScopes"] if one["name"] == "billing-audience")["protocolMappers"]
    assert mapper["config"]["included.client.audience"] == "billing"
    # the scopes that persons grant are for the MCP server, and no token of theirs is one for the API
    reads = next(one for one in document["clientScopes"] if one["name"] == "mcp:read")
    assert "billing" not in msgspec.json.encode(reads).decode()
    everything = describe(demo, Variant(development=False, apis=(Api("billing"),)))
    asked = next(one for one in everything["clients"] if one["attributes"].get("resource_url"))["optionalClientScopes"]
    assert asked == [one.name for one in demo]


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        (["--api", "billing=mcp:read"], 0, "billing-audience"),
        (["--api", "billing"], 0, "billing-audience"),
        (["--api", "billing=mcp:nosuch"], 1, "--api billing: mcp:nosuch"),
        ([], 0, "orders-api-audience"),
        (["--api", "orders-api=orders:read"], 0, "orders-api-audience"),
    ],
)
def test_apis_by_command(asked: list[str], status: int, told: str) -> None:
    done = CliRunner().invoke(main, ["realm", "render", "--scopes", str(demo_file()), *asked])
    assert (done.exit_code, told in done.output, "orders-api" in done.output) == (status, True, not status)
    if not status:
        clients = msgspec.json.decode(done.stdout)["clients"]
        server = next(one for one in clients if one["attributes"].get("resource_url"))
        narrowed = asked[-1:] == ["orders-api=orders:read"]
        assert ("orders:write" in server["optionalClientScopes"]) is not narrowed


@pytest.mark.parametrize("name", sorted(RESERVED | {"orders-api-audience", "default-roles-mcp"}))
def test_a_scope_that_the_realm_has_itself_is_refused(name: str, tmp_path: Path) -> None:
    """A document names its scopes as it likes: two of one name, and its own would be what anybody has."""
    scopes, apis = (*SCOPES, Scope(name, "Mine")), (Api("orders-api", ("orders:read",)),)
    with pytest.raises(NoScopes, match=f"{name}: .*another name"):
        describe(scopes, Variant(apis=apis))
    with pytest.raises(NoScopes, match=name):
        realm_file(DeclaredServer((Scope(name, "Mine"),), apis), documents=True, parameters=False)
    file = tmp_path / "scopes.json"
    file.write_bytes(msgspec.json.encode(DeclaredServer(scopes, apis)))
    told = CliRunner().invoke(main, ["realm", "render", "--scopes", str(file)])
    assert (told.exit_code, told.stdout, "another name" in told.stderr) == (1, "", True)


def test_each_client_scope_is_there_once() -> None:
    """What ends as an audience does, of an API that is not there, is a scope as any other."""
    document = describe((*SCOPES, Scope("billing-audience", "B")), Variant(apis=(Api("orders-api"),)))
    names = [one["name"] for one in document["clientScopes"]]
    assert len(names) == len(set(names))
    assert {one["name"] for one in built_in()} <= RESERVED == findings.RESERVED


def test_whatever_gates_a_scope_is_a_role_of_the_realm() -> None:
    document = describe((Scope("shop:sell", "Sell", roles=("shop seller",)),))
    roles = {one["name"] for one in document["roles"]["realm"]}
    assert {role for gate in document["scopeMappings"] for role in gate["roles"]} <= {*roles, "offline_access"}


@pytest.mark.parametrize(
    ("wanted", "found", "fields"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y", "c": "z"}}, ["a.b"]),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, []),
        ({"a": ["x"]}, {"a": ["x", "y"]}, ["a"]),
        ({"redirectUris": ["x"]}, {"redirectUris": ["x", "y"]}, []),
        ({"redirectUris": ["x"]}, {"redirectUris": ["y"]}, ["redirectUris"]),
        ({"a": []}, {}, []),
        ({"a": {}}, {}, []),
        ({"a": ["x"]}, {}, ["a"]),
        ({"a": False}, {}, ["a"]),
    ],
)
def test_only_what_is_described_is_compared(wanted: dict[str, Any], found: dict[str, Any], fields: list[str]) -> None:
    assert [one.field for one in differences(wanted, found)] == fields
    assert differences(wanted, merged(wanted, found)) == []


def test_what_an_operator_added_is_kept() -> None:
    found = {"id": "1", "redirectUris": ["theirs"], "attributes": {"theirs": "1"}}
    wanted = {"redirectUris": ["ours"], "attributes": {"ours": "1"}}
    whole = merged(wanted, found)
    assert whole == {"id": "1", "redirectUris": ["theirs", "ours"], "attributes": {"theirs": "1", "ours": "1"}}


def test_a_secret_is_not_shown() -> None:
    assert str(Difference("secret", "old", "new")) == "secret: differs (not shown)"
    assert str(Difference("a.b", None, ["x" * 200])).endswith("...")


def test_scopes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NoScopes, match="no module"):
        of_server("no.such.module:server")
    with pytest.raises(NoScopes, match="No such file"):
        of_file(tmp_path / "none.json")
    with pytest.raises(NoScopes, match="not the output"):
        decoded(b'["mcp:read"]')
    told = CliRunner().invoke(main, ["realm", "render", "--scopes", str(tmp_path / "none.json")])
    assert (told.exit_code, "Error" in told.output) == (1, True)


def test_render_takes_scopes_from_a_file(tmp_path: Path) -> None:
    scopes = tmp_path / "scopes.json"
    scopes.write_bytes(msgspec.json.encode({"scopes": SCOPES, "tools": {}}))
    output = tmp_path / "realm.json"
    asked = ["realm", "render", "--scopes", str(scopes), "--for", "development"]
    assert CliRunner().invoke(main, [*asked, "--output", str(output)]).exit_code == 0
    assert output.read_bytes() == rendered(describe(SCOPES))
    told = CliRunner().invoke(main, asked)
    assert told.stdout.encode() == output.read_bytes()
    assert "scope orders:any names no role: it is for who is given the realm role 'orders:any'" in told.stderr
    production = msgspec.json.decode(CliRunner().invoke(main, asked[:4]).stdout)
    assert not any("secret" in one for one in production["clients"])
    assert [one["username"] for one in production["users"]] == ["service-account-mcp-agent"]


def test_the_embedded_server_reads_the_same_file() -> None:
    realm = read("http://localhost:1/realms/mcp", "http://localhost:2/mcp", environment={"MCP_BOB_PASSWORD": "else"})
    write = realm.scope("mcp:write")
    assert write
    assert write.audience == "http://localhost:2/mcp"
    assert write.roles == {"writer", "admin"}
    assert {one.username: one.password for one in realm.users} == {"alice": "alice", "bob": "else", "carol": "carol"}
    assert "http://localhost:2/mcp" in {one.client_id for one in realm.clients}
    assert realm.registration.documents["https://claude.ai"] == {"claude.ai", "127.0.0.1", "localhost", "[::1]"}


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "kept"),
    [
        ("accessTokenLifespan", 900, 60, 60), ("accessTokenLifespan", 900, 1200, 1200), ("accessTokenLifespan", 900, 300, 900),
        ("accessTokenLifespan", 900, None, 900), ("ssoSessionIdleTimeout", 28800, 1800, 28800),
        ("ssoSessionIdleTimeout", 28800, 600, 600), ("failureFactor", 10, 30, 10), ("failureFactor", 10, 5, 5),
        ("passwordPolicy", "length(12)", None, "length(12)"), ("passwordPolicy", "length(12)", "length(20)", "length(20)"),
        ("offlineSessionMaxLifespanEnabled", True, False, True),
        ("sslRequired", "external", "all", "all"), ("sslRequired", "external", "none", "external"),
        ("sslRequired", "external", None, "external"), ("revokeRefreshToken", True, False, True),
    ],
)  # fmt: skip
def test_what_an_operator_chose_stays(name: str, ours: Any, theirs: Any, kept: Any) -> None:
    assert chosen(name, ours, theirs) == kept


def test_addresses_that_an_operator_added_to_an_executor_are_kept() -> None:
    def profile(redirects: list[str], called: list[str]) -> dict[str, Any]:
        both = {"redirectUris": redirects, "jwksUri": called}
        executors = [
            {"executor": "addresses", "configuration": {"client-uri-fields": [field], "allowed-patterns": patterns}}
            for field, patterns in both.items()
        ]
        return {"name": "p", "executors": executors}

    assert widened(profile(["ours"], []), profile(["theirs", "ours"], [])) == profile(["theirs", "ours"], [])
    assert widened(profile(["ours"], []), {}) == profile(["ours"], [])
    assert widened({"name": "a policy"}, {}) == {"name": "a policy"}
    # where ours allows none, what somebody let in goes
    opened = profile(["ours"], [".*"])
    assert widened(profile(["ours"], []), opened) == profile(["ours"], [])
    assert [one.field for one in differences(profile(["ours"], []), opened)] == ["executors"]


def test_a_realm_without_documents_is_read_too(tmp_path: Path) -> None:
    """What `devstack up --keycloak` imports where there is no internet; only loopback may be registered in it."""
    file = tmp_path / "realm.json"
    file.write_bytes(rendered(describe(of_server().scopes, Variant(documents=False))))
    realm = read(file=file)
    assert {one.username for one in realm.users} == {"alice", "bob", "carol"}
    assert realm.registration.redirect_hosts == {"localhost", "127.0.0.1", "[::1]"}
    assert not realm.registration.documents


@pytest.mark.parametrize(
    "scopes",
    [
        (Scope("a", "A", roles=("auditor",)),),
        (Scope("a", "A", roles=("auditor", "reader")), Scope("b", "B", roles=("clerk", "auditor")), Scope("c", "C")),
        (Scope("clerk", "A"), Scope("b", "B", roles=("clerk",))),
    ],
)
def test_in_development_each_role_is_somebodys_and_in_production_nobodys(scopes: tuple[Scope, ...]) -> None:
    document = describe(scopes)
    people = {one["username"]: one["realmRoles"] for one in document["users"] if "credentials" in one}
    held = {role for roles in people.values() for role in roles}
    assert {one["name"] for one in document["roles"]["realm"]} <= held
    for scope in scopes:
        assert not scope.roles or set(scope.roles) & set(people["carol"])
    strange = {role for scope in scopes for role in scope.roles} - {"reader"} - {one.name for one in scopes}
    assert not strange & {*people["alice"], *people["bob"]}
    assert all(len(roles) == len(set(roles)) for roles in people.values())
    production = describe(scopes, Variant(development=False))
    assert not [one for one in production["users"] if "credentials" in one]
