"""What a token must satisfy; no field can switch a check off (RFC 9068 §4, RFC 8725 §3)."""

from typing import Final

import msgspec

from mcp_server.auth.persons import Persons

ALLOWED_ALGORITHMS: Final = frozenset(
    {
        "RS256", "RS384", "RS512",
        "PS256", "PS384", "PS512",
        "ES256", "ES384", "ES512",
        "EdDSA", "Ed25519",
    }
)  # fmt: skip
"""What may be named at all: asymmetric signatures. HS* and none are not here, so no setting can allow them."""

MAX_LEEWAY_S: Final = 120


class IssuerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One trusted issuer: its exact `iss`, the audiences of ours it may name, the algorithms it may sign with."""

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    leeway_s: int = 30
    fetch_url: str | None = None
    introspects: bool = False
    """Whether opaque tokens are asked about here: of one issuer alone, for nothing tells whose one is."""
    persons: Persons = "keycloak"
    service_clients: frozenset[str] = frozenset()
    """The clients that may call for themselves; tokens of others need a person behind them."""
    logout_clients: frozenset[str] = frozenset()
    """The clients whose back-channel logouts are heard here."""

    def __post_init__(self) -> None:
        """Refuse a policy that would let anything pass; raises `ValueError`."""
        if not self.issuer or not self.audiences or not all(self.audiences):
            raise ValueError("an issuer and at least one audience are needed")
        if not self.algorithms or not self.algorithms <= ALLOWED_ALGORITHMS:
            raise ValueError("algorithms must be asymmetric signature algorithms")
        if not 0 <= self.leeway_s <= MAX_LEEWAY_S:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY_S} seconds")


class KeyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long keys are trusted, in seconds: refreshed before `ttl_s`, used up to `stale_s` when the issuer is away.

    Keys the set does not know earn at most `misses_per_cooldown` fetches in `cooldown_s`, for the whole process.
    `retry_s` are the pauses between tries while the issuer is away; the last one repeats. A start waits at most
    `recall_s` for keys that were kept.
    """

    ttl_s: float = 3600
    stale_s: float = 86400
    cooldown_s: float = 30
    misses_per_cooldown: int = 2
    retry_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
    recall_s: float = 1.0
