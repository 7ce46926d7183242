"""Words of `MCP_SECRETS` → sources. A client library is imported by its own module, and that where it is named."""

import difflib
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from mcp_server.route import Route
from mcp_server.secrets.source import Address, SecretSource
from mcp_server.secrets.vault_login import METHODS

KINDS: Final = ("aws", "ssm", "azure", "gcp", "vault")
_OPTIONS: Final = {
    "aws": {"region"},
    "ssm": {"region"},
    "azure": set[str](),
    "gcp": {"endpoint"},
    "vault": {"auth", "role", "mount", "namespace", "token_file", "role_id_file", "secret_id_file"},
}
CREDENTIALS: Final = {
    "aws": ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    "ssm": ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    "azure": ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER"),
    "gcp": (),
    "vault": ("VAULT_TOKEN",),
}
"""Variables that open a store: with one of them a handler's child could fetch every secret by itself."""


def parsed(word: str) -> Address:
    """One place; raises `ValueError`, without what was given."""
    kind, colon, rest = word.partition(":")
    if not colon or kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1, 0.7)
        raise ValueError(
            f"each must begin with {', '.join(f'{one}:' for one in KINDS)}"
            + (f"; did you mean {near[0]}:?" if near else "")
        )
    place, _, query = rest.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if unknown := sorted(options.keys() - _OPTIONS[kind]):
        raise ValueError(f"{kind}: has no option {unknown[0]}")
    if len(pairs) != len(options) or not all(options.values()):
        raise ValueError(f"{kind}: an option stands there twice, or without a value")
    _CHECKS[kind](place, options)
    return Address(kind, place, options)


def sources(addresses: Iterable[Address], route: Route) -> list[SecretSource]:
    """The same, ready to be asked."""
    return [_made(address, route) for address in addresses]


def credentials(addresses: Iterable[Address]) -> frozenset[str]:
    """The variables that open these stores."""
    return frozenset(name for address in addresses for name in CREDENTIALS[address.kind])


def _made(address: Address, route: Route) -> SecretSource:
    match address.kind:
        case "aws":
            from mcp_server.secrets.aws import SecretsManager  # noqa: PLC0415 - only who names a store needs it

            return SecretsManager(address, route)
        case "ssm":
            from mcp_server.secrets.aws import ParameterStore  # noqa: PLC0415 - see above

            return ParameterStore(address, route)
        case "azure":
            from mcp_server.secrets.azure import KeyVault  # noqa: PLC0415 - see above

            return KeyVault(address, route)
        case "gcp":
            from mcp_server.secrets.gcp import SecretManager  # noqa: PLC0415 - see above

            return SecretManager(address, route)
        case _:
            from mcp_server.secrets.vault import Vault  # noqa: PLC0415 - see above

            return Vault(address, route)


def _aws(place: str, _: dict[str, str]) -> None:
    if not place or place.startswith("/"):
        raise ValueError("aws: wants the ARN or the name of a secret")


def _ssm(place: str, _: dict[str, str]) -> None:
    if not place.startswith("/") or place.endswith("/"):
        raise ValueError("ssm: wants a path, /mcp/production, without a slash at its end")


def _azure(place: str, _: dict[str, str]) -> None:
    parts = _https("azure", place)
    if parts and (parts[0] != "secrets" or len(parts) != 2):
        raise ValueError("azure: wants https://NAME.vault.azure.net, or that and /secrets/NAME")


def _gcp(place: str, options: dict[str, str]) -> None:
    project, _, name = place.partition("/")
    if not project or not name.strip("*") or "/" in name or "*" in name[:-1]:
        raise ValueError("gcp: wants PROJECT/SECRET, or PROJECT/PREFIX*")
    if "/" in options.get("endpoint", ""):
        raise ValueError("gcp: endpoint= wants a host name")


def _vault(place: str, options: dict[str, str]) -> None:
    if len(_https("vault", place)) < 2:
        raise ValueError(
            "vault: wants https://HOST:8200/MOUNT/data/PATH (KV version 2) or https://HOST:8200/MOUNT/PATH"
        )
    method = options.get("auth", "kubernetes")
    if method not in METHODS:
        raise ValueError(f"vault: auth= must be {', '.join(METHODS)}")
    if missing := [one for one in METHODS[method] if one not in options]:
        raise ValueError(f"vault: auth={method} wants {missing[0]}=")


def _https(kind: str, place: str) -> list[str]:
    """The parts of a URL's path; raises `ValueError`: over plain http anybody on the way could read the secrets."""
    try:
        parts = urlsplit(place)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(f"{kind}: wants an https URL, without a user and password")
    return [one for one in parts.path.split("/") if one]


_CHECKS: Final[dict[str, Callable[[str, dict[str, str]], None]]] = {
    "aws": _aws,
    "ssm": _ssm,
    "azure": _azure,
    "gcp": _gcp,
    "vault": _vault,
}
