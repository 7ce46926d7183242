"""The realm `mcp`: scopes, users, roles, clients. The embedded server reads it; Keycloak's file is made of it."""

from typing import Final

import msgspec

RESOURCE: Final = "http://localhost:8000/mcp"
ISSUER: Final = "http://localhost:8180/realms/mcp"


class Scope(msgspec.Struct, frozen=True):
    """A client scope: what the consent page says of it, and the role that gates it (None: for everyone)."""

    name: str
    consent: str
    role: str | None = None
    audience: bool = True


class User(msgspec.Struct, frozen=True):
    """A person who can log in; the password is the name, for development only."""

    username: str
    roles: tuple[str, ...]

    @property
    def email(self) -> str:
        """An address nobody reads."""
        return f"{self.username}@example.com"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A registered client; `secret` None makes it public, `redirect_uris` without a port match any port."""

    client_id: str
    secret: str | None = None
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    roles: tuple[str, ...] = ()
    consent: bool = False
    name: str = ""


class Realm(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the authorization server knows at start."""

    issuer: str
    resource: str
    scopes: tuple[Scope, ...]
    users: tuple[User, ...]
    clients: tuple[Client, ...]
    access_token_s: int = 300
    refresh_token_s: int = 1800

    def scope(self, name: str) -> Scope | None:
        """The scope of that name."""
        return next((one for one in self.scopes if one.name == name), None)


_OURS: Final = ("mcp:read", "mcp:write", "mcp:infer", "mcp:admin")
_LOOPBACK: Final = tuple(
    f"http://{host}{path}" for host in ("127.0.0.1", "localhost", "[::1]") for path in ("/callback", "/oauth/callback")
)


def describe(issuer: str = ISSUER, resource: str = RESOURCE) -> Realm:
    """The realm for an issuer and the MCP endpoint it protects."""
    return Realm(
        issuer=issuer,
        resource=resource,
        scopes=(
            Scope("mcp:read", "Read through the MCP server"),
            Scope("mcp:write", "Change things through the MCP server", role="writer"),
            Scope("mcp:infer", "Use models through the MCP server"),
            Scope("mcp:admin", "Administer through the MCP server", role="admin"),
            Scope("openid", "Know that it is you", audience=False),
            Scope("profile", "See your user profile", audience=False),
            Scope("email", "See your email address", audience=False),
            Scope("offline_access", "Stay connected while you are away", audience=False),
        ),
        users=(
            User("alice", ("reader",)),
            User("bob", ("reader", "writer")),
            User("carol", ("reader", "writer", "admin")),
        ),
        clients=(
            Client(client_id="mcp-public", redirect_uris=_LOOPBACK, scopes=_OURS, name="MCP desktop client"),
            Client(
                client_id="mcp-agent",
                secret="agent-secret",
                scopes=_OURS,
                grants=("client_credentials",),
                roles=("reader",),
                name="Service account",
            ),
            Client(client_id=resource, secret="mcp-server-secret", grants=(), name="The MCP server itself"),
        ),
    )
