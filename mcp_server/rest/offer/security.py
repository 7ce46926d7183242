"""`security` → the scopes that a tool needs: alternatives in the realm's words, and the API's own beside each.

A list is OR, an object in it AND, and so are the scopes of one scheme (OAS 3.2 §4.30). Only oauth2 and openIdConnect
have scopes; roles that OAS 3.1 lets the other schemes name count where the map has them. Never none: an operation that
asks for nothing needs the server's default scopes, and only `public = true` of `mcp.toml` opens it to everybody, for a
document often says nothing of what the gateway in front of the API asks.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from mcp_server.rest.model import Alternative, SecurityScheme
from mcp_server.rest.offer import words
from mcp_server.rest.offer.config import OperationOverrides, ScopeMap

_SCOPED: Final = frozenset({"oauth2", "openIdConnect"})
LONGEST_TEXT: Final = 160
"""Of a scope on the page of consent: a person reads it between two others, and Keycloak keeps 255."""
_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F))) - set('"\\{}')  # a brace would make a variable of it


class Unusable(Exception):
    """An operation that nobody could be let into; `scopes` are those of the API that have no translation."""

    def __init__(self, text: str, scopes: frozenset[str] = frozenset()) -> None:
        super().__init__(text)
        self.scopes = scopes


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller needs: any one of `alternatives`, in the realm's scopes. Empty: the server's default scopes.

    `api_scopes` are the API's own, by the same index; for the default scopes there may be one too. They decide nothing
    here, and go into the exchange.
    """

    alternatives: tuple[frozenset[str], ...] = ()
    api_scopes: tuple[frozenset[str], ...] = ()
    public: bool = False


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for all operations of an API: its schemes, the map, and the API's name, for the line to write."""

    schemes: Mapping[str, SecurityScheme]
    scopes: ScopeMap
    api: str = "api"


def needs(security: tuple[Alternative, ...] | None, tuning: OperationOverrides, rules: Rules) -> Needs:
    """What an operation needs; raises `Unusable`."""
    if tuning.public:
        return Needs(public=True)
    if tuning.scopes is not None:
        return Needs(alternatives=(tuning.scopes,), api_scopes=(_first_asked(security, rules),))
    return _translated(_readable(security or (), rules), rules)


def api_scopes(needs: Needs, held: frozenset[str]) -> frozenset[str]:
    """The API's own scopes for a call: those of the alternative by which its caller was let in."""
    for realm, own in zip(needs.alternatives or (frozenset(),), needs.api_scopes, strict=False):
        if realm <= held:
            return own
    return frozenset()


def lacked(needs: Needs, default_scopes: frozenset[str], held: frozenset[str]) -> tuple[frozenset[str], ...]:
    """The alternatives that would let a caller into an operation, where they hold none: empty where they are let in."""
    alternatives = tuple(one or default_scopes for one in needs.alternatives or (frozenset[str](),))
    return () if needs.public or any(one <= held for one in alternatives) else alternatives


def untranslated(security: tuple[Alternative, ...] | None, rules: Rules) -> Needs:
    """What an operation needs in the API's own names, where the map has no other; nothing of schemes that are none."""
    known = [one for one in security or () if all(scheme in rules.schemes for scheme in one)]
    return _translated(known, msgspec.structs.replace(rules, scopes=ScopeMap(names=rules.scopes.names)))


def _readable(security: tuple[Alternative, ...], rules: Rules) -> list[Alternative]:
    """The alternatives whose schemes exist; that one is misspelt takes a way in away, and opens none."""
    known = [one for one in security if all(scheme in rules.schemes for scheme in one)]
    if security and not known:
        names = sorted({scheme for one in security for scheme in one} - rules.schemes.keys())
        raise Unusable(f"security names no scheme of the document: {', '.join(names)}")
    return known


