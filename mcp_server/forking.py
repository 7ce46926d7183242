"""What a forked child has of its own: to its parent's locks, threads, connections and files it has no right.

A thread of the parent may hold a lock at the fork, which stays held in the child for ever; its requests would come into
the middle of the parent's on one connection; ids would be drawn twice.
"""

import os
import weakref
from typing import Final, Protocol


class ForkAware(Protocol):
    """Whoever must not go on in a forked child as in its parent."""

    def begin_anew(self) -> None:
        """Be as new, by no lock that was there before: this is the child, and it has done nothing else yet."""


def renew_in_children(one: ForkAware) -> None:
    """Have it begin anew in each forked child, for as long as it lives; hooks that are registered later come after."""
    _known.add(one)


_known: Final["weakref.WeakSet[ForkAware]"] = weakref.WeakSet()


def _begin_anew() -> None:
    for one in tuple(_known):
        one.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
