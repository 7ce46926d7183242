"""How the network is reached from here: certificate authorities beside the system's, a proxy, and what goes past it."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

LOCALHOST: Final = "localhost"
LOOPBACK: Final = frozenset({LOCALHOST, "127.0.0.1", "::1"})
"""The names of this machine to which plain http may go."""
_SHORT: Final = re.compile(r"(?:(?:0x[0-9a-f]{0,8}|[0-9]{1,12})(?:\.(?!$)|$)){1,4}")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The way out. `direct` are hosts that no proxy is asked for, as `NO_PROXY` has them; loopback is always one.

    `.example.com` and `example.com` both mean the host and what is below it, `10.0.0.0/8` literal addresses, `*` all.
    """

    ca_file: str = ""
    proxy: str = ""
    direct: tuple[str, ...] = ()

    def through(self, host: str) -> str:
        """The proxy for a host, empty where it is reached directly; an IPv6 address may have its brackets."""
        name = host.strip("[]").rstrip(".").lower()
        if not self.proxy or _is_loopback(name) or any(_covers(one, name) for one in self.direct):
            return ""
        return self.proxy


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine: a proxy would take it for its own, and reach what listens beside it.

    All of 127.0.0.0/8 and names below `localhost` are (RFC 6761 §6.3), and what is not specified is called as if it
    were. A resolver takes `127.1` and `0x7f000001` for addresses, too.
    """
    if host == LOCALHOST or host.endswith(f".{LOCALHOST}"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return _short(host)
    return found if isinstance(found, IPv4Address) else found.ipv4_mapped or found


def _short(host: str) -> IPv4Address | None:
    """An IPv4 address as resolvers read it (inet_aton(3)): hexadecimal, octal, the last part standing for the rest."""
    if not _SHORT.fullmatch(host):
        return None
    try:
        parts = [
            int(one, 16 if one[:2] == "0x" else 8 if one[:1] == "0" and one != "0" else 10) for one in host.split(".")
        ]
        *leading, last = parts
        if any(part > 255 for part in leading) or last >> (32 - 8 * len(leading)):
            return None
        return IPv4Address(sum(part << (24 - 8 * place) for place, part in enumerate(leading)) + last)
    except ValueError:  # a digit that is none of its base
        return None


def _covers(pattern: str, host: str) -> bool:
    pattern = pattern.strip().lower().strip("[]")
    if pattern == "*":
        return True
    if (network := _network(pattern)) is not None:
        try:
            return ip_address(host) in network
        except ValueError:  # a name; what it leads to is not looked up for this
            return False
    name = pattern.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
