"""The secret of this server as a client of its issuer, and while it is rotated the one before it (RFC 6749 §2.3.1).

Whoever rotates it tells the issuer and us at two times: between them one of the two is good and nobody knows which. So
the old one is kept until the new one has worked, and whichever worked last is tried first.
"""

from collections.abc import Iterator


class OwnSecret:
    """One or two secrets, shared by all that prove who this server is."""

    __slots__ = ("_newest", "_tried")

    def __init__(self, secret: str) -> None:
        self._newest = secret
        self._tried: tuple[str, ...] = (secret,)

    def __repr__(self) -> str:
        return f"OwnSecret({len(self._tried)})"

    def renew(self, secret: str) -> None:
        """Another one from now on; it is tried first, and what worked last is kept until it has."""
        self._newest = secret
        self._tried = tuple(dict.fromkeys((secret, self._tried[0])))

    def __iter__(self) -> Iterator[str]:
        """What is to be tried, in this order, until the issuer takes one."""
        return iter(self._tried)

    def worked(self, secret: str) -> None:
        """The issuer has taken this one: with the newest, the one before it is over."""
        if len(self._tried) == 1:
            return
        if secret == self._newest:
            self._tried = (secret,)
        elif secret in self._tried:
            self._tried = (secret, *(one for one in self._tried if one != secret))
