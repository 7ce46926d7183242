"""`devstack realm diff | apply` against a real Keycloak: an empty realm, the imported one, and what is not ours."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devstack.cli import main
from devstack.login import fetch_token
from devstack.realm.apply.admin import Admin, AdminError, Credentials
from devstack.realm.apply.plan import OWNED
from devstack.realm.apply.prune import NEEDED
from devstack.realm.client_scopes import METADATA
from devstack.realm.description import KEYS, Variant, describe
from devstack.realm.registration import POLICY
from devstack.realm.scopes import DEMO
from tests.kit import scopes as known
from tests.kit.authorities import AGENT_SECRET, SERVER_SECRET, Keycloak, claims
from tests.kit.realms import run
from tests.kit.stack import free_port

pytestmark = pytest.mark.live


def normalised(admin: Admin, ours: set[str]) -> Any:
    """What the description owns of a realm's export, without ids and order."""
    document = describe(known.demo().scopes, Variant(apis=known.demo().apis))
    whole = admin.send("POST", "/partial-export?exportClients=true&exportGroupsAndRoles=true").json()
    scopes = {"mcp:admin", "mcp:infer", "mcp:read", "mcp:write", "orders:read", "orders:write", "orders-api-audience"}
    kept = {
        "settings": {name: whole[name] for name in OWNED if name in document and name != "attributes"},
        "events": whole["attributes"]["adminEventsExpiration"],
        "hidden": sorted(one["name"] for one in whole["clientScopes"] if one["attributes"].get(METADATA) == "false"),
        "roles": [one for one in whole["roles"]["realm"] if not one["name"].startswith("default-roles-")],
        "clients": [_undated(one) for one in whole["clients"] if one["clientId"] in ours],
        "scopes": [one for one in whole["clientScopes"] if one["name"] in scopes],
        "names": sorted(one["name"] for one in whole["clientScopes"]),
        "gates": whole["scopeMappings"],
        "defaults": whole["defaultDefaultClientScopes"],
        "optional": whole["defaultOptionalClientScopes"],
        "policies": whole["components"]["org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"],
        "keys": sorted({one["providerId"] for one in whole["components"][KEYS]}),
        "profiles": whole["clientProfiles"],
        "client policies": whole["clientPolicies"],
        "people": [
            (one["username"], sorted(role["name"] for role in admin.listed(f"/users/{one['id']}/role-mappings/realm")))
            for one in admin.listed("/users")
        ],
    }
    return _sorted(kept, f"default-roles-{admin.realm}")


def _undated(client: dict[str, Any]) -> dict[str, Any]:
    """Without the moment at which Keycloak made a secret of its own."""
    kept = {name: value for name, value in client["attributes"].items() if name != "client.secret.creation.time"}
    return {**client, "attributes": kept}


def _sorted(value: Any, default_role: str) -> Any:
    if isinstance(value, dict):
        return {k: _sorted(v, default_role) for k, v in sorted(value.items()) if k not in ("id", "containerId")}
    if isinstance(value, list | tuple):
        return sorted((_sorted(one, default_role) for one in value), key=msgspec.json.encode)
    return "default-roles" if value == default_role else value


def test_an_empty_realm_and_the_imported_one_become_alike(keycloak: Keycloak, empty: Admin) -> None:
    told = run(keycloak, "diff", realm=empty.realm)
    assert (told.exit_code, told.output.startswith(f"create realm {empty.realm}")) == (1, True)
    assert not empty.exists()
    made = run(keycloak, "apply", "--yes", realm=empty.realm)
    assert made.exit_code == 0, made.output
    assert run(keycloak, "apply", "--yes").exit_code == 0
    ours = {"mcp-public", "mcp-agent", "orders-api", keycloak.resource}
    with keycloak.admin() as imported:
        assert normalised(empty, ours) == normalised(imported, ours)
    for realm in (empty.realm, "mcp"):
        again = run(keycloak, "apply", "--yes", realm=realm)
        assert again.output == "nothing to change\n"
        assert run(keycloak, "diff", realm=realm).exit_code == 0
    issuer = f"{keycloak.instance.origin}/realms/{empty.realm}"
    answer = fetch_token(issuer, "bob", "openid mcp:write", keycloak.resource)
    assert claims(answer["access_token"])["aud"] == keycloak.resource


