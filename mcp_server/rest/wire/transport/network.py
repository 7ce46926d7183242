"""Which addresses are public: what a name may lead to when no operator has named it."""

import ipaddress
from typing import Final

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""It ends in the IPv4 address that it leads to (RFC 6052)."""
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that has been given out: mapped, compatible and translated IPv4, site-local, unique-local lie outside."""
_RESERVED: Final = tuple(
    map(
        ipaddress.ip_network,
        [
            "0.0.0.0/8",  # this network: Linux takes it for the host itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and where some clouds have their metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host agent, public by its number alone
            "169.254.0.0/16",  # link-local, and where most clouds have their metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments: DS-Lite, NAT64 discovery, metadata
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays, which no one runs any more
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",  # documentation, as 192.0.2.0 and 198.51.100.0 (RFC 5737)
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",
            "2001::/23",  # protocol assignments: Teredo, ORCHID
            "2001:db8::/32",
            "3fff::/20",  # documentation, as the one before (RFC 9637)
        ],
    )
)
"""A table of our own (RFC 6890): Python's `is_global` differs by its version, and takes some of these for global."""
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""Before the IPv4 address at the end of an interface's identifier (RFC 5214 §6.1)."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def public(address: str) -> bool:
    """Whether it is one of the internet's: not private, local, shared, reserved or multicast, in no disguise.

    An IPv6 address that holds an IPv4 one (mapped, 6to4, ISATAP, NAT64) is judged by that one, too: it leads there.
    """
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local one
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return _is_open(found)
    inner = _held(found)
    if inner is not None and not _is_open(inner):
        return False
    return found.ipv4_mapped is not None or found in _NAT64 or (found in _UNICAST and _is_open(found))


def _is_open(found: Address) -> bool:
    return not any(found in network for network in _RESERVED)


def is_literal(host: str) -> bool:
    """Whether a host is an address itself, which no resolver is asked about."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _held(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in it, wherever it stands."""
    last = int(address) & 0xFFFFFFFF
    if address in _NAT64 or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(last)
    return address.ipv4_mapped or address.sixtofour
