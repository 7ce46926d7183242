"""Who a caller is and what they may do: `Principal`, `Credential`, and the arithmetic of scopes (a leaf)."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NoReturn, final

import msgspec

Kind = Literal["user", "client"]
MAX_ACTORS: Final = 4
MAX_ACTOR: Final = 128
"""Characters of one's name: the issuer's words, but in each line of the audit."""
_ACTOR_NAMES: Final = ("sub", "client_id", "azp")


class Principal(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """A caller whose token was verified; only `auth/tokens/claims.py` makes one.

    `scopes` holds what was granted plus what roles and implications add. `expires_at` is when the token is accepted no
    longer, in seconds since the epoch: its `exp` and `MCP_LEEWAY_S`; whoever asks compares with it and adds nothing.
    `kind` is "client" where a client acts for itself and no person is behind it. `token_digest` is the first 16
    hex digits of the token's SHA-256: enough to find it, useless to replay.
    `document` is the token's claims as they were signed, a JSON object.
    `auth_time` is when the person logged in, and `acr` how, in the issuer's words; None and "" where the token does not
    say. `leeway_s` is by how much the issuer's clock and ours may differ; `expires_at` has it already. `sid` is the
    login at the issuer, `jti` and `issued_at` the token: what a token is revoked by; empty and 0 where it does not say.
    """

    issuer: str
    subject: str
    client_id: str
    scopes: frozenset[str]
    roles: frozenset[str]
    expires_at: float
    token_digest: str
    kind: Kind = "user"
    document: bytes = b"{}"
    auth_time: float | None = None
    acr: str = ""
    leeway_s: int = 0
    sid: str = ""
    jti: str = ""
    issued_at: float = 0.0

    @property
    def tokenless(self) -> bool:
        """Whoever started the process on a desktop may do what the server can: no token says less."""
        return not self.token_digest

    @property
    def claims(self) -> dict[str, Any]:
        """All claims of the token, parsed anew at each call: few handlers look, and thousands of callers are kept."""
        found: dict[str, Any] = json.loads(self.document)
        return found

    @property
    def username(self) -> str | None:
        """The claim `preferred_username`, for people to read: users may change theirs, so nothing is bound to it."""
        name = self.claims.get("preferred_username")
        return name if isinstance(name, str) else None

    @functools.cached_property
    def act(self) -> tuple[str, ...]:
        """Who acts for the person, the one who calls first and then those before it (RFC 8693 §4.1)."""
        found: list[str] = []
        actor = self.claims.get("act") if b'"act"' in self.document else None
        while isinstance(actor, dict) and len(found) < MAX_ACTORS:
            named = next((one for name in _ACTOR_NAMES if isinstance(one := actor.get(name), str) and one), "unknown")
            found.append(named[:MAX_ACTOR])
            actor = actor.get("act")
        return tuple(found)

    @functools.cached_property
    def key(self) -> str:
        """What sessions, cursors and states are bound to: the issuer, and the person or client in it.

        Kinds are kept apart: a person whose `sub` reads like a client's id is not that client (RFC 9068 §5).
        """
        return f"{self.issuer}\n{self.kind}\n{self.subject if self.kind == 'user' else self.client_id}"


class TokenMarks(msgspec.Struct, frozen=True, kw_only=True):
    """What of a principal's token tells whether it was revoked, for what is kept longer than the principal."""

    issuer: str
    subject: str
    client_id: str
    token_digest: str = ""
    sid: str = ""
    jti: str = ""
    issued_at: float = 0.0


def marks_of(principal: Principal) -> TokenMarks:
    """The marks of a caller's token."""
    return TokenMarks(**{name: getattr(principal, name) for name in TokenMarks.__struct_fields__})


@final
class Credential:
    """The caller's access token as an opaque value, to be traded for one of an API's (RFC 8693) and for nothing else.

    MCP forbids to pass it on. So no header, log or store can take it by mistake: it is no text, has no representation,
    cannot be encoded, copied or pickled, and stands in no `Principal`. `rest/exchange.py` alone calls `reveal`, and
    `engine/methods/task_jobs.py` alone has it sealed, for a task that another worker may have to run; a test of the
    architecture holds that.
    """

    __slots__ = ("__token", "principal")

    def __init__(self, token: bytes, principal: Principal) -> None:
        self.__token = token
        self.principal = principal

    def reveal(self) -> bytes:
        """The token itself."""
        return self.__token

    def sealed_with(self, seal: Callable[[bytes], str]) -> str:
        """The token as nobody can read it who lacks the key."""
        return seal(self.__token)

    @classmethod
    def unsealed(cls, principal: Principal, opened: Callable[[], bytes]) -> "Credential":
        """The token that was sealed, opaque again."""
        return cls(opened(), principal)

    def __repr__(self) -> str:
        return "Credential(…)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a credential stays where it is: it is neither copied nor stored")


class ScopeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a granted scope or a role adds: `implies` is scope → scopes, `role_scopes` is role → scopes."""

    implies: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    role_scopes: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)

    def held(self, granted: Iterable[str], roles: Iterable[str]) -> frozenset[str]:
        """Every scope that these granted scopes and roles amount to, implications followed to the end."""
        found = set(granted)
        for role in roles:
            found |= self.role_scopes.get(role, frozenset())
        waiting = list(found)
        while waiting:
            for implied in self.implies.get(waiting.pop(), frozenset()) - found:
                found.add(implied)
                waiting.append(implied)
        return frozenset(found)


def missing(needed: frozenset[str], principal: Principal | None) -> frozenset[str]:
    """The scopes of `needed` that the caller does not hold; all of them when nobody is known."""
    return needed if principal is None else needed - principal.scopes


def stale(principal: Principal, fresh_s: int | None, acr: tuple[str, ...], now: float) -> bool:
    """Whether the person must log in anew: too long ago, or in none of the ways that `acr` names (RFC 9470 §3).

    What a token does not say counts against it, and a client that calls for itself has never logged in. Ways have no
    order here: what is stronger than what is the issuer's, so each that will do is named.

    The leeway is added to the age. Without it a server whose clock runs ahead would refuse a login that the issuer
    takes for recent enough: asked with this `max_age` it would not ask the person, and the client would come back with
    the same `auth_time`, again and again. A login in the future is none: a protocol mapper writes milliseconds into the
    claim (seen on Keycloak 26.7.4), and read as seconds they would be recent for 50,000 years.
    """
    if fresh_s is None and not acr:
        return False
    if principal.kind == "client" or (acr and principal.acr not in acr):
        return True
    if fresh_s is None:
        return False
    if principal.auth_time is None:
        return True
    return not -principal.leeway_s <= now - principal.auth_time <= fresh_s + principal.leeway_s
