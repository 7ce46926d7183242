"""SIGINT and SIGTERM at `devstack up`: raised while it starts, kept once it waits for them."""

import os
import signal

import pytest

from devstack.up import _interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_during_a_start_a_signal_is_raised(number: signal.Signals) -> None:
    with _interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


class Finalizing:
    """Signals this process where an exception would be swallowed."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_in_a_finalizer_ends_the_waiting() -> None:
    asked: list[None] = []

    def ended() -> None:
        asked.append(None)
        Finalizing()

    with _interrupts() as interrupts:
        interrupts.hold()
        assert interrupts.wait_unless(ended) is None
    assert asked == [None]


def test_a_child_that_ended_is_named() -> None:
    with _interrupts() as interrupts:
        assert interrupts.wait_unless(lambda: "MCP server") == "MCP server"


def test_a_second_signal_does_not_stop_the_stopping_and_handlers_are_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _interrupts() as interrupts:
        interrupts.hold()
        interrupts.raise_held()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_held()
    assert signal.getsignal(signal.SIGINT) is before
