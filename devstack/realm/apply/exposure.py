"""What a Keycloak leaves open that no step of `apply` can close: printed at each `diff` and `apply`."""

from collections.abc import Iterator
from typing import Any, Final

from devstack.realm.apply.admin import Admin
from devstack.realm.scopes import Scope

REPRESENTATION: Final = "clients-registrations/default"


def generated(scopes: tuple[Scope, ...]) -> Iterator[str]:
    """Scopes that named no role and were given one."""
    for one in scopes:
        if not one.roles:
            yield f"scope {one.name} names no role: it is for who is given the realm role {one.name!r}"


def exposures(admin: Admin, document: dict[str, Any]) -> Iterator[str]:
    """What an operator should know of a realm that is there."""
    realm = admin.find("")
    default = realm["defaultRole"]
    everyone = {one["name"] for one in admin.listed(f"/roles-by-id/{default['id']}/composites")}
    for gate in document["scopeMappings"]:
        for role in gate["roles"]:
            if role in everyone and gate["clientScope"] != "offline_access":
                yield (
                    f"role {role} is in {default['name']}: scope {gate['clientScope']} is everybody's, and of clients "
                    "that registered themselves as well"
                )
    if admin.stranger(f"{REPRESENTATION}/none") == 401:  # there, and it asks who would read; 404 where it is off
        yield (
            f"{REPRESENTATION} is open: there a client that registers itself chooses how long its tokens live. Build "
            "Keycloak with --spi-client-registration--default--enabled=false, or close the path at the proxy"
        )
