"""DPoP proofs, good and broken (RFC 9449)."""

import base64
import hashlib
import itertools
import time
from typing import Any

from joserfc.jwk import ECKey

from mcp_server.auth.binding.dpop import Proof
from tests.kit.issuers import RESOURCE, signed
from tests.kit.tokens import OUT

KEY = ECKey.generate_key("P-256")
_numbers = itertools.count()
"""Of proofs: two that are made at once would be one by the clock of a machine that tells microseconds."""


def made(token: str, changed: dict[str, Any] | None = None, key: ECKey = KEY, **claims: Any) -> str:
    """A proof for a POST of this token to our resource; members that are `OUT` are left out."""
    ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    usual = {"htm": "POST", "htu": RESOURCE, "iat": time.time(), "ath": ath, "jti": f"j{next(_numbers)}"}
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)} | (changed or {})
    header, body = ({n: v for n, v in one.items() if v is not OUT} for one in (head, usual | claims))
    return signed(header, body, key)


def of_request(header: str | None, method: str = "POST", url: str = RESOURCE) -> Proof:
    """The proof as it comes with a request."""
    return Proof(None if header is None else header.encode(), method, url)
