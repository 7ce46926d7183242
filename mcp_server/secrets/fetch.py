"""All stores at once, within one deadline: what they give, and a line for each that does not."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mcp_server.secrets.source import SecretSource, SecretsUnavailable

DEADLINE_S: Final = 10.0
"""For all of them together: a start that waits longer is taken for one that hangs."""
SETTING: Final = "MCP_SECRETS"


_TALKATIVE: Final = ("azure", "botocore", "google", "httpcore", "httpx", "msal", "urllib3")
"""Clients that log what they send and get; at DEBUG botocore logs whole answers, with every secret in them."""


class Fetched(NamedTuple):
    """What the stores gave, the first that was named going before the others, and a line for each problem."""

    texts: dict[str, str]
    problems: list[str]

    def __repr__(self) -> str:
        return f"Fetched({sorted(self.texts)}, {self.problems})"


class _Asked(threading.Thread):
    """One store, asked in a thread that nobody has to wait for: a client may hang in a name that is not resolved."""

    def __init__(self, source: SecretSource) -> None:
        super().__init__(name="secrets", daemon=True)
        self.source = source
        self.found: dict[str, str] = {}
        self.problem = ""

    def run(self) -> None:
        try:
            self.found = self.source.fetch()
        except SecretsUnavailable as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 - its text may quote an answer, so only its kind is told
            self.problem = f"could not be asked ({type(error).__name__})"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in _TALKATIVE}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def fetch(sources: Sequence[SecretSource], deadline_s: float = DEADLINE_S) -> Fetched:
    """Ask every store; it blocks, for so long at most."""
    asked = [_Asked(source) for source in sources]
    until = time.monotonic() + deadline_s
    with _quiet():
        for one in asked:
            one.start()
        for one in asked:
            one.join(max(0.0, until - time.monotonic()))
    texts, problems = dict[str, str](), list[str]()
    for one in asked:
        problem = f"no answer within {deadline_s:g} s" if one.is_alive() else one.problem
        found = {} if problem else {name: text.strip() for name, text in one.found.items()}
        if not found and not problem:
            problem = "holds no setting: none of its names begins with MCP_"
        if problem:
            problems.append(f"{SETTING}: {one.source.name}: {problem}")
        texts = found | texts
    return Fetched(texts, problems)
