"""What a piece of work leaves to the collector of garbage: a worker that serves hardly ever collects all of it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever is made in the block ends with its last reference: no circle of references is left."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = sorted({type(one).__qualname__ for one in gc.garbage})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert kinds == []
