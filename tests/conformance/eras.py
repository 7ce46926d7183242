"""An operation as clients of each era ask for it, and the challenge of an answer, read as RFC 9110 §11.6.1 has it."""

import re
from typing import Any, Final

import httpx

from tests.kit import wire
from tests.kit.stack import Running

ERAS: Final = ("2025-11-25", wire.MODERN)
_PARAMETER: Final = re.compile(r'([A-Za-z_]+)="([^"\\]*)"(?:, |$)')


async def asked(
    stack: Running, era: str, method: str, params: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    """The answer to one request; `headers` say who asks."""
    params = params or {}
    if era != wire.MODERN:
        opening = {**wire.INITIALIZE, "protocolVersion": era} if method == "initialize" else params
        return await stack.post(wire.legacy(method, opening), mcp_protocol_version=era, **headers)
    named = wire.headers(method, params.get("name", params.get("uri")))
    return await stack.post(wire.modern(method, params), **named, **headers)


def challenged(answer: httpx.Response) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of the only challenge; each parameter stands there once, and nothing else does."""
    (value,) = answer.headers.get_list("www-authenticate")
    scheme, _, rest = value.partition(" ")
    found = _PARAMETER.findall(rest)
    assert "".join(match[0] for match in _PARAMETER.finditer(rest)) == rest, value
    assert len(dict(found)) == len(found), value
    return scheme, dict(found)
