"""Where a request comes from, for the audit and for limits: the peer, or who trusted proxies say that it was.

Nothing is granted or addressed by it: public URLs come from the configuration, and callers are known by their tokens.
"""

import functools
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

Network = IPv4Network | IPv6Network
MAX_FORWARDED: Final = 1024
"""Bytes of `X-Forwarded-For` that are looked at, those of the nearest proxies."""
MAX_REMEMBERED: Final = 1024


class TrustedProxies:
    """The proxies that are trusted to set X-Forwarded-For; none are by default."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = networks
        self._known = functools.lru_cache(MAX_REMEMBERED)(self._find)

    def address(self, scope: Mapping[str, Any]) -> str:
        """The caller's address; empty where the server does not know its peer."""
        client = scope.get("client")
        peer: str = client[0] if client else ""
        if not self._networks:
            return self._known(peer, b"")
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        return self._known(peer, forwarded[-MAX_FORWARDED:])

    def _find(self, peer: str, forwarded: bytes) -> str:
        """From the right each proxy names its peer; the first one that is not trusted is the caller."""
        found = peer
        for stated in (peer, *reversed(forwarded.decode("latin-1").split(","))):
            address = _read(stated)
            if address is None:
                break
            found = str(address)
            if not any(address in network for network in self._networks):
                break
        return found


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: perhaps in brackets, perhaps with a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])  # a zone is any text, and means nothing elsewhere
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
