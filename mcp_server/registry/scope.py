"""`Scope`: what an author says of a scope once; the check, the challenge, the realm and its consent page follow."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from mcp_server.registry.scope_pattern import has_variable, parse, scope_set

WILDCARD: Final = ":*"
"""The end of what `Scope.implies` opens as a whole. No value makes it: `*` is encoded (`scope_pattern`)."""


class Scope(msgspec.Struct, frozen=True):
    """A scope by its name, the line a person reads before they allow it, and the realm roles of which one is needed.

    Keycloak leaves a scope out of the token of whoever has none of its `roles`, and says nothing of it. A scope that
    names none is not everybody's: anybody may register clients, and these would have it without any person. `devstack
    realm` gates it by a realm role of the scope's own name, which nobody has until an operator gives it. Another issuer
    than that realm may give it to whoever asks. Who was granted the scope holds those that it `implies` as well, all of
    `orders:refund:{order_id}` where that names `orders:refund:*`.

    A name with variables, `orders:refund:{order_id}`, declares the parameterized scope and its base scope: to an issuer
    they are one, and what is said of one is said of both. A function or a handler may name what is declared so; what
    tools need by `scopes=` need not be declared beside its base scope. `patterns` are the parameterized scopes that
    begin with this one, as `McpServer.described_scopes` tells them; an author names none.
    """

    name: str
    consent: str = ""
    roles: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be a scope-token; raises `ValueError`, and `TypeError` for one text as several.

        `roles="writer"` would gate a scope by the roles w, r, i, t, e and r: nobody has them, and nothing says so.
        """
        for text in (self.name, self.consent or ""):
            if not isinstance(text, str):
                raise TypeError(f"Scope(name, consent): both are texts, and not {text!r}")
        for member in ("roles", "implies"):
            _require_texts(self.name, member, getattr(self, member))
        if not has_variable(self.name):
            scope_set({self.name})
        elif self.implies:  # implications are looked up by the names that a token has
            raise ValueError(f"scope {self.name!r} has a variable and implies nothing: {self.base} may")
        if not self.consent:
            msgspec.structs.force_setattr(self, "consent", f"Use {self.base}")

    @property
    def base(self) -> str:
        """What an issuer knows it by: all before the first variable."""
        return parse(self.name).base if has_variable(self.name) else self.name


def _require_texts(name: str, member: str, given: Any) -> None:
    if isinstance(given, str):
        raise TypeError(f"scope {name!r}: {member} is several texts, not one: {member}=({given!r},)")
    if not all(isinstance(one, str) for one in given):
        raise TypeError(f"scope {name!r}: {member} is several texts, and not {given!r}")


def _scopes(given: Any) -> tuple[Scope, ...]:
    """What a server declares; raises `TypeError` for the names that a tool would give, and for one Scope by itself."""
    scopes = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if scopes == (given,) or not all(isinstance(one, Scope) for one in scopes):
        raise TypeError(
            f"McpServer(scopes=...) takes several Scopes, [Scope('mcp:read', 'Read orders')], not {given!r}"
        )
    return scopes


def by_name(given: Iterable[Scope]) -> dict[str, Scope]:
    """The declared scopes by the names that an issuer knows them by; raises `ValueError`, and `TypeError` for no Scope.

    It does so for one declared more than once, or implied and not declared.
    """
    groups: dict[str, list[Scope]] = {}
    for one in _scopes(given):
        if one.patterns:
            raise ValueError(f"scope {one.name!r}: a Scope of its own declares {', '.join(one.patterns)}")
        groups.setdefault(one.base, []).append(one)
    found = {base: _as_one(base, group) for base, group in groups.items()}
    for one in found.values():
        if unknown := {name for name in one.implies if not name.endswith(WILDCARD)} - found.keys():
            raise ValueError(f"scope {one.name!r} implies {', '.join(sorted(unknown))}: no declared scope")
    return found


def _as_one(base: str, group: Sequence[Scope]) -> Scope:
    """A base scope and what is parameterized of it; of consent and roles each is said once."""
    names = [one.name for one in group]
    if len(set(names)) != len(names):
        raise ValueError("a scope is declared more than once")
    implies, unsaid = tuple(name for one in group for name in one.implies), Scope(base).consent
    consents = {one.consent for one in group} - {unsaid}
    roles = {one.roles for one in group} - {()}
    if len(consents) > 1 or len(roles) > 1:
        raise ValueError(f"scopes {', '.join(names)} are one to an issuer: one of them says the consent text and roles")
    patterns = tuple(filter(has_variable, names))
    consent, gates = consents.pop() if consents else unsaid, roles.pop() if roles else ()
    return Scope(base, consent, gates, implies, patterns=patterns)
