"""The issuer's metadata: where it lies, parsed and checked (RFC 8414 §3, OpenID Connect Discovery §4)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from mcp_server.auth.policy import IssuerPolicy


class IssuerMetadata(msgspec.Struct, frozen=True):
    """What a resource server needs of its issuer: addresses to fetch from here, and one that clients may be told."""

    issuer: str
    jwks_uri: str
    introspection_endpoint: str | None = None
    public_introspection_endpoint: str | None = None
    token_endpoint: str | None = None


def locations(base: str) -> tuple[str, str]:
    """Where the document of an issuer may lie: OpenID's place first, for Keycloak answers it, then RFC 8414's."""
    parts = urlsplit(base.rstrip("/"))
    inserted = "/.well-known/oauth-authorization-server" + parts.path
    return (
        base.rstrip("/") + "/.well-known/openid-configuration",
        urlunsplit((parts.scheme, parts.netloc, inserted, "", "")),
    )


def parse(document: Any, policy: IssuerPolicy) -> IssuerMetadata | str:
    """The metadata, or why it is refused: `issuer` must equal the configured one exactly (RFC 8414 §3.3)."""
    if not isinstance(document, Mapping):
        return "the metadata is not a JSON object"
    issuer = document.get("issuer")
    if issuer != policy.issuer:
        return (
            f"the metadata names issuer {str(issuer)[:200]!r}, MCP_ISSUER is {policy.issuer!r}: MCP_ISSUER must be the "
            "public address that tokens carry as iss, MCP_ISSUER_FETCH_URL the one at which this server reaches it"
        )
    jwks_uri = _address(document.get("jwks_uri"), policy)
    if jwks_uri is None:
        return "the metadata has no usable jwks_uri"
    stated = document.get("introspection_endpoint")
    public = stated if isinstance(stated, str) and stated.startswith(policy.issuer + "/") else None
    token_endpoint = _address(document.get("token_endpoint"), policy)
    return IssuerMetadata(
        issuer=policy.issuer,
        jwks_uri=jwks_uri,
        introspection_endpoint=_address(stated, policy),
        public_introspection_endpoint=public,
        token_endpoint=token_endpoint,
    )


def _address(url: object, policy: IssuerPolicy) -> str | None:
    """An endpoint as reached from here: under the issuer it moves to the inner base; http only there.

    What no parser of addresses takes (`https://[x`, a port that is no number) is none: once it ended the refreshing.
    """
    if not isinstance(url, str):
        return None
    base = policy.fetch_url or policy.issuer
    if policy.fetch_url and url.startswith(policy.issuer + "/"):
        url = policy.fetch_url.rstrip("/") + url[len(policy.issuer) :]
    try:
        scheme, host, _ = origin = _origin(url)
        secure = scheme == "https" and bool(host)
        return url if secure or origin == _origin(base) else None
    except ValueError:
        return None


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, user and host, and port; raises `ValueError`."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower(), parts.port
