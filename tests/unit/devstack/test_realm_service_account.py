"""The realm of a server that calls an API in its own name."""

from pathlib import Path
from typing import Any

import pytest

from devstack.realm.clients import least_roles
from devstack.realm.description import Variant, describe, rendered
from devstack.realm.scopes import Api, Scope
from tests.kit.embedded import BASE, RESOURCE, basic, claims, embedded
from tests.kit.scopes import demo


def test_a_server_that_asks_for_tokens_of_its_own_has_a_service_account(tmp_path: Path) -> None:
    """With the scopes that it asks for and the least role that opens each: `mode = "client_credentials"`."""
    apis = (Api("billing", ("orders:read",)),)
    assert "service-account-${" not in rendered(describe(demo().scopes, Variant(apis=apis))).decode()
    file = tmp_path / "realm.json"
    file.write_bytes(rendered(describe(demo().scopes, Variant(apis=apis, own=("orders:read", "mcp:infer")))))
    ours = basic(RESOURCE, "dev-only-server-secret")
    with embedded(file=file) as (client, _):

        def asked(scope: str) -> Any:
            form = {"grant_type": "client_credentials", "scope": scope, "audience": "billing"}
            return client.post(f"{BASE}/token", data=form, headers=ours).json()

        said = asked("mcp:infer orders:read")
        assert said["scope"] == "mcp:infer orders:read"
        token = claims(said["access_token"])
        assert (token["aud"], token["realm_access"]["roles"]) == ([*sorted(["billing", RESOURCE])], ["reader"])
        assert asked("orders:write")["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("wanted", "roles"),
    [
        ([], []),
        (["a"], ["admin"]),
        (["r"], ["reader"]),
        (["w"], ["writer"]),
        (["r", "w"], ["reader", "writer"]),
        (["a", "r"], ["admin"]),  # it opens that as well
    ],
)
def test_a_service_account_has_the_least_roles(wanted: list[str], roles: list[str]) -> None:
    scopes = [Scope("a", "", ("admin",)), Scope("r", "", ("admin", "writer", "reader")), Scope("w", "", ("admin", "writer"))]  # fmt: skip
    assert least_roles(scopes, wanted) == roles
