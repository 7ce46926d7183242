"""The protected resource metadata document (RFC 9728 §2, §3)."""

from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class ResourceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What this resource says of itself; comes from configuration, never from a request."""

    resource: str
    issuers: tuple[str, ...]
    scopes: frozenset[str]
    name: str
    documentation: str | None = None
    introspection_endpoint: str | None = None
    dpop_algorithms: tuple[str, ...] = ()


def document(described: ResourceDescription) -> bytes:
    """The JSON a client reads; `issuer` and what follows it are for older readers."""
    body: dict[str, object] = {
        "resource": described.resource,
        "authorization_servers": list(described.issuers),
        "scopes_supported": listable(described.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": described.name,
        "issuer": described.issuers[0],
        "token_types_supported": ["Bearer"],
    }
    if described.documentation:
        body["resource_documentation"] = described.documentation
    if described.introspection_endpoint:
        body["token_introspection_endpoint"] = described.introspection_endpoint
    if described.dpop_algorithms:
        body["dpop_signing_alg_values_supported"] = list(described.dpop_algorithms)
    return msgspec.json.encode(body)


def listable(scopes: Iterable[str]) -> list[str]:
    """Scopes for a challenge or a document: sorted, and never `offline_access` (2026-07-28 authorization §Refresh)."""
    return sorted(set(scopes) - {"offline_access"})


def url(resource: str) -> str:
    """Where the document of a resource lies: the well-known path inserted before the resource's own (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"
