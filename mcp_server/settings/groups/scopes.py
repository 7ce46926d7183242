"""What callers may do: the scopes that stand where the server says none, and what is asked of clients."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mcp_server.identity import ScopeRules
from mcp_server.settings.group import Group, Shown
from mcp_server.settings.values import RoleScopes, Scopes, ScopeScopes


class ScopeSettings(Group):
    """Scopes, and how a missing one is told."""

    title: ClassVar[str] = "What callers may do"

    default_scopes: Scopes = Field(frozenset({"mcp:read"}), description="what tools need that name no scopes")
    challenge_scopes: Annotated[Scopes | None, Shown("all declared")] = Field(
        None,
        description="what the first 401 and the metadata's `scopes_supported` tell a client to ask for; one that the "
        "server does not declare is told in the log",
    )
    scope_implies: ScopeScopes = Field(
        {},
        description='a scope and what it includes, e.g. `{"mcp:write": ["mcp:read"]}`, besides what the server '
        "declares with `Scope(implies=...)`",
    )
    role_scopes: RoleScopes = Field({}, description="a Keycloak role and the scopes it amounts to")
    parameterized_scopes: bool = Field(
        False,
        description="whether scopes with variables, `orders:refund:{order_id}`, are asked for with the values of the "
        "call, which the issuer must know how to grant (Keycloak's parameterized scopes); off, their base scope "
        "`orders:refund` stands for them, which the log says at the start",
    )
    step_up: Literal["challenge", "error"] = Field(
        "challenge",
        description="`error` answers a missing scope as a tool error, for clients that mishandle 403",
    )
    list: Literal["all", "granted"] = Field(
        "all", description="`granted` lists only the tools that the caller may call"
    )

    def rules(self, implied: Mapping[str, frozenset[str]] = MappingProxyType({})) -> ScopeRules:
        """What scopes and roles amount to; `implied` are the server's own implications, to which the setting adds."""
        implies = {
            scope: frozenset(implied.get(scope, ())) | self.scope_implies.get(scope, frozenset())
            for scope in {**implied, **self.scope_implies}
        }
        return ScopeRules(implies=implies, role_scopes=self.role_scopes)

    def undeclared(self, declared: frozenset[str]) -> frozenset[str]:
        """What clients are told to ask for though no tool needs it: misspelt, or unknown to the issuer."""
        return (self.challenge_scopes or frozenset()) - declared
