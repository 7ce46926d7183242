"""The rate limiter."""

from mcp_server.limits.rate import BURST_S, MAX_PACED, RateLimiter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_comes_at_once_and_then_calls_keep_the_pace() -> None:
    clock = Clock()
    pace = RateLimiter(8, clock)
    assert [pace.wait("a") for _ in range(8 * BURST_S + 1)] == [0] * (8 * BURST_S + 1)
    assert pace.behind("a") == 0.125
    assert pace.wait("a") == 0.125
    assert pace.wait("b") == 0
    clock.now += 0.125
    assert pace.wait("a") == 0
    assert pace.wait("a") > 0
    clock.now += 1000
    assert [pace.wait("a") for _ in range(8 * BURST_S + 1)] == [0] * (8 * BURST_S + 1)
    assert pace.wait("a") > 0


def test_who_is_remembered_is_bounded_and_those_in_a_hurry_stay() -> None:
    clock = Clock()
    pace = RateLimiter(0.1, clock)
    for number in range(MAX_PACED):
        pace.wait(f"early {number}")
    clock.now += 100
    assert pace.wait("late") == 0
    assert pace.wait("late") > 0
    assert len(pace._paid_until) == 1
    for number in range(3 * MAX_PACED):
        pace.wait(f"one of many {number}")
        assert len(pace._paid_until) <= MAX_PACED
        if number % 1000 == 0:
            assert pace.wait("late") > 0