def _translated(alternatives: list[Alternative], rules: Rules) -> Needs:
    found: dict[frozenset[str], frozenset[str]] = {}
    forgotten: set[str] = set()
    for one in alternatives:
        if not _has_scheme_of_scopes(one, rules) and one:
            continue  # a key of the server's own: nothing that a caller could hold
        asked = _asked(one, rules)
        realm, missing = _realm(asked, rules.scopes)
        forgotten |= missing
        if missing and rules.scopes.unmapped != "default":
            continue
        if not realm:
            return Needs(api_scopes=(asked,) if asked else ())
        found.setdefault(realm, asked)
    if forgotten and not found:
        raise Unusable(_line_to_write(forgotten, rules), frozenset(forgotten))
    return Needs(alternatives=tuple(found), api_scopes=tuple(found.values()))


def _has_scheme_of_scopes(alternative: Alternative, rules: Rules) -> bool:
    return any(
        rules.schemes[name].kind in _SCOPED or any(rules.scopes.translated(role) for role in roles)
        for name, roles in alternative.items()
    )


def _asked(alternative: Alternative, rules: Rules) -> frozenset[str]:
    """The API's scopes of an alternative, and the roles that the map knows; several in one text are several."""
    return frozenset(
        scope
        for name, scopes in alternative.items()
        for scope in " ".join(scopes).split()
        if rules.schemes[name].kind in _SCOPED or rules.scopes.translated(scope) is not None
    )


def _realm(asked: frozenset[str], scopes: ScopeMap) -> tuple[frozenset[str], frozenset[str]]:
    """The realm's scopes for the API's, and which of these have none."""
    realm: set[str] = set()
    missing: set[str] = set()
    for scope in asked:
        if (found := scopes.translated(scope)) is not None:
            realm |= found
        elif scopes.unmapped == "keep" and _CHARACTERS.issuperset(scope):
            realm.add(scope)
        else:
            missing.add(scope)
    return frozenset(realm), frozenset(missing)


def _line_to_write(forgotten: set[str], rules: Rules) -> str:
    names = ", ".join(sorted(forgotten))
    lines = "; ".join(f'"{scope}" = "…"' for scope in sorted(forgotten))
    return f"its scope {names} has no translation: write under [apis.{rules.api}.scopes] {lines}"


def _first_asked(security: tuple[Alternative, ...] | None, rules: Rules) -> frozenset[str]:
    known = [one for one in security or () if all(scheme in rules.schemes for scheme in one)]
    return _asked(known[0], rules) if known else frozenset()


def unmapped(securities: Iterable[tuple[Alternative, ...] | None], rules: Rules) -> tuple[str, ...]:
    """The API's scopes that a map forgets; none where there is no map, for then the names are the realm's."""
    if not rules.scopes.names:
        return ()
    asked = {
        scope
        for security in securities
        for one in security or ()
        for name, scopes in one.items()
        if name in rules.schemes and rules.schemes[name].kind in _SCOPED
        for scope in " ".join(scopes).split()
    }
    return tuple(sorted(scope for scope in asked if rules.scopes.translated(scope) is None))


def texts(offered: Iterable[Needs], rules: Rules) -> dict[str, str]:
    """What the document says of the scopes that its operations need, by the realm's names, each in one line.

    Several that are one in the realm are told together: who consents to it consents to all of them. One that is several
    in the realm says nothing of any of them. A document is not the operator's: `${…}`, which Keycloak takes for the key
    of a text of its own, is none, and neither is what nobody sees.
    """
    needed = {scope for one in offered for every in one.alternatives for scope in every}
    said: dict[str, dict[str, None]] = {}
    for scheme in rules.schemes.values():
        for scope, text in scheme.scopes.items():
            realm, _ = _realm(frozenset({scope}), rules.scopes)
            line = words.first_paragraph(text, LONGEST_TEXT).replace("${", "$ {")
            if line and len(realm) == 1 and realm <= needed:
                said.setdefault(min(realm), {})[line] = None
    return {scope: words.cut("; ".join(lines), LONGEST_TEXT) for scope, lines in sorted(said.items())}
