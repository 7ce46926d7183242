"""`--only`: what is named is measured, and what could not be is told before anything runs."""

from pathlib import Path

import pytest

from bench.targets import NAMES, named


def test_all_are_measured_where_none_is_named() -> None:
    assert {one.name for one in named(None, 18700, None)} == set(NAMES[:-1])
    assert {one.name for one in named(None, 18700, Path("tree"))} == set(NAMES)


def test_a_peer_has_a_short_name() -> None:
    assert [one.name for one in named("go,ours", 18700, None)] == ["ours", "go-sdk"]


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("our", "no such target: our; there are constant, ours, "),
        ("ours,ours-before", "ours-before is the server of another tree: --before DIR"),
        ("ours,ours-sampled,ours-traced", "ours-sampled, ours-traced: these need upstream, "),
        ("bare-client", "bare-client: these need upstream, "),
    ],
)
def test_what_could_not_be_measured_is_told(only: str, told: str) -> None:
    with pytest.raises(SystemExit) as refused:
        named(only, 18700, None)
    assert str(refused.value.code).startswith(told)
