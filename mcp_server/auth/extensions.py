"""The authorization extensions of MCP that are true of an issuer and what is trusted of it (ext-auth): a pure rule.

Either says how a client comes to its token. A resource server does nothing else for them than it does anyway: it judges
the token. So they are declared where such a token can be had and is accepted, and nothing has to be set for it.
"""

from typing import Final

from mcp_server.auth.issuer.discovery import Grants
from mcp_server.auth.policy import IssuerPolicy

CLIENT_CREDENTIALS: Final = "io.modelcontextprotocol/oauth-client-credentials"
ENTERPRISE_MANAGED: Final = "io.modelcontextprotocol/enterprise-managed-authorization"
_CLIENT_AUTHENTICATION: Final = frozenset({"private_key_jwt", "client_secret_basic"})
"""One of them must be in the issuer's metadata (oauth-client-credentials §Server Metadata Requirements)."""
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ID_JAG: Final = "urn:ietf:params:oauth:grant-profile:id-jag"


def supported_extensions(policy: IssuerPolicy, grants: Grants) -> frozenset[str]:
    """The extensions that are supported here for clients of this issuer.

    Client credentials need a client that may call without a person, and such are named one by one: with none, the
    tokens would be had and then refused. An identity assertion is redeemed at the issuer, for a person's token.
    """
    found = set()
    if policy.service_clients and "client_credentials" in grants.types:
        found |= {CLIENT_CREDENTIALS} if grants.client_authentication & _CLIENT_AUTHENTICATION else set()
    if _JWT_BEARER in grants.types and _ID_JAG in grants.profiles:
        found.add(ENTERPRISE_MANAGED)
    return frozenset(found)
