"""The audit: a JSON line for each decision; never a token, only its digest, and never a session's id.

Who is known by a token and who is not are written apart: an unauthenticated caller costs nothing and may be refused a
million times an hour, and must not rotate away the lines that say who was let in.
"""

import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Literal

import msgspec

from mcp_server.observe.gathering import DelayedFlush
from mcp_server.observe.log import logger
from mcp_server.observe.outlets import is_stream
from mcp_server.observe.sink import Sink

STDOUT: Final = "-"
STRANGERS: Final = ".strangers"
"""What the name of their file has before its extension: `audit.jsonl` and `audit.strangers.jsonl`."""
SAMPLED: Final = 100
SAMPLED_S: Final = 10
"""Where there is one place for all, this many lines about unauthenticated callers are written in this many seconds,
then one for the rest."""

OnFail = Literal["drop", "refuse"]


class Decision(msgspec.Struct, omit_defaults=True):
    """Who asked for what, and what was decided why. `time` is in seconds since the epoch.

    `method` is JSON-RPC's, or HTTP's where no message was read; `route` the path of a guarded route as it is declared;
    `more` stands in a line that stands for that many others.
    """

    time: float
    decision: str
    reason: str = ""
    request_id: str = ""
    address: str = ""
    trace_id: str = ""
    issuer: str = ""
    subject: str = ""
    client: str = ""
    method: str = ""
    tool: str = ""
    needed: Collection[str] = ()
    held: Collection[str] = ()
    token: str = ""
    kind: str = ""
    """`client` where a client acted for itself."""
    route: str = ""
    more: int = 0
    why: str = ""
    """Who revoked tokens, and why."""


class AuditLog:
    """Decisions to a file, those about unauthenticated callers to one beside it; or all to one place.

    A stream (standard output, a pipe, a device) cannot be split, nor can a file where no other can be made beside it:
    lines about unauthenticated callers are sampled there.
    """

    def __init__(self, target: str, *, max_bytes: int = 50_000_000, keep: int = 5, on_fail: OnFail = "drop") -> None:
        path = None if target == STDOUT else Path(target)
        self._refuses = on_fail == "refuse"
        self._encode = msgspec.json.Encoder().encode
        self._known = Sink(path, max_bytes=max_bytes, keep=keep)
        self._other, self._sample = self._known, None
        if path is None or is_stream(path):
            self._sample = Sample(self._summed_up)
        else:
            self._other = Sink(beside(path), max_bytes=max_bytes, keep=keep)

    def open(self) -> None:
        """Open the files, with the application; raises `OSError` for a place that cannot be used."""
        try:
            self._known.open()
        except OSError as error:  # the server's own trace of a failed start is long, and names no setting
            logger.error("the audit (MCP_AUDIT_FILE) cannot be opened", reason=error.strerror, path=error.filename)
            raise
        try:
            self._other.open()
        except OSError as error:  # a file that may be written, in a folder that may not
            logger.warning(
                "no file for unauthenticated callers beside the audit; their lines are sampled", reason=error.strerror
            )
            self._other, self._sample = self._known, Sample(self._summed_up)

    def write(self, decision: Decision) -> None:
        """Queue a line; it is written within `GATHER_S`, at once where no loop runs, and kept until it is."""
        try:
            line = self._encode(decision)
        except UnicodeEncodeError:  # a lone surrogate, which JSON can say in ASCII alone
            line = json.dumps(msgspec.to_builtins(decision)).encode()
        if decision.issuer:
            self._known.write(line)
        elif self._sample is None or self._sample.takes():
            self._other.write(line)

    @property
    def failing(self) -> bool:
        """Whether lines wait that could not be written."""
        return bool(self._known.failure or self._other.failure)

    @property
    def refuses(self) -> bool:
        """Whether nobody may be served now: lines wait, and the operator would rather not be without them.

        Lines about unauthenticated callers alone refuse nobody: they shall not be able to end the service.
        """
        return self._refuses and bool(self._known.failure)

    def flush(self) -> None:
        """Write what is queued."""
        if self._sample is not None:
            self._sample.end()
        self._known.flush()
        self._other.flush()

    def close(self) -> None:
        """Write the rest and let the files go."""
        self.flush()
        self._known.close()
        self._other.close()

    def _summed_up(self, more: int) -> None:
        self._known.write(self._encode(Decision(time.time(), "deny", "more_strangers", more=more)))


class Sample:
    """Fixed-window sampling: `SAMPLED` of what comes in `SAMPLED_S` seconds, the rest counted and handed on as one."""

    def __init__(self, summed_up: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._summed_up, self._clock = summed_up, clock
        self._since, self._taken, self._more = clock(), 0, 0
        self._ending = DelayedFlush(self.end)

    def takes(self) -> bool:
        """Whether one more is written."""
        if self._clock() - self._since >= SAMPLED_S:
            self.end()
        if self._taken < SAMPLED:
            self._taken += 1
            return True
        self._more += 1
        if not self._ending.begun:
            self._ending.later(SAMPLED_S)
        return False

    def end(self) -> None:
        """A new window begins: what was left out of the last one is summed up."""
        more, self._since, self._taken, self._more = self._more, self._clock(), 0, 0
        self._ending.over()
        if more:
            self._summed_up(more)


def beside(path: Path) -> Path:
    """The file for unauthenticated callers, beside the one for the known."""
    return path.with_name(path.stem + STRANGERS + path.suffix)
