"""What a forked child has of its own: to its parent's locks, threads, connections and files it has no right.

A thread of the parent may hold a lock at the fork, which stays held in the child for ever; its requests would come into
the middle of the parent's on one connection; ids would be drawn twice.
"""

import os
import signal
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


class _Signals:
    """What signals do in a process whose loop takes them: of a child that is told to end, its parent's loop would hear.

    They have one descriptor for it, and the child would go on.
    """

    def begin_anew(self) -> None:
        """Be ended by them; one that is ignored stays so."""
        signal.set_wakeup_fd(-1)
        for number, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if callable(signal.getsignal(number)):
                signal.signal(number, default)


_signals: Final = _Signals()


def end_children_by_signals() -> None:
    """Have SIGTERM and SIGINT end forked children, as they end other processes: here they are handled."""
    renew_in_children(_signals)


def _begin_anew() -> None:
    failed: list[BaseException] = []
    for one in tuple(_known):
        try:
            one.begin_anew()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the others would be left with locks that are held
            failed.append(error)
    if failed:
        raise failed[0]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
