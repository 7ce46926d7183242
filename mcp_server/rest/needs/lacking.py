"""What an API's `insufficient_scope` comes to: asked of the issuer once more, of the client, or told to the operator.

An API may name scopes that its document does not for an operation: what the caller was let in by, and what the exchange
asks for, is the document's. Where the caller has stepped up to them, the exchange asks for them as well. What neither
the document nor the map names anywhere is none of the API's: it would send people for the scopes of others.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from mcp_server.registry.scope_pattern import scope_set
from mcp_server.rest.offer.config import Identity, ScopeMap

MOST: Final = 20
"""Scopes of an API that one refusal may ask for."""
_OF_THE_LOGIN: Final = frozenset({"openid", "offline_access"})
"""What no API has, whatever its document says: a login, and one without end. A line of the map may say otherwise."""


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """The API's scopes that it misses, in its own words and in the realm's; `asked` is what its token was asked for."""

    names: tuple[str, ...]
    identity: Identity
    asked: frozenset[str]
    needed: frozenset[str]
    held: frozenset[str]
    mapped: bool
    """Whether the realm has a scope for each."""
    askable: bool
    """Whether this server may ask for it, too."""

    @property
    def is_held(self) -> bool:
        """Whether the caller has all of it: asked for it once more, the client would come back with the same token."""
        return self.mapped and self.needed <= self.held

    @property
    def beyond(self) -> frozenset[str]:
        """What the caller holds and the exchange has not asked for: nothing where the operator says what it asks."""
        by_document = self.identity.mode == "exchange" and self.identity.scopes is None
        return frozenset(self.names) - self.asked if by_document and self.askable and self.is_held else frozenset()

    @property
    def helps(self) -> bool:
        """Whether a login for more would make a difference: not where the exchange asks for the same whoever calls."""
        stated = self.identity.scopes
        reaches = stated is None or stated.issuperset(self.names) or self.needed <= stated
        return self.askable and not self.is_held and self.identity.mode == "exchange" and reaches

    @property
    def cure(self) -> str:
        """What an operator changes: what the API never was asked with it cannot have been sent."""
        stated = self.identity.scopes
        if missing := sorted({*self.names} - (self.asked if stated is None else stated)):
            names = ", ".join(missing)
            if stated is not None:
                return f"identity.scopes (MCP_UPSTREAM_SCOPES) does not name {names}"
            twice = "; until then each call is made twice" if self.beyond else ""
            overlay = "an overlay that adds it to the operation's security does"
            return f"the document does not ask for {names} here: {overlay}{twice}"
        return "the issuer left them out of the token, or the API reads them elsewhere: see what it was sent"


def lacking(
    names: tuple[str, ...],
    *,
    identity: Identity,
    asked: frozenset[str],
    scopes: ScopeMap,
    held: frozenset[str],
    declared: Collection[str],
    documented: Collection[str],
) -> Lacking:
    """What is missing; `declared` are the scopes that this server has, where it says so, `documented` the API's.

    An API may not choose what a person is asked for beyond what this server and its document say.
    """
    own = frozenset(documented) - _OF_THE_LOGIN
    found = [_realms(scopes, scope, own) for scope in names]
    needed = frozenset[str]().union(*(one or frozenset() for one in found))
    mapped = bool(names) and all(found)
    ours = not declared or needed.issubset(declared)
    return Lacking(
        names=names,
        identity=identity,
        asked=asked,
        needed=needed,
        held=held,
        mapped=mapped,
        askable=mapped and len(names) <= MOST and ours and _are_scopes(needed),
    )


def _realms(scopes: ScopeMap, scope: str, own: frozenset[str]) -> frozenset[str] | None:
    """What the realm calls a scope of the API's; None where it has no scope for it, or the API has no such scope."""
    found = scopes.translated(scope)
    return frozenset({scope}) if found is None and scopes.unmapped == "keep" and scope in own else found


def _are_scopes(found: frozenset[str]) -> bool:
    """Whether these can be asked for as they are: an API may say anything, a variable among it."""
    try:
        return not any("{" in one for one in found) and bool(scope_set(found) if found else found)
    except ValueError:
        return False
