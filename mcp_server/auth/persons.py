"""Whether a person stands behind a token, or its client alone (RFC 6749 §4.4): one pure rule for each kind of issuer.

A stranger who may register a client may let it ask tokens for itself, and no one has logged in or consented then. A
claim that a protocol mapper can write proves nothing here: on Keycloak 26.7.4 a registered mapper wrote `sid`,
`auth_time`, `preferred_username`, `azp` and `sub` (seen), and a service account with refresh tokens has a `sid` anyway.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

Persons = Literal["keycloak", "rfc9068"]
"""How an issuer's tokens show a person; a policy names one."""

_CONTEXT: Final = re.compile(r"[a-z]{2}[a-z]{2}([a-z]{2}):")
"""Keycloak's `jti` since 26.2: session, kind of token and grant in two letters each. No mapper can write `jti`."""
_OF_ITSELF: Final = "cc"  # client_credentials
_CARRIED_ON: Final = frozenset({"rt", "te"})  # refreshed, exchanged: the grant before this one is not told
_SERVICE_ACCOUNT: Final = "service-account-"


def client_only_reason(claims: Mapping[str, Any], client_id: str, rule: Persons) -> str | None:
    """Why these claims are of a client alone, for the log; None where a person stands behind them."""
    return _RULES[rule](claims, client_id)


def _keycloak(claims: Mapping[str, Any], _: str) -> str | None:
    """What cannot be forged comes first; then the signs of the versions and grants that do not have it.

    A person's token has a `sid`: online, offline, exchanged and lightweight ones have (seen). Of a refreshed token
    `jti` does not tell how it began; a person logged in at some time, a service account never did.
    """
    jti = claims.get("jti")
    context = _CONTEXT.match(jti) if isinstance(jti, str) else None
    grant = context[1] if context else ""
    if grant == _OF_ITSELF:
        return "keycloak: jti says client_credentials"
    names = (claims.get("preferred_username"), claims.get("username"))  # the latter in introspection's answers
    if any(isinstance(name, str) and name.startswith(_SERVICE_ACCOUNT) for name in names):
        return "keycloak: a service account's username"
    if not isinstance(claims.get("sid"), str) or not claims["sid"]:
        return "keycloak: no sid"
    if grant in _CARRIED_ON and not claims.get("auth_time") and not any(names):
        return "keycloak: refreshed or exchanged, without auth_time and a name"
    return None


def _rfc9068(claims: Mapping[str, Any], client_id: str) -> str | None:
    """RFC 9068 §2.2: where no resource owner is involved `sub` should be the client; §5 warns of taking one for one.

    A token that names no client cannot be told from one whose client is its subject, so it counts as such. Auth0 writes
    `ID@clients`; Entra gives a client a `sub` of its own, and says `idtyp: app` where that optional claim is on.
    """
    if not client_id:
        return "rfc9068: no client_id to compare sub with"
    if claims.get("idtyp") == "app":
        return "rfc9068: idtyp is app"
    clients = (client_id, claims.get("azp"))
    return "rfc9068: sub is the client" if claims["sub"].removesuffix("@clients") in clients else None


_RULES: Final[Mapping[Persons, Callable[[Mapping[str, Any], str], str | None]]] = {
    "keycloak": _keycloak,
    "rfc9068": _rfc9068,
}