def test_a_server_with_tokens_of_its_own_gets_a_service_account(
    keycloak: Keycloak, empty: Admin, tmp_path: Path
) -> None:
    """Of an API that is called with `mode = "client_credentials"`: an empty realm gets it, and one that has none."""
    file = tmp_path / "scopes.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(known.demo(), service_account=("orders:read",))))
    made = run(keycloak, "apply", "--yes", "--scopes", str(file), realm=empty.realm)
    assert made.exit_code == 0, made.output
    (server,) = empty.listed("/clients", clientId=keycloak.resource)
    empty.send("PUT", f"/clients/{server['id']}", server | {"serviceAccountsEnabled": False})  # its user goes with it
    again = run(keycloak, "apply", "--yes", "--scopes", str(file), realm=empty.realm)
    account = f"update user service-account-{keycloak.resource}: role reader\n"
    assert again.output.endswith(f"{account}2 changes\n"), again.output
    url = f"{keycloak.instance.origin}/realms/{empty.realm}/protocol/openid-connect/token"
    form = {"grant_type": "client_credentials", "scope": "orders:read orders:write", "audience": "orders-api"}
    answer = httpx.post(url, data=form, auth=(quote(keycloak.resource, safe=""), SERVER_SECRET), trust_env=False).json()
    said = claims(answer["access_token"])
    assert (answer["scope"], sorted(said["aud"])) == ("orders:read", sorted(["orders-api", keycloak.resource]))
    assert said["realm_access"]["roles"] == ["reader"]


def open_again(admin: Admin, public: dict[str, Any]) -> None:
    """Every door that the description closes, opened by hand as an administrator might."""
    scope = next(one for one in admin.listed("/client-scopes") if one["name"] == "offline_access")
    scope["attributes"][METADATA] = "true"
    admin.send("PUT", f"/client-scopes/{scope['id']}", scope)
    admin.send("PUT", f"/default-optional-client-scopes/{scope['id']}")
    admin.send("PUT", f"/clients/{public['id']}", public | {"consentRequired": False})
    admin.send("PUT", f"/clients/{public['id']}/optional-client-scopes/{scope['id']}")
    admin.send("PUT", "", {"attributes": admin.find("")["attributes"] | {"theirs": "kept"}})
    policies = admin.listed("/components", type=POLICY)
    mappers = next(
        one for one in policies if (one["providerId"], one["subType"]) == ("allowed-protocol-mappers", "anonymous")
    )
    mappers["config"]["allowed-protocol-mapper-types"] = ["oidc-hardcoded-claim-mapper"]
    admin.send("PUT", f"/components/{mappers['id']}", mappers)
    profiles = admin.find("/client-policies/profiles")["profiles"]
    registered = next(one for one in profiles if one["name"] == "mcp-registered")
    registered["executors"] = [one for one in registered["executors"] if one["executor"] != "reject-implicit-grant"]
    admin.send("PUT", "/client-policies/profiles", {"profiles": profiles})
    client_policies = admin.find("/client-policies/policies")["policies"]
    next(one for one in client_policies if one["name"] == "mcp-no-device-grant")["enabled"] = False
    admin.send("PUT", "/client-policies/policies", {"policies": client_policies})


