"""The description made concrete: placeholders filled, and no secret of development in production."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from devstack.realm.placeholders import DEVELOPMENT, resolve

_SECRET_NAME: Final = re.compile(r"\$\{([A-Z0-9_]+)\}")


class Unsafe(Exception):
    """What would open a Keycloak to everyone who read this repository; the text says what to set."""


def for_development(document: dict[str, Any], environment: Mapping[str, str], keycloak: str) -> dict[str, Any]:
    """With its people and known secrets: for a Keycloak on loopback alone; raises `Unsafe`."""
    if not _is_here(keycloak):
        raise Unsafe(f"{keycloak} is not on this machine: the people and secrets of development are for loopback alone")
    filled: dict[str, Any] = resolve(document, environment)
    return filled


def without_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """For a file: an import leaves a placeholder that nobody fills as it is, and everyone would know that secret."""
    return {**document, "clients": [_bare(one) for one in document["clients"]]}


def _bare(client: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in client.items() if name != "secret"}


def _is_here(keycloak: str) -> bool:
    return urlsplit(keycloak).hostname in ("localhost", "127.0.0.1", "::1")


def for_production(
    document: dict[str, Any], environment: Mapping[str, str], keycloak: str
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """With secrets from the environment alone; where one is missing Keycloak makes it (client, variable).

    Raises `Unsafe` for a resource that is not https and for a development default that was given as a secret.
    """
    resource = environment.get("MCP_RESOURCE_URL", "")
    if urlsplit(resource).scheme != "https":
        raise Unsafe(
            "--resource (or MCP_RESOURCE_URL) must be the public https URL of the MCP endpoint; http is for a realm of "
            "development, with --for development"
        )
    if urlsplit(keycloak).scheme != "https" and not _is_here(keycloak):
        raise Unsafe(f"{keycloak}: passwords and secrets go over https alone")
    left_to_keycloak, clients = [], []
    for client in document["clients"]:
        found = _SECRET_NAME.match(client.get("secret", ""))
        if found and not environment.get(found[1]):  # an empty one is none
            left_to_keycloak.append((resolve(client["clientId"], environment), found[1]))
            clients.append(_bare(client))
        else:
            clients.append(client)
    filled: dict[str, Any] = resolve({**document, "clients": clients}, environment)
    if DEVELOPMENT.encode() in msgspec.json.encode(filled):
        raise Unsafe(f"a secret begins with {DEVELOPMENT!r}: it stands in a public repository; make another")
    return filled, left_to_keycloak
