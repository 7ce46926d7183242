"""Access tokens: minted once, kept on disk with their key, and used again until they expire."""

import base64
import json
import os
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.paths import BUILD

KEY_ID: Final = "bench"
VALID: Final = 7 * 24 * 3600
MARGIN: Final = 24 * 3600
BATCH: Final = 5_000


class Tokens(NamedTuple):
    """The file with one good token a line, how many of them to use, and tokens to be refused."""

    path: Path
    total: int
    one: str
    refused: Mapping[str, str]


def issuer_key() -> rsa.RSAPrivateKey:
    """The issuer's key, made at the first run; its public half lies beside it for the peers."""
    path = BUILD / "issuer-key.pem"
    if not path.exists():
        _write_key(path, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path.name} is not an RSA key")
    public_key_path().write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return key


def public_key_path() -> Path:
    """The PEM file that the peers read."""
    return BUILD / "issuer-public.pem"


def prepare(key: rsa.RSAPrivateKey, issuer: str, audience: str, count: int) -> Tokens:
    """At least `count` different tokens on disk, minted only when those kept do not serve."""
    path, about = BUILD / "tokens.txt", BUILD / "tokens.json"
    made = claims_of(issuer, audience)
    wanted = {"issuer": issuer, "audience": audience, "key": key.public_key().public_numbers().n}
    kept = json.loads(about.read_text()) if about.exists() and path.exists() else {}
    fits = all(kept.get(name) == value for name, value in wanted.items())
    if not fits or kept["count"] < count or kept["exp"] < time.time() + MARGIN:
        about.unlink(missing_ok=True)
        _mint_file(path, key, made, count)
        kept = wanted | {"count": count, "exp": made["exp"]}
        about.write_text(json.dumps(kept))
    with path.open() as lines:
        one = next(lines).strip()
    return Tokens(path, count, one, _refused(key, made, one))


def _mint_file(path: Path, key: rsa.RSAPrivateKey, claims: Mapping[str, Any], count: int) -> None:
    print(f"minting {count:,} tokens (kept for the next runs)", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool, path.open("w") as out:
        numbers = iter(range(count))
        while batch := list(islice(numbers, BATCH)):
            out.writelines(f"{token}\n" for token in pool.map(lambda _: mint(key, claims), batch))


def mint(key: rsa.RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """One signed token: the claims with a `jti` of their own."""
    header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    payload = {**claims, "jti": str(uuid.uuid4())}
    signed = f"{encoded(_json(header))}.{encoded(_json(payload))}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{encoded(signature)}"


def exchanged(key: rsa.RSAPrivateKey, issuer: str) -> str:
    """The token that an API behind imported tools is called with."""
    return mint(key, claims_of(issuer, "orders-api"))


def encoded(data: bytes) -> str:
    """Base64url without padding, as JOSE writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(issuer: str, audience: str) -> dict[str, Any]:
    """What an access token of a Keycloak client says, so that its size is a usual one."""
    now = int(time.time())
    return {
        "exp": now + VALID,
        "iat": now,
        "iss": issuer,
        "aud": audience,
        "sub": "6f1c2f0e-4f0b-4c8a-9a55-6a1f2f4f8c11",
        "typ": "Bearer",
        "azp": "bench-client",
        "sid": "0b7c4f57-6f3e-4c0d-9f0e-5d2a9c7e1b42",
        "acr": "1",
        "realm_access": {"roles": ["default-roles-bench", "offline_access", "uma_authorization"]},
        "scope": "openid profile mcp:read",
        "client_id": "bench-client",
        "preferred_username": "bench",
    }


def _refused(key: rsa.RSAPrivateKey, claims: Mapping[str, Any], one: str) -> dict[str, str]:
    signed, _, signature = one.rpartition(".")
    swapped = ("B" if signature[0] == "A" else "A") + signature[1:]
    return {
        "a forged signature": f"{signed}.{swapped}",
        "an expired token": mint(key, {**claims, "exp": claims["iat"] - 3600}),
        "another audience": mint(key, {**claims, "aud": "http://127.0.0.1:1/mcp"}),
        "another issuer": mint(key, {**claims, "iss": "http://127.0.0.1:1/realms/bench"}),
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
