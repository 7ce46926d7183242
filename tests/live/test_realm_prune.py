"""`devstack realm prune` against a real Keycloak: who registered and is not used goes, who is used stays."""

import httpx
import pytest

from devstack.login import fetch_token
from devstack.realm.apply.admin import Admin
from tests.kit.authorities import Keycloak
from tests.kit.realms import command, run

pytestmark = pytest.mark.live


def register(keycloak: Keycloak, realm: str) -> str:
    body = {"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"}
    url = f"{keycloak.instance.origin}/realms/{realm}/clients-registrations/openid-connect"
    return str(httpx.post(url, json=body, trust_env=False, timeout=30).json()["client_id"])


def test_who_is_not_used_goes(keycloak: Keycloak, empty: Admin) -> None:
    assert run(keycloak, "apply", "--yes", realm=empty.realm).exit_code == 0
    assert command(keycloak, "prune", realm=empty.realm).output == "0 clients\n"
    issuer = f"{keycloak.instance.origin}/realms/{empty.realm}"
    unused, used, opened, kept = (register(keycloak, empty.realm) for _ in range(4))
    fetch_token(issuer, "bob", "openid mcp:read", keycloak.resource, used)
    fetch_token(issuer, "bob", "openid mcp:read", keycloak.resource, opened)
    known = {one["clientId"]: one for one in empty.listed("/clients")}
    long = known[opened] | {"attributes": known[opened]["attributes"] | {"access.token.lifespan": "31536000"}}
    empty.send("PUT", f"/clients/{known[opened]['id']}", long)
    empty.send("PUT", f"/clients/{known[kept]['id']}", known[kept] | {"consentRequired": False})
    assert command(keycloak, "prune", "--unused-hours", "1", realm=empty.realm).output.splitlines() == [
        f"delete client {opened} (): has access.token.lifespan", "1 clients: --yes deletes them",
    ]  # fmt: skip

    told = command(keycloak, "prune", "--unused-hours", "0", "--idle-days", "0", "--yes", realm=empty.realm)
    assert (told.exit_code, told.output.splitlines()[-1]) == (0, "2 clients")
    assert f"delete client {unused} (): unused" in told.output
    left = {one["clientId"] for one in empty.listed("/clients")}
    assert left & {unused, used, opened, kept} == {used, kept}  # the one has a session, the other an operator keeps
    assert {"mcp-public", "mcp-agent"} <= left


def test_without_events_nothing_is_judged(keycloak: Keycloak, empty: Admin) -> None:
    missing = command(keycloak, "prune", realm=empty.realm)
    assert (missing.exit_code, "there is no realm" in missing.output) == (1, True)
    empty.create_realm({"realm": empty.realm, "enabled": True})
    silent = command(keycloak, "prune", realm=empty.realm)
    assert (silent.exit_code, "keeps no events" in silent.output) == (1, True)
