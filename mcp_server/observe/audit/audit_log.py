"""The audit log: decisions to a file, queued here and written by a thread.

Who is known by a token and who is not are written apart: an unauthenticated caller costs nothing and may be refused a
million times an hour, and must not rotate away the lines that say who was let in.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from mcp_server.observe import metrics
from mcp_server.observe.audit.chain import Chain
from mcp_server.observe.audit.decision import Begun, Decision
from mcp_server.observe.audit.heads import Heads
from mcp_server.observe.gathering import GATHER_S
from mcp_server.observe.log import logger
from mcp_server.observe.sampling import Sampler
from mcp_server.observe.writing.outlets import is_stream, outlet
from mcp_server.observe.writing.writer import CLOSE_S, LineWriter, Watcher

STDOUT: Final = "-"
STRANGERS: Final = ".strangers"
"""What the name of their file has before its extension: `audit.jsonl` and `audit.strangers.jsonl`."""
FLOODS: Final = frozenset(
    {"too_fast", "too_many_at_once", "too_many_bytes", "too_many_streams", "quota_used", "audit_failing"}
)
"""Refusals of known callers that no limit bounds, for they are what a limit does. All others are written, each."""
WHOSE: Final = frozenset({"tool", "client", "server"})
"""Whose limit it is otherwise than the caller's, as reasons begin (`engine/outcome.py`)."""
MANY: Final = ("more_kinds", "", "", "", "")
"""What refusals beyond the kinds that are told apart are summed up as."""

OnFail = Literal["drop", "refuse"]
_Refusal = tuple[str, str, str, str, str]
"""Reason, issuer, subject, client, kind: who is refused has a sample of their own, and strangers share one."""


class AuditLog:
    """Decisions to a file, those about unauthenticated callers to one beside it; or all to one place.

    A stream (standard output, a pipe, a device) cannot be split, nor can a file where no other can be made beside it.
    Refusals that cost their callers nothing are sampled, by reason. `keys` chain the lines (`chain.py`).
    """

    def __init__(
        self,
        target: str,
        *,
        max_bytes: int = 50_000_000,
        keep: int = 5,
        on_fail: OnFail = "drop",
        begun: Begun = "late",
        keys: Sequence[bytes] = (),
    ) -> None:
        path = None if target == STDOUT else Path(target)
        self.begun: Begun = begun
        self._refuses = on_fail == "refuse"
        self._encode = msgspec.json.Encoder().encode
        self._limits = (max_bytes, keep)
        self._key = keys[0] if keys else None
        self._chains: dict[LineWriter, Chain] = {}
        self._known = self._writer(path, "audit")
        self._other = self._known if path is None or is_stream(path) else self._writer(beside(path), "strangers")
        self._sampler: Sampler[_Refusal] = Sampler(self._summed_up, MANY)

    def _writer(self, path: Path | None, name: str) -> LineWriter:
        max_bytes, keep = self._limits
        to, watcher = outlet(path, max_bytes=max_bytes, keep=keep), AuditWatcher(name, self._encode)
        if self._key is None:
            return LineWriter(to, watcher, gather_s=GATHER_S)
        chain = Chain(self._key, (lambda: ()) if path is None or is_stream(path) else Heads(path))
        writer = LineWriter(to, watcher, gather_s=GATHER_S, seal=chain.seal)
        self._chains[writer] = chain
        return writer

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
                "no file for unauthenticated callers beside the audit; they are in the audit", reason=error.strerror
            )
            self._other = self._known

    def write(self, decision: Decision, *, at_once: bool = False) -> bool:
        """Queue a line; it is written within `GATHER_S`, and kept until it is. Whether it is queued."""
        if decision.decision == "deny" and decision.seconds is None and self._left_out(decision):
            return False
        try:
            line = self._encode(decision)
        except UnicodeEncodeError:  # a lone surrogate, which JSON can say in ASCII alone
            line = json.dumps(msgspec.to_builtins(decision)).encode()
        writer = self._known if decision.issuer else self._other
        return writer.put(line, at_once=True) if at_once else writer.put(line)

    async def written(self) -> bool:
        """Wait, a second at most, until lines about known callers are with the system; whether they are."""
        return await self._known.written()

    @property
    def failing(self) -> bool:
        """Whether lines wait that could not be written, or some were lost."""
        return self._known.failing or self._other.failing

    @property
    def must(self) -> bool:
        """Whether nothing may happen of which there is no line (`MCP_AUDIT_ON_FAIL=refuse`)."""
        return self._refuses

    @property
    def refuses(self) -> bool:
        """Whether nobody may be served now: lines wait, and the operator would rather not be without them.

        Lines about unauthenticated callers alone refuse nobody: they shall not be able to end the service.
        """
        return self._refuses and self._known.failing

    def flush(self) -> None:
        """Have written what is queued, and wait for it."""
        self._sampler.end()
        self._known.flush()
        self._other.flush()

    def close(self) -> None:
        """Write the rest, within `CLOSE_S` for each file, and let the files go."""
        self._sampler.end()
        for writer in dict.fromkeys((self._known, self._other)):
            chain = self._chains.get(writer)
            if (
                chain is not None and writer.flush(CLOSE_S) and chain.begun
            ):  # behind what waits: a full queue has no room
                writer.put(self._encode(Decision(time.time(), "closed")))
            writer.close(CLOSE_S)

    def _left_out(self, refusal: Decision) -> bool:
        """Whether so many like it have been written that it only counts."""
        if not refusal.issuer:
            return not self._sampler.takes((refusal.reason, "", "", "", ""))
        if not _is_flood(refusal.reason):
            return False
        return not self._sampler.takes((refusal.reason, refusal.issuer, refusal.subject, refusal.client, refusal.kind))

    def _summed_up(self, refusal: _Refusal, more: int, since: float, until: float) -> None:
        reason, issuer, subject, client, kind = refusal
        line = Decision(
            time=since,
            decision="deny",
            reason=reason,
            issuer=issuer,
            subject=subject,
            client=client,
            kind=kind,
            more=more,
            until=until,
        )
        (self._known if issuer else self._other).put(self._encode(line))


class AuditWatcher(Watcher):
    """Tells the operator, and leaves a line in the place of lost ones."""

    def __init__(self, file: str, encode: Callable[[Decision], bytes]) -> None:
        self._file, self._encode = file, encode

    def failed(self, reason: str, *, first: bool) -> None:
        """Count it, and say it once."""
        metrics.audit_not_written()
        if first:
            logger.error("the audit cannot be written; its lines are kept", reason=reason)

    def recovered(self) -> None:
        """Say it."""
        logger.info("the audit is written again")

    def dropped(self, lines: int, reason: str = "") -> None:
        """Count them; at the end they are told, for nobody will scrape the counter."""
        metrics.audit_dropped(lines)
        if reason:
            logger.error("lines of the audit are lost", lines=lines, reason=reason)

    def queued(self, size: int) -> None:
        """Show it."""
        metrics.audit_queued(self._file, size)

    def more(self, lines: int) -> bytes | None:
        """How many are missing, where they would stand."""
        return self._encode(Decision(time.time(), "lost", "queue_full", more=lines))


def _is_flood(reason: str) -> bool:
    """Whether it is what a limit refused: `too_fast` of the caller, `tool_too_fast` of one that is stated."""
    whose, _, kind = reason.partition("_")
    return reason in FLOODS or (whose in WHOSE and kind in FLOODS)


def beside(path: Path) -> Path:
    """The file for unauthenticated callers, beside the one for the known."""
    return path.with_name(path.stem + STRANGERS + path.suffix)
