"""The Mcp-* headers of a modern request against its body (2026-07-28 transports/streamable-http §Request Metadata)."""

import base64
import binascii
import operator
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Raw, UnsetType

from mcp_server.protocol import errors, meta, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import RoutingFields

VERSION: Final = b"mcp-protocol-version"
METHOD: Final = b"mcp-method"
NAME: Final = b"mcp-name"
SESSION: Final = b"mcp-session-id"
SINGLE: Final = frozenset({VERSION, METHOD, NAME})
"""Headers that must not be repeated: two readers could believe two values."""

NAMED_BY: Final[dict[str, Callable[[RoutingFields], Raw | UnsetType]]] = {
    method.name: operator.attrgetter(method.named_by) for method in methods.METHODS if method.named_by
}
"""Which parameter `Mcp-Name` repeats, for the methods that need it."""

_SENT: Final = {method.name: method.name.encode() for method in methods.METHODS}
_OPEN: Final = "=?base64?"
_CLOSE: Final = "?="


class Undecodable(Exception):
    """A header value with characters or Base64 that the transport forbids."""


def decode_value(raw: bytes) -> str:
    """A header value as the text it stands for: blanks trimmed, the Base64 sentinel opened.

    Raises `Undecodable` for characters outside 0x20–0x7E and HTAB and for Base64 that is not canonical. Markers in
    other case, or only one of the two, make an ordinary literal.
    """
    value = raw.strip(b" \t")
    if any((byte < 0x20 and byte != 0x09) or byte > 0x7E for byte in value):
        raise Undecodable("a header value has characters outside printable ASCII")
    text = value.decode("ascii")
    if not (text.startswith(_OPEN) and text.endswith(_CLOSE) and len(text) >= len(_OPEN) + 2):
        return text
    return _open_sentinel(text[len(_OPEN) : -len(_CLOSE)])


def _open_sentinel(payload: str) -> str:
    try:
        decoded = base64.b64decode(payload, validate=True)
        if base64.b64encode(decoded).decode("ascii") != payload:
            raise Undecodable("a header value is not canonical Base64")
        return decoded.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Undecodable("a header value is not Base64 of UTF-8") from error


def check(
    headers: Mapping[bytes, bytes], repeated: AbstractSet[bytes], request: Request, peek: RoutingFields
) -> RpcError | None:
    """`Mcp-Method` and `Mcp-Name` present, once, and equal to the body, values case-sensitive."""
    if repeated and not repeated.isdisjoint(SINGLE):
        return errors.header_mismatch("a header of the transport is repeated")
    given = headers.get(METHOD)
    if given is None:
        return errors.header_mismatch("Mcp-Method is missing")
    if given.strip(b" \t") != (_SENT.get(request.method) or request.method.encode("utf-8", "surrogatepass")):
        return errors.header_mismatch("Mcp-Method is not the method of the body")
    named_by = NAMED_BY.get(request.method)
    if named_by is None:
        return None
    return _check_name(headers.get(NAME), meta.text(named_by(peek)))


def _check_name(given: bytes | None, expected: str | None) -> RpcError | None:
    if given is None:
        return errors.header_mismatch("Mcp-Name is missing")
    if expected is None:
        return None  # the method's own decoder says what is wrong with the parameter
    if expected.isascii() and expected.isprintable() and given == expected.encode() and not given.startswith(b"=?"):
        return None  # nearly every request: nothing to decode
    try:
        decoded = decode_value(given)
    except Undecodable as error:
        return errors.header_mismatch(str(error))
    if decoded != expected:
        return errors.header_mismatch("Mcp-Name is not what the body names")
    return None
