"""Rate-limit keys: who a limit counts for. A principal by its key, a caller without a token by its address."""

import functools
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Final

STRANGER: Final = "\n"
"""How the keys of callers without a token begin: a principal's begin with its issuer, so neither can be the other."""
HOST_BITS: Final = 64
MAX_REMEMBERED: Final = 4096


def key(principal: str | None, address: str) -> str:
    """The key that this caller's limits count by."""
    return _by_address(address) if principal is None else principal


def is_stranger(who: str) -> bool:
    """Whether a key is of a caller without a token."""
    return who.startswith(STRANGER)


@functools.lru_cache(MAX_REMEMBERED)
def network(who: str) -> str:
    """The wider network of an anonymous caller: /24 of IPv4, /48 of IPv6, one site's, of 65,536 /64s (RFC 6177 §2)."""
    try:
        read = ip_network(who.removeprefix(STRANGER))
    except ValueError:
        return who
    return str(read.supernet(new_prefix=24 if read.version == 4 else 48))


@functools.lru_cache(MAX_REMEMBERED)
def _by_address(address: str) -> str:
    """An IPv6 caller is its /64: that much one customer is given (RFC 6177 §2), so a single address bounds nobody."""
    try:
        read = ip_address(address)
    except ValueError:
        return STRANGER
    if read.version == 4:
        return f"{STRANGER}{read}"
    return f"{STRANGER}{IPv6Network((int(read), HOST_BITS), strict=False)}"
