"""Children that a test interrupts: whatever has started the tests, Ctrl-C is theirs."""

import signal


def interruptible() -> None:
    """Have SIGINT do what it does (`preexec_fn`): a shell has what it starts in the background ignore it, and its heirs."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
