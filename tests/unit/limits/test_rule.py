"""Limits as values."""

import pytest

from mcp_server.limits.rule import Bounds, Limit, bounds, read, read_all


@pytest.mark.parametrize(
    ("text", "kind", "burst", "per"),
    [
        ("30/m", "rate", 30, ""),
        ("5/s burst 20 per principal", "rate", 20, "principal"),
        ("1/h per client", "rate", 1, "client"),
        ("3/s", "rate", 3, ""),
        ("1000000000/s", "rate", 1_000_000_000, ""),
        ("1000/day", "day", 1000, ""),
        ("10000/month per client", "month", 10_000, "client"),
        ("4  at once   per principal", "at_once", 4, "principal"),
    ],
)
def test_a_limit_is_read_as_it_is_written(text: str, kind: str, burst: int, per: str) -> None:
    limit = read(text)
    assert (limit.kind, limit.burst, limit.per, limit.text) == (kind, burst, per, " ".join(text.split()))


@pytest.mark.parametrize(
    "text",
    ["", "0/s", "-1/s", "1.5/s", "5", "5/year", "5/s per tool", "5/s burst 0", "5/day burst 3", "x at once", "9999999999/s", "5/s; x"],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"limit|quota"):
        read(text)
    with pytest.raises(ValueError, match="limit"):
        read(5)  # type: ignore[arg-type]


def test_one_limit_need_not_stand_in_a_list_and_none_counts_twice() -> None:
    one = read("5/s")
    assert read_all("5/s") == read_all(["5/s", " 5/s "]) == (one,)
    assert isinstance(one, Limit)


def test_a_cost_stands_beside_limits_and_none_may_be_out_of_reach() -> None:
    assert bounds(["5/s", "cost  5", "5/day"]) == Bounds((read("5/s"), read("5/day")), 5)
    assert bounds(()) == Bounds()
    with pytest.raises(ValueError, match="never fits into '4/day'"):
        bounds(["cost 5", "100/day", "4/day"])
    for wrong in (["cost 0"], ["cost -1"], ["cost"], ["cost 1.5"], ["cost 9999999999"], ["cost 2", "cost 3"]):
        with pytest.raises(ValueError, match=r"limit|cost"):
            bounds(wrong)