def test_what_is_not_ours_survives_and_what_is_ours_is_mended(keycloak: Keycloak, empty: Admin) -> None:
    run(keycloak, "apply", "--yes", realm=empty.realm)
    theirs = {"clientId": "theirs", "publicClient": True, "redirectUris": ["https://theirs.example/cb"]}
    empty.send("POST", "/clients", theirs)
    public = empty.listed("/clients", clientId="mcp-public")[0]
    public["redirectUris"].append("https://added.example/cb")
    public["redirectUris"].remove("http://127.0.0.1/callback")
    public["directAccessGrantsEnabled"] = True
    empty.send("PUT", f"/clients/{public['id']}", public)
    open_again(empty, public)
    agent = empty.listed("/clients", clientId="mcp-agent")[0]
    empty.send("PUT", f"/clients/{agent['id']}", agent | {"secret": "another"})
    profiles = empty.find("/client-policies/profiles")["profiles"]
    foreign = {"name": "theirs", "description": "", "executors": []}
    profiles = [one for one in profiles if one["name"] != "mcp-documents-claude"]
    empty.send("PUT", "/client-policies/profiles", {"profiles": [*profiles, foreign]})
    scope = next(one for one in empty.listed("/client-scopes") if one["name"] == "mcp:read")
    mapper = next(one for one in scope["protocolMappers"] if one["name"] == "mcp-server audience")
    empty.send("DELETE", f"/client-scopes/{scope['id']}/protocol-mappers/models/{mapper['id']}")
    named = next(one for one in scope["protocolMappers"] if one["name"] == "username")
    named["config"]["access.token.claim"] = "false"
    empty.send("PUT", f"/client-scopes/{scope['id']}/protocol-mappers/models/{named['id']}", named)
    scope["attributes"]["consent.screen.text"] = "Something else"
    empty.send("PUT", f"/client-scopes/{scope['id']}", scope)
    empty.send("PUT", "", {"revokeRefreshToken": False, "eventsEnabled": False, "adminEventsEnabled": False,
                           "enabledEventTypes": ["LOGIN_ERROR"]})  # fmt: skip

    told = run(keycloak, "apply", realm=empty.realm)
    assert "nothing was changed" in told.output
    for expected in (
        "update client mcp-public",
        "directAccessGrantsEnabled: true → false",
        "secret: differs (not shown)",
        "create client scope mcp:read: mapper mcp-server audience",
        "update client scope mcp:read: mapper username",
        'consent.screen.text: "Something else" → "Read through the MCP server"',
        "create client profile mcp-documents-claude",
        "revokeRefreshToken: false → true",
        "eventsEnabled: false → true",
        "adminEventsEnabled: false → true",
        "consentRequired: false → true",
        "update registration policy Allowed Protocol Mapper Types (anonymous)",
        'config.allowed-protocol-mapper-types: ["oidc-hardcoded-claim-mapper"] → []',
        "update client profile mcp-registered",
        "update client policy mcp-no-device-grant",
        "enabled: false → true",
        "new clients: no offline_access",
        "client mcp-public: no offline_access",
        'attributes.include.in.openid.provider.metadata: "true" → "false"',
    ):
        assert expected in told.output
    assert AGENT_SECRET not in told.output
    assert empty.listed("/clients", clientId="mcp-public")[0]["directAccessGrantsEnabled"] is True

    assert run(keycloak, "apply", "--yes", realm=empty.realm).exit_code == 0
    assert run(keycloak, "diff", realm=empty.realm).output == ""
    mended = empty.listed("/clients", clientId="mcp-public")[0]
    assert {"https://added.example/cb", "http://127.0.0.1/callback"} <= set(mended["redirectUris"])
    assert mended["directAccessGrantsEnabled"] is False
    assert (mended["consentRequired"], "offline_access" in mended["optionalClientScopes"]) == (True, False)
    assert "offline_access" not in {one["name"] for one in empty.listed("/default-optional-client-scopes")}
    whole = empty.find("")
    assert (whole["attributes"]["theirs"], whole["eventsEnabled"], set(whole["enabledEventTypes"])) == (
        "kept", True, {"LOGIN_ERROR", *NEEDED},
    )  # fmt: skip
    assert empty.listed("/clients", clientId="theirs")[0]["redirectUris"] == theirs["redirectUris"]
    assert "theirs" in {one["name"] for one in empty.find("/client-policies/profiles")["profiles"]}


def test_production_leaves_secrets_to_keycloak_and_brings_nobody(keycloak: Keycloak, empty: Admin) -> None:
    resource = "https://mcp.example.com/mcp"
    more = ("--resource", resource, "--server", DEMO, "--yes")
    made = run(keycloak, "apply", *more, use="production", realm=empty.realm)
    assert made.exit_code == 0, made.output
    assert "MCP_SERVER_SECRET is not set" in made.output
    assert empty.listed("/users") == []
    server = empty.listed("/clients", clientId=resource)[0]
    assert len(server["secret"]) >= 32
    realm = empty.find("")
    assert (realm["failureFactor"], realm["passwordPolicy"].partition(" ")[0]) == (10, "length(12)")
    again = run(keycloak, "apply", *more, use="production", realm=empty.realm)
    assert again.output.endswith("nothing to change\n")
    refused = run(keycloak, "diff", "--server", DEMO, use="production", realm=empty.realm)
    assert (refused.exit_code, "https URL" in refused.output) == (2, True)


