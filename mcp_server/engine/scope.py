"""`Scope`: what an author says of a scope once; the check, the challenge, the realm and its consent page follow."""

import msgspec

from mcp_server.engine.handler import scope_set


class Scope(msgspec.Struct, frozen=True):
    """A scope by its name, the line a person reads before they allow it, and the realm roles of which one is needed.

    No `roles` means that every user may have it. Keycloak leaves a scope out of the token of a user who has none of
    them, and says nothing of it. Who was granted the scope holds those that it `implies` as well.
    """

    name: str
    consent: str = ""
    roles: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be a scope-token; raises `ValueError`."""
        scope_set({self.name})
        if not self.consent:
            msgspec.structs.force_setattr(self, "consent", f"Use {self.name}")


def named(scopes: tuple[Scope, ...]) -> dict[str, Scope]:
    """The declared scopes by name; raises `ValueError` for one declared twice, or implied and not declared."""
    found = {one.name: one for one in scopes}
    if len(found) != len(scopes):
        raise ValueError("a scope is declared twice")
    for one in scopes:
        if unknown := set(one.implies) - found.keys():
            raise ValueError(f"scope {one.name!r} implies {', '.join(sorted(unknown))}: no declared scope")
    return found
