"""Which addresses are public: what a name may lead to when no operator has named it."""

import ipaddress
from typing import Final

_LAST_32: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
"""NAT64 and IPv4-compatible addresses: they end in the IPv4 one."""
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""RFC 8215: a network's own."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def public(address: str) -> bool:
    """Whether it is one of the internet's: not private, local, shared, reserved or multicast, in no disguise.

    An IPv6 address that holds an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by that one: it leads there.
    """
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local one
    except ValueError:
        return False
    inner = _held(found) if isinstance(found, ipaddress.IPv6Address) else None
    if found in _LOCAL_NAT64:
        return False
    return found.is_global and not found.is_multicast and (inner is None or public(str(inner)))


def is_literal(host: str) -> bool:
    """Whether a host is an address itself, which no resolver is asked about."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _held(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(address in network for network in _LAST_32):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