def test_an_operators_realm_is_never_made_looser(keycloak: Keycloak, empty: Admin) -> None:
    """A realm that was there before, with stricter settings and scopes assigned by hand."""
    empty.create_realm({"realm": empty.realm, "enabled": True})
    own = {"sslRequired": "all", "accessTokenLifespan": 60, "ssoSessionIdleTimeout": 86400, "eventsEnabled": True}
    empty.send("PUT", "", own | {"eventsExpiration": 1_000_000_000})
    made = run(keycloak, "apply", "--yes", realm=empty.realm)
    assert made.exit_code == 0, made.output
    realm = empty.find("")
    assert {name: realm[name] for name in own} == own
    assert (realm["ssoSessionMaxLifespan"], realm["eventsExpiration"]) == (43200, 1_000_000_000)
    assert (realm["revokeRefreshToken"], realm["bruteForceProtected"]) == (True, True)
    scope = next(one["id"] for one in empty.listed("/client-scopes") if one["name"] == "mcp:read")
    client = empty.listed("/clients", clientId="mcp-public")[0]["id"]
    empty.send("DELETE", f"/clients/{client}/optional-client-scopes/{scope}")
    empty.send("PUT", f"/clients/{client}/default-client-scopes/{scope}")
    profiles = empty.find("/client-policies/profiles")["profiles"]
    (ours,) = [one for one in profiles if one["name"] == "mcp-registered"]
    redirects = next(one for one in ours["executors"] if one["executor"] == "secure-redirect-uris-enforcer")
    redirects["configuration"]["allow-permitted-domains"].append("theirs\\.example")
    empty.send("PUT", "/client-policies/profiles", {"profiles": profiles})
    again = run(keycloak, "apply", "--yes", realm=empty.realm)
    assert again.output == "nothing to change\n"


def test_scopes_may_be_gated_by_roles_of_ones_own(keycloak: Keycloak, empty: Admin, tmp_path: Path) -> None:
    scopes = tmp_path / "scopes.json"
    told = {"name": "shop:sell", "consent": "Sell", "roles": ["shop seller/main"]}
    scopes.write_bytes(msgspec.json.encode({"scopes": [told], "tools": {}}))
    made = run(keycloak, "apply", "--yes", "--scopes", str(scopes), realm=empty.realm)
    assert made.exit_code == 0, made.output
    assert run(keycloak, "diff", "--scopes", str(scopes), realm=empty.realm).output == ""


def test_a_key_that_signs_already_goes_on_signing(keycloak: Keycloak, empty: Admin) -> None:
    empty.create_realm({"realm": empty.realm, "enabled": True})
    generated = next(one for one in empty.listed("/components", type=KEYS) if one["providerId"] == "rsa-generated")
    own = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    config = {"privateKey": [own.decode()], "priority": ["0"], "enabled": ["true"], "active": ["true"]}
    imported = {"name": "own", "providerId": "rsa", "providerType": KEYS, "config": config}
    empty.send("POST", "/components", imported | {"parentId": empty.find("")["id"]})
    empty.send("DELETE", f"/components/{generated['id']}")
    before = empty.find("/keys")["active"]["RS256"]
    assert run(keycloak, "apply", "--yes", realm=empty.realm).exit_code == 0
    assert empty.find("/keys")["active"]["RS256"] == before
    assert "ES256" in empty.find("/keys")["active"]


def test_an_administrator_who_is_none_is_told_so(keycloak: Keycloak) -> None:
    for credentials in (Credentials("admin", "wrong"), Credentials("nobody", "x", is_client=True)):
        with Admin(keycloak.instance.origin, "mcp", credentials) as admin, pytest.raises(AdminError, match="no token"):
            admin.exists()
    with Admin(f"http://localhost:{free_port()}", "mcp", Credentials("a", "b")) as admin:
        with pytest.raises(AdminError, match="nothing answers"):
            admin.exists()
    with keycloak.admin() as admin:
        with pytest.raises(AdminError, match="not found"):
            admin.send("PUT", "/clients/none", {})
        with pytest.raises(AdminError, match="409"):
            admin.send("POST", "/clients", {"clientId": "mcp-public"})


def test_keys_are_rotated_by_command(keycloak: Keycloak) -> None:
    def rotate(realm: str) -> Result:
        return CliRunner().invoke(main, ["rotate-keys", "--issuer", f"{keycloak.instance.origin}/realms/{realm}"])

    first, second = (rotate("mcp").output.split()[1::2] for _ in range(2))
    assert len({*first, *second}) == 4
    with keycloak.admin() as admin:
        active = admin.find("/keys")["active"]
        assert [active["RS256"], active["ES256"]] == second
    missing = rotate("none")
    assert (missing.exit_code, "there is no realm none" in missing.output) == (1, True)
