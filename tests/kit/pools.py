"""What is dear to make and may be used again: real ones, a bounded number of them, in turn."""

from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def pooled(make: Callable[[], Made], many: int) -> Callable[[], Made]:
    """Makes the first `many`, and then gives them out again, the oldest first."""
    known: list[Made] = []
    given = 0

    def next_one() -> Made:
        nonlocal given
        if len(known) < many:
            known.append(make())
        given += 1
        return known[(given - 1) % many]

    return next_one
