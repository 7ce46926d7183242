"""What a run comes to in numbers: a histogram of latencies and a slope that outliers do not move."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Final

LEAST_S: Final = 1e-5
WIDTH: Final = math.log(1.02)
"""Buckets are 2 % wide: a percentile is told that exactly, whatever it is."""
MAX_PAIRS_OF: Final = 400
"""Points that a slope is taken of: beyond it every n-th, for pairs grow with the square."""


class Histogram:
    """Latencies in seconds, in buckets as wide as they are long."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count, self.longest = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, LEAST_S) / LEAST_S) / WIDTH)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float:
        """What so many of all were no longer than; 0 where there is nothing."""
        left = math.ceil(share * self.count)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(LEAST_S * math.exp(bucket * WIDTH), self.longest)
        return 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The Theil-Sen estimator: the median of the slopes of all pairs, which a few outliers do not move."""
    taken = points[:: math.ceil(len(points) / MAX_PAIRS_OF)] if points else points
    slopes = [(later[1] - one[1]) / (later[0] - one[0]) for one, later in combinations(taken, 2) if later[0] != one[0]]
    return statistics.median(slopes) if slopes else 0.0


def settled(points: Sequence[tuple[float, float]], share: float = 0.8) -> Sequence[tuple[float, float]]:
    """The last part of a series: what comes before is warming up."""
    return points[len(points) - math.floor(len(points) * share) :]
