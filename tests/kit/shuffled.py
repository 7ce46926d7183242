"""An event loop whose tasks go on in the order that a seed says: at each await any other may come first."""

import asyncio
import random
from collections import deque
from typing import Any


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Event loop with a seeded scheduler."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._ready = _Shuffled(random.Random(seed))


class _Shuffled(deque[Any]):
    """The queue of what is ready: a task may be put off behind whatever waits, again and again.

    None comes earlier, and no callback is moved: a future tells asyncio's own before the task that waits for it.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance.random

    def popleft(self) -> Any:
        for _ in range(3):
            if self._chance() < 0.4 or not isinstance(getattr(self[0]._callback, "__self__", None), asyncio.Task):
                break
            self.rotate(-1)
        return super().popleft()
