"""The head of an HTTP/1.1 request, as bytes (RFC 9112 §3, §5)."""

import functools
from typing import Final

from mcp_server.rest.header_names import is_token
from mcp_server.rest.model import Header

_CONTROLS: Final = bytes({*range(32), 127} - {ord("\t")})
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect"})
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods of which no server expects a body: without one there is nothing to say of its length (RFC 9110 §8.6)."""


def head(method: str, target: str, host: str, headers: list[Header], length: int) -> bytes:
    """The request line and its fields; raises `ValueError` for what would be another request.

    A line break in a value is a second field, or a second request; a second length is where another one begins.
    """
    if not is_token(method) or " " in target or "\t" in target or not all(_is_free(name) for name, _ in headers):
        raise ValueError("a method, a target or a name that is none of a request, or that frames it")
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *[f"{name}: {value}" for name, value in headers]]
    if length or method not in _BODILESS:
        lines.append(f"content-length: {length}")
    written = "\r\n".join(lines).encode()
    if len(written) - len(written.translate(None, _CONTROLS)) != 2 * (len(lines) - 1):  # a regex takes 30 µs
        raise ValueError("a control character in a request")
    return written + b"\r\n\r\n"


@functools.lru_cache(maxsize=1024)
def _is_free(name: str) -> bool:
    """Whether a field may have that name: which end the request, or lead elsewhere, are the client's alone."""
    return is_token(name) and name.lower() not in _FRAMING
