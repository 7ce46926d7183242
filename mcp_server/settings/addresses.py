"""URLs, hosts and origins, each refused by name where nothing could ever reach or match it."""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from mcp_server.route import LOOPBACK
from mcp_server.web.incoming.authority import name_of

REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_BELOW_ISSUER: Final = ("/.well-known/", "/protocol/openid-connect")
_HOST_NAME: Final = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.(?!$)|$)){1,127}")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*")
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def web_url(url: str) -> str:
    """An absolute http(s) URL that our own client could open; raises `ValueError`."""
    _parts(url)
    return url


def fetch_url(url: str) -> str:
    """Where an issuer is reached: plain http is for an inner network. Raises `ValueError`."""
    _without_query(_parts(url))
    return url


def safe_url(url: str) -> str:
    """An absolute https URL, or http on loopback, without query and fragment; raises `ValueError`."""
    parts = _parts(url)
    _without_query(parts)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https: plain http is for loopback only")
    return url


def issuer_base(url: str) -> str:
    """The same, where what is below an issuer would be given for it: its documents' addresses, or an endpoint's."""
    below = next((part for part in _BELOW_ISSUER if part in url), None)
    if below:
        raise ValueError(f"must end before {below}: the issuer itself, as tokens have it in iss")
    return url


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this machine."""
    return host in LOOPBACK


def host(text: str) -> str:
    """A `name[:port]` as a Host header has it; raises `ValueError`."""
    if name_of(text.encode()) is None:
        raise ValueError("must be host[:port]: neither a scheme, a path nor * (IPv6 stands in brackets)")
    return text


def origin(text: str) -> str:
    """A serialised origin (RFC 6454 §6.2), which browsers send without path, slash and usual port. Raises `ValueError`.

    What is none could never match: the browser's user would be locked out and the operator none the wiser.
    """
    scheme, _, rest = text.lower().partition("://")
    if not _SCHEME.fullmatch(scheme) or name_of(rest.encode()) is None or rest.endswith(":"):
        raise ValueError("must be an origin: scheme://host[:port], neither a path, a slash at the end nor *")
    if (usual := _USUAL_PORTS.get(scheme)) and rest.endswith(usual):
        raise ValueError(f"must not have {usual}, which browsers leave out")
    return text


def listening(text: str) -> str:
    """An address of this machine, or a name of one, alone: `0.0.0.0:8000` would be looked up as a name."""
    try:
        ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise ValueError("must be an IP address or a host name, without scheme, brackets and port") from None
    return text


def url_path(text: str) -> str:
    """A path of ours that needs no escapes; raises `ValueError`."""
    if not is_url_path(text):
        raise ValueError("must be a path such as /mcp: a slash, then letters, digits and . _ ~ / -")
    return text


def is_url_path(text: str) -> bool:
    """Whether it is such a path."""
    return _PATH.fullmatch(text) is not None


def redis_scheme(url: str) -> bool:
    """Whether it begins as the URL of a Redis does."""
    return urlsplit(url).scheme in REDIS_SCHEMES


def has_port(url: str) -> bool:
    """Whether its port, if it names one, can be one."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _parts(url: str) -> SplitResult:
    """Its parts; raises `ValueError` for what is no URL of a web server.

    httpx has the last word, for it is httpx that opens them: `http://[x` and `http://h:abc` would be found when the
    issuer is asked, by an exception that is no transport's. A user and password in it would be logged.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL: no blanks, and nothing beyond ASCII")
    try:
        parts, opened = urlsplit(url), httpx.URL(url)
        _ = parts.port  # out of range only here
    except (ValueError, httpx.InvalidURL):
        raise ValueError("is no URL that could be opened") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not opened.host:
        raise ValueError("must be an absolute http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must be without a user and password")
    return parts


def _without_query(parts: SplitResult) -> None:
    if parts.query or parts.fragment:
        raise ValueError("must be an absolute http(s) URL without query or fragment")
