"""The audit trail of one HTTP request: whatever becomes of it, it leaves a line."""

import time
from typing import Final

import msgspec

from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.refusals import AccessDenied
from mcp_server.engine.records import MAX_AUDITED, about
from mcp_server.identity import Principal
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.web.render import Reply

SCOPE_KEY: Final = "mcp_trail"
"""Where the middleware leaves it for guards, in the ASGI scope."""


class Trail(msgspec.Struct, kw_only=True):
    """Lines about one request. Steps that decide write theirs; `settle` writes one where none has.

    `method` is HTTP's until a message was read; `refusal` is of the token, where it was refused. `proof` is what came
    with it, where it was not seen before.
    """

    audit: AuditLog
    request_id: str
    address: str
    method: str
    principal: Principal | None = None
    refusal: AccessDenied | None = None
    proof: Proof | None = None
    written: bool = False

    def write(self, decision: Decision) -> None:
        """A line of its own: a batch has one for each message."""
        self.written = True
        self.audit.write(decision)

    def note(self, method: str, *, denied: bool = False, reason: str = "") -> None:
        """What is no call: a stream opened, a session ended, something said that is not answered."""
        self.write(self._decision(method, "deny" if denied else "allow", reason))

    def guard(self, route: str, needed: frozenset[str], reason: str) -> None:
        """A guarded route was asked for; `reason` is why it was refused, empty where it was not."""
        decision = self._decision(self.method, "deny" if reason else "allow", reason)
        decision.route, decision.needed = route, needed
        self.write(decision)

    def settle(self, answer: Reply | None) -> None:
        """The request is over, with this answer or with none: what nothing has been written about is written now."""
        if self.written:
            return
        if answer is None:
            self.note(self.method, denied=True, reason="aborted")
        else:
            reason = answer.reason or ("" if answer.outcome == "ok" else answer.outcome)
            self.note(self.method, denied=answer.status >= 400, reason=reason)

    def _decision(self, method: str, decision: str, reason: str) -> Decision:
        line = Decision(
            time=time.time(),
            decision=decision,
            reason=reason,
            request_id=self.request_id,
            address=self.address,
            method=method[:MAX_AUDITED],
        )
        if self.refusal is not None:
            line.token, line.client = self.refusal.token_digest, self.refusal.client[:MAX_AUDITED]
        return about(line, self.principal)
