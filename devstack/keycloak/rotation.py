"""New signing keys in a Keycloak realm; the former go on verifying until an operator retires them."""

from devstack.realm.apply.admin import Admin, AdminError
from devstack.realm.description import KEYS

PROVIDERS = ("rsa-generated", "ecdsa-generated")


def rotate(admin: Admin) -> list[str]:
    """Add a key of each kind with the highest priority; the ids of the keys that sign now. Raises `AdminError`."""
    realm = admin.find("")
    if realm is None:
        raise AdminError(f"there is no realm {admin.realm}")
    known = admin.listed("/components", type=KEYS)
    for provider in PROVIDERS:
        priority = 1 + max(int(one["config"]["priority"][0]) for one in known if one["providerId"] == provider)
        body = {
            "name": f"{provider}-{priority}",
            "providerId": provider,
            "providerType": KEYS,
            "parentId": realm["id"],
            "config": {"priority": [str(priority)], "enabled": ["true"], "active": ["true"]},
        }
        admin.send("POST", "/components", body)
    active = admin.find("/keys")["active"]
    return [active[algorithm] for algorithm in ("RS256", "ES256")]
