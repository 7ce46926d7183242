"""Why there was no connection: the network's reason below a library's error, and nothing that the library says."""

import errno
import socket
import ssl

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey

from mcp_server.unreachable import why


def came_of(outer: Exception, *below: BaseException) -> Exception:
    """An error as libraries raise it: each from the next."""
    for error, cause in zip((outer, *below), below, strict=False):
        error.__cause__ = cause
    return outer


def expired() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 10, "certificate has expired"
    return error


def by_aiohttp(kind: type[aiohttp.ClientConnectorError], below: OSError) -> Exception:
    """As it is raised by whoever calls an API: an `OSError` of aiohttp's own, with the number of the one below."""
    error = kind(
        ConnectionKey("h", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None), below
    )
    error.__cause__ = below
    return error


REFUSED, UNKNOWN = "nothing listens there", "its name is not known here"
EXPIRED = "its certificate is not trusted (certificate has expired)"
SEVERAL = ExceptionGroup("several addresses", [ConnectionRefusedError(errno.ECONNREFUSED, "x"), OSError("y")])
AROUND = ValueError("it comes of itself")
AROUND.__cause__ = AROUND


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (came_of(ValueError("http://u:pw@proxy"), OSError("All attempts failed"), SEVERAL), "nothing listens there"),
        (came_of(ValueError(), expired()), "its certificate is not trusted (certificate has expired)"),
        (came_of(ValueError(), OSError(errno.EHOSTUNREACH, "x")), "No route to host"),
        (came_of(ValueError(), by_aiohttp(aiohttp.ClientConnectorError, OSError(errno.ECONNREFUSED, "x"))), REFUSED),
        (came_of(ValueError(), by_aiohttp(aiohttp.ClientConnectorDNSError, socket.gaierror(-2, "x"))), UNKNOWN),
        (came_of(ValueError(), by_aiohttp(aiohttp.ClientConnectorSSLError, expired()), expired()), EXPIRED),
        (
            came_of(ValueError(), httpx.ProxyError("407 u:pw")),
            "the proxy answered 407; MCP_PROXY has its user and password",
        ),
        (came_of(ValueError(), httpx.ProxyError("u:pw")), ""),
        (came_of(ValueError(), httpx.RemoteProtocolError("u:pw")), "no whole answer of HTTP; is it https?"),
        (ValueError("http://u:pw@proxy"), ""),
        (AROUND, ""),
    ],
)
def test_the_network_s_reason_is_told_and_no_text_of_a_library(error: Exception, told: str) -> None:
    assert why(error) == ("ValueError: " + told if told else "ValueError")
