"""Redirect URIs: a parser of the addresses that RFC 3986 and browsers (the WHATWG URL Standard) read alike.

The two disagree about a backslash, a tab or a line end, about `user@host`, a port that is no number, a missing slash:
a check that reads by one and a browser that goes by the other send a code to a place that nobody registered. Here
such an address is no address at all.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlencode

import msgspec

from devstack.realm import products

LOOPBACK: Final = frozenset(products.LOOPBACK)
WEB: Final = frozenset({"http", "https"})
MAX_LENGTH: Final = 2000
_ADDRESS: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)"
    r"(?:\?(?P<query>[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*))?"
)  # no user, no fragment (RFC 6749 §3.1.2), no upper case where it would mean the same
MAX_PORT: Final = 65535


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an absolute address; `port` None where it names none, `host` with its brackets."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str | None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.host}" + ("" if self.port is None else f":{self.port}")


def parse(text: str) -> Address | None:
    """The address, or None for what is none, or what a browser might read in another way."""
    found = _ADDRESS.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None or not _is_host(found["host"]):
        return None
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > MAX_PORT:
        return None
    return Address(scheme=found["scheme"], host=found["host"], port=port, path=found["path"], query=found["query"])


def _is_host(host: str) -> bool:
    """A name, or an IP address in its usual form: a browser reads `2130706433` and `0177.1` as IPv4 addresses, too."""
    if host.startswith("["):
        return _is_ip(host[1:-1])
    labels = host.split(".")
    if not all(labels) or labels[-1][0].isdigit():
        return _is_ip(host)
    return True


def _is_ip(text: str) -> bool:
    try:
        return str(ipaddress.ip_address(text)) == text
    except ValueError:
        return False


def matches(known: str, asked: str) -> bool:
    """A registered redirect URI against the asked one: exact, but a loopback one without a port takes any port.

    RFC 8252 §7.3; on that host and path alone, and never with a query.
    """
    registered, given = parse(known), parse(asked)
    if registered is None or given is None:
        return False
    if known == asked:
        return True
    any_port = registered.scheme == "http" and registered.host in LOOPBACK and registered.port is None
    return any_port and given == msgspec.structs.replace(registered, port=given.port) and given.query is None


def with_query(address: str, fields: list[tuple[str, str]]) -> str:
    """The address with more parameters; it has no fragment."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode(fields)}"
