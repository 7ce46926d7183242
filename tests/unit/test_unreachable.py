"""Why there was no connection: the network's reason below a library's error, and nothing that the library says."""

import errno
import ssl

import pytest

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


SEVERAL = ExceptionGroup("several addresses", [ConnectionRefusedError(errno.ECONNREFUSED, "x"), OSError("y")])
AROUND = ValueError("it comes of itself")
AROUND.__cause__ = AROUND


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (came_of(ValueError("http://u:pw@proxy"), OSError("All attempts failed"), SEVERAL), "nothing listens there"),
        (came_of(ValueError(), expired()), "its certificate is not trusted (certificate has expired)"),
        (came_of(ValueError(), OSError(errno.EHOSTUNREACH, "x")), "No route to host"),
        (ValueError("http://u:pw@proxy"), ""),
        (AROUND, ""),
    ],
)
def test_the_network_s_reason_is_told_and_no_text_of_a_library(error: Exception, told: str) -> None:
    assert why(error) == ("ValueError: " + told if told else "ValueError")
