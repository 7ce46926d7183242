"""The issuer's keys as a value: which verifies, whether an unknown one earns a fetch (RFC 7517, RFC 8725 §3.1)."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mcp_server.auth.policy import ALLOWED_ALGORITHMS, KeyPolicy

MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Verification takes the square of it, and a stranger sends the proof's key."""
MIN_RSA_EXPONENT: Final = 65537
MAX_RSA_EXPONENT: Final = 2**32
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_OF_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}

_CURVES: Final = frozenset({*_OF_CURVE, "Ed25519"})

VerificationKey = RSAKey | ECKey | OKPKey
KeyUse = tuple[str, str, str]
"""kid, algorithm and thumbprint: what a verified token was verified with."""


class IssuerKey(msgspec.Struct, frozen=True):
    """A key of the issuer's; its RFC 7638 thumbprint says which, whatever `kid` it is published under."""

    key: VerificationKey
    thumbprint: str


class Keys(msgspec.Struct, frozen=True):
    """A key set by (kid, algorithm); the pair binds a key to what it may verify. `fetched_at` is monotonic time."""

    by_use: Mapping[tuple[str, str], IssuerKey]
    kids: frozenset[str]
    fetched_at: float

    def uses(self) -> frozenset[KeyUse]:
        """Every use there is."""
        return frozenset((kid, algorithm, one.thumbprint) for (kid, algorithm), one in self.by_use.items())


NO_KEYS: Final = Keys({}, frozenset(), float("-inf"))


class Hit(msgspec.Struct, frozen=True):
    """The key that verifies."""

    key: IssuerKey


class Miss(msgspec.Struct, frozen=True):
    """No such key: `fetch` the set anew, or `reject`."""

    then: Literal["fetch", "reject"]


class RefetchBudget(msgspec.Struct):
    """The fetches that unknown keys have caused, newest last: two per cooldown for the whole process.

    Two and not one, so that a rotation right after a fetch is still seen; not more, for a stranger can name any kid.
    """

    spent: list[float] = msgspec.field(default_factory=list)

    def left(self, policy: KeyPolicy, now: float) -> bool:
        """Whether another fetch may be made; forgets what the cooldown has outlived. `now` is by a monotonic clock."""
        self.spent = [at for at in self.spent if now - at < policy.cooldown_s]
        return len(self.spent) < policy.misses_per_cooldown

    def spend(self, now: float) -> None:
        """Take one."""
        self.spent.append(now)


def look_up(keys: Keys, kid: str, algorithm: str, *, allowed_to_fetch: bool) -> Hit | Miss:
    """The key for this kid and algorithm; a kid we know under another algorithm is rejected without a fetch."""
    key = keys.by_use.get((kid, algorithm))
    if key is not None:
        return Hit(key)
    if kid in keys.kids or not allowed_to_fetch:
        return Miss("reject")
    return Miss("fetch")


def parse(document: Any, *, fetched_at: float) -> Keys | str:
    """A JWKS document as keys, or why it is none. Keys we cannot use are skipped, never a reason to refuse the set."""
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return "the key set has no list of keys"
    by_use: dict[tuple[str, str], IssuerKey] = {}
    for entry in entries[:MAX_KEYS]:
        for kid, algorithm, key in _uses(entry):
            by_use.setdefault((kid, algorithm), key)
    if not by_use:
        return "the key set has no key that can verify"
    return Keys(by_use, frozenset(kid for kid, _ in by_use), fetched_at)


def _uses(entry: object) -> list[tuple[str, str, IssuerKey]]:
    if not isinstance(entry, Mapping) or entry.get("use", "sig") != "sig":
        return []
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not isinstance(operations, list) or "verify" not in operations:
        return []
    algorithms = _algorithms(entry)
    if not algorithms:
        return []
    key = _import(entry)
    return [] if key is None else [(kid, algorithm, key) for algorithm in algorithms]


def _algorithms(entry: Mapping[str, Any]) -> frozenset[str]:
    """What the key may verify: its type decides, its `alg` narrows."""
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            possible = _RSA
        case "EC", str(curve) if curve in _OF_CURVE:
            possible = frozenset({_OF_CURVE[curve]})
        case "OKP", "Ed25519":
            possible = frozenset({"EdDSA", "Ed25519"})
        case _:
            return frozenset()
    stated = entry.get("alg")
    narrowed = possible if stated is None else frozenset(one for one in possible if one == stated)
    return narrowed & ALLOWED_ALGORITHMS


def _import(entry: Mapping[str, Any]) -> IssuerKey | None:
    try:
        key = import_public(entry)
        return IssuerKey(key, key.thumbprint())
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def import_public(entry: Mapping[str, Any]) -> VerificationKey:
    """A JWK as a public key that is strong enough and not too slow.

    Raises `ValueError`, `TypeError`, `KeyError` or `JoseError`. Numbers are measured, for their text may be padded.
    RSA: the 2048 bits of RFC 7518 §3.3; the exponent of FIPS 186-5 §5.1, odd and over 2^16 (lax verifiers are fooled
    with 3), and not huge, for it then takes as long as a private key.
    """
    if entry["kty"] == "RSA":
        modulus, exponent = _integer(entry["n"]), _integer(entry["e"])
        if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or modulus % 2 == 0:
            raise ValueError("RSA modulus")
        if not MIN_RSA_EXPONENT <= exponent <= MAX_RSA_EXPONENT or exponent % 2 == 0:
            raise ValueError("RSA exponent")
        return RSAKey.import_key(RSAPublicNumbers(exponent, modulus).public_key())
    key = jwk.import_key({name: entry[name] for name in ("kty", "crv", "x", "y") if name in entry})
    if not isinstance(key, ECKey | OKPKey) or key.curve_name not in _CURVES:
        raise ValueError("kind of key")
    _ = key.raw_value  # a point that is not on the curve is found out here
    return key


def _integer(text: str) -> int:
    """Base64urlUInt (RFC 7518 §2), leading zeros and all."""
    return int.from_bytes(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
