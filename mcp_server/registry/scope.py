"""`Scope`: what an author says of a scope once; the check, the challenge, the realm and its consent page follow."""

from typing import Any, Final

import msgspec

WILDCARD: Final = ":*"
"""The end of what `Scope.implies` opens as a whole. No value makes it: `*` is encoded (`scope_pattern`)."""
_SCOPE_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F))) - set('"\\')


class Scope(msgspec.Struct, frozen=True):
    """A scope by its name, the line a person reads before they allow it, and the realm roles of which one is needed.

    Keycloak leaves a scope out of the token of whoever has none of its `roles`, and says nothing of it. A scope that
    names none is not everybody's: anybody may register clients, and these would have it without any person. `devstack
    realm` gates it by a realm role of the scope's own name, which nobody has until an operator gives it. Another issuer
    than that realm may give it to whoever asks. Who was granted the scope holds those that it `implies` as well, all of
    `orders:refund:{order_id}` where that names `orders:refund:*`. `patterns` are the parameterized scopes that begin
    with this one, as `McpServer.described_scopes` tells them; an author names none.
    """

    name: str
    consent: str = ""
    roles: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be a scope-token; raises `ValueError`."""
        scope_set({self.name})
        if not self.consent:
            msgspec.structs.force_setattr(self, "consent", f"Use {self.name}")


def by_name(scopes: tuple[Scope, ...]) -> dict[str, Scope]:
    """The declared scopes by name; raises `ValueError` for one declared more than once, or implied and not declared."""
    found = {one.name: one for one in scopes}
    if len(found) != len(scopes):
        raise ValueError("a scope is declared more than once")
    for one in scopes:
        if unknown := {name for name in one.implies if not name.endswith(WILDCARD)} - found.keys():
            raise ValueError(f"scope {one.name!r} implies {', '.join(sorted(unknown))}: no declared scope")
    return found


def scope_set(scopes: Any) -> frozenset[str] | None:
    """Declared scopes, checked; None stands for the server's default ones."""
    if scopes is None:
        return None
    if isinstance(scopes, str):
        raise TypeError("scopes is a set of texts, not one text")
    found = frozenset(scopes)
    for scope in found:
        if "{" in scope or "}" in scope:
            raise ValueError(f"scope {scope!r} has a variable: what stands before it is a scope")
        if not scope or not _SCOPE_CHARACTERS.issuperset(scope):
            raise ValueError(f"scope {scope!r} is no scope-token (RFC 6749 §3.3)")
    if not found:
        raise ValueError("an empty set of scopes: say public=True for what needs no token")
    return found
