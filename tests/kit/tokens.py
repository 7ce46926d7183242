"""Tokens, good and broken, made by hand so that nothing stops us from breaking them."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.kit.stack import Stack

Json = dict[str, Any]
OUT = object()
"""A member to leave out."""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


class Forge:
    """Makes tokens that the stack's issuer could have made, and others."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.rsa: RSAKey = next(k for k in stack.issuer.keyring.keys if isinstance(k, RSAKey))
        self.ec: ECKey = next(k for k in stack.issuer.keyring.keys if isinstance(k, ECKey))
        self.foreign = RSAKey.generate_key(2048, {"kid": str(self.rsa.kid)})

    def claims(self, **changed: Any) -> Json:
        now = int(time.time())
        claims = {
            "iss": self.stack.issuer.realm.issuer,
            "aud": self.stack.resource,
            "exp": now + 300,
            "iat": now,
            "jti": "j",
            "sub": "user",
            "sid": "s",
            "azp": "mcp-public",
            "typ": "Bearer",
            "scope": "mcp:read",
        } | changed
        return {name: value for name, value in claims.items() if value is not OUT}

    def header(self, **changed: Any) -> Json:
        header = {"alg": "RS256", "typ": "JWT", "kid": str(self.rsa.kid)} | changed
        return {name: value for name, value in header.items() if value is not OUT}

    def sign(self, header: Any, claims: Any, key: Any = None, algorithm: str = "RS256") -> str:
        signing_input = f"{part(header)}.{part(claims)}"
        model = JWSRegistry.algorithms[algorithm]
        return f"{signing_input}.{b64(model.sign(signing_input.encode(), key or self.rsa))}"

    def token(self, header: Json | None = None, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        return self.sign(self.header(**(header or {})), self.claims(**claims), key, algorithm)

    def hmac_with_public_key(self, form: str) -> str:
        public = self.rsa.raw_value
        public = public.public_key() if hasattr(public, "public_key") else public
        secret = (
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            if form == "pem"
            else json.dumps(self.rsa.as_dict(private=False)).encode()
        )
        signing_input = f"{part(self.header(alg='HS256'))}.{part(self.claims())}"
        return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"
