"""The processor's time of a piece of work, by itself: what threads, collections of garbage and tracers take is not in."""

import gc
import sys
import time
from collections.abc import Callable


def spent(act: Callable[[], object]) -> float:
    """Seconds of this thread. In a process of a gigabyte one collection of garbage takes longer than most work."""
    tracer, collects = sys.gettrace(), gc.isenabled()
    sys.settrace(None)
    gc.disable()
    try:
        begun = time.thread_time()
        act()
        return time.thread_time() - begun
    finally:
        if collects:
            gc.enable()
        sys.settrace(tracer)
