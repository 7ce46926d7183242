"""Host and Origin read strictly (RFC 9110 §4.2.4, §7.2, RFC 6454 §6.2): a name or an address, perhaps a port, no more.

Whoever reads them loosely believes what follows an `@` or a second colon to be part of something else: in
`localhost:1@evil.example` one reader sees our own name, another one a name that is not ours.
"""

import functools
import re
from ipaddress import IPv6Address
from typing import Final

_AUTHORITY: Final = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::([0-9]{0,5}))?")
_ORIGIN: Final = re.compile(rb"https?://(\S{1,300})")
MAX_PORT: Final = 65535
MAX_AUTHORITY: Final = 255 + 6
"""Bytes: a name as DNS knows them, a colon and a port. What is remembered is bounded by it."""


def name_of(authority: bytes) -> bytes | None:
    """The lower-case name of a `host[:port]`; None for anything else, userinfo and ports that are no number included.

    An IPv6 address comes back in its shortest spelling.
    """
    return _name_of(authority) if len(authority) <= MAX_AUTHORITY else None


@functools.lru_cache(256)
def _name_of(authority: bytes) -> bytes | None:
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None or int(found[2] or 0) > MAX_PORT:
        return None
    name: bytes = found[1]
    if not name.startswith(b"["):
        return name
    try:
        return b"[%s]" % IPv6Address(name[1:-1].decode("ascii")).compressed.encode("ascii")
    except ValueError:
        return None


def origin_name(origin: bytes) -> bytes | None:
    """The name in a serialised origin of the web; None for `null`, other schemes and whatever is no origin."""
    found = _ORIGIN.fullmatch(origin.lower())
    return None if found is None else name_of(found[1])
