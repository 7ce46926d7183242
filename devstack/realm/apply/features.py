"""What a description needs of a Keycloak before anything is changed: features that were built in, or not."""

from typing import Any, Final

from devstack.realm.apply.admin import Admin
from devstack.realm.client_scopes import MARK, PARAMETERS

CIMD: Final = frozenset({"client-id-metadata-document", "client-id-uri"})
"""The executor and the condition that the feature `cimd` brings."""
PARAMETERIZED: Final = "PARAMETERIZED_SCOPES"
NOTHING: Final = "nothing was changed"


def lacking(admin: Admin, document: dict[str, Any]) -> str | None:
    """Why this Keycloak cannot become as described, None where it can; raises `AdminError`.

    Keycloak refuses the whole list of client profiles for one executor that it does not know: found out half way, the
    realm would stand there without any.
    """
    server = admin.server()
    known, enabled = server["providers"], {one["name"] for one in server["features"] if one["enabled"]}
    if PARAMETERIZED not in enabled and any(
        one.get("attributes", {}).get(MARK) == "true" for one in document["clientScopes"]
    ):
        return (
            f"this Keycloak runs without the feature {PARAMETERS}: start it with --features={PARAMETERS}, or leave "
            f"--parameterized-scopes out; {NOTHING}"
        )
    unknown = {
        *(executors(document) - known["client-policy-executor"]["providers"].keys()),
        *(conditions(document) - known["client-policy-condition"]["providers"].keys()),
    }
    if not unknown:
        return None
    if unknown <= CIMD:
        return (
            "this Keycloak runs without the feature cimd: start it with --features=cimd, or say --no-documents; "
            f"{NOTHING}"
        )
    return f"this Keycloak does not know {', '.join(sorted(unknown))}; {NOTHING}"


def executors(document: dict[str, Any]) -> set[str]:
    """What the client profiles name."""
    return {one["executor"] for profile in document["clientProfiles"]["profiles"] for one in profile["executors"]}


def conditions(document: dict[str, Any]) -> set[str]:
    """What the client policies name."""
    return {one["condition"] for policy in document["clientPolicies"]["policies"] for one in policy["conditions"]}
