"""The secret of this server as a client of its issuer, and while it is rotated those before it (RFC 6749 §2.3.1).

Whoever rotates it tells the issuer and us at two times: between them one of the two is good and nobody knows which. So
the old ones are kept until a newer one has worked, and whichever worked last is tried first. A worker that asks seldom
may see the next rotation before it has asked after the last one: the one in between is the issuer's then.
"""

import base64
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

MOST: Final = 4
"""Secrets of which none is known to be over."""


def basic(client_id: str, secret: str) -> str:
    """HTTP Basic, both parts percent-encoded first (RFC 6749 §2.3.1): an id that is a URL would end at its colon."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


class OwnSecret:
    """One secret or some, shared by all that prove who this server is."""

    __slots__ = ("_known", "_tried")

    def __init__(self, secret: str) -> None:
        self._known: tuple[str, ...] = (secret,)
        """The newest first."""
        self._tried: tuple[str, ...] = self._known

    def __repr__(self) -> str:
        return f"OwnSecret({len(self._known)})"

    def renew(self, secret: str) -> None:
        """Another one from now on; it is tried first, and those before it are kept until it has worked."""
        self._known = self._tried = tuple(dict.fromkeys((secret, *self._known)))[:MOST]

    def __iter__(self) -> Iterator[str]:
        """What is to be tried, in this order, until the issuer takes one.

        The first one comes again at the end: the issuer may have changed over while the others were tried.
        """
        return iter(self._tried if len(self._tried) == 1 else (*self._tried, self._tried[0]))

    def worked(self, secret: str) -> None:
        """The issuer has taken this one: those before it are over."""
        if len(self._known) > 1 and secret in self._known:
            self._known = self._known[: self._known.index(secret) + 1]
            self._tried = (secret, *(one for one in self._known if one != secret))
