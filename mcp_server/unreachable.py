"""Why nothing could be fetched, in words of ours: what a library says may hold a proxy's password."""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's codes (X509_V_ERR_...) of a certificate, or a chain, that no known authority has signed."""
_DEPTH: Final = 8


def why(error: BaseException) -> str:
    """The kind of an error, and what lies below it where that is the network's: the name, the port, the certificate."""
    said = in_words(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def in_words(error: BaseException) -> str:
    """What lies below an error where that is the network's; empty where it is nothing that is known here."""
    return next(filter(None, map(_words, _causes(error))), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of; of several addresses that were tried in vain, the first."""
    found: BaseException | None = error
    for _ in range(_DEPTH):
        if found is None:
            return
        yield found
        tried = found.exceptions if isinstance(found, BaseExceptionGroup) else ()
        found = tried[0] if tried else found.__cause__ or found.__context__


def _words(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=reason):
            cure = "; MCP_CA_FILE names authorities of your own" if code in _UNKNOWN_AUTHORITY else ""
            return f"its certificate is not trusted ({reason.rstrip('.')}){cure}"
        case ssl.SSLError(reason=reason):
            return f"no TLS with it ({reason or 'closed'}); is it http?"
        case ssl.SSLError():  # aiohttp's, which has none of it: what lies below does
            return ""
        case socket.gaierror():
            return "its name is not known here"
        case OSError(errno=errno.ECONNREFUSED):  # not by its class: aiohttp's error is one of its own, with the number
            return "nothing listens there"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case _:
            return _by_name(error)


def _by_name(error: BaseException) -> str:
    """Of httpx's errors, which is imported by who has a socket: a proxy's status, and no word of what it says."""
    match type(error).__name__, str(error)[:3]:
        case "ProxyError", status if status.isdecimal():
            return f"the proxy answered {status}; MCP_PROXY has its user and password"
        case "RemoteProtocolError", _:
            return "no whole answer of HTTP; is it https?"
        case _:
            return ""
