"""Which challenge a refused call gets, and its form as a tool's result, for clients that look there (decision 15)."""

from typing import Final, Literal

import msgspec

from mcp_server.auth.challenge import Challenger
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import claims
from mcp_server.engine.call import Call
from mcp_server.engine.methods import tools
from mcp_server.engine.outcome import Denied
from mcp_server.protocol.types.tools import CallToolResult

Mode = Literal["challenge", "error", "both"]
META: Final = "mcp/www_authenticate"
RESULT_READERS: Final = ("openai-mcp",)
"""How the User-Agent begins of clients whose makers document that they take a challenge from a tool's result.

Whoever pretends to be one is refused all the same, in other words: to work around a client's limits is what RFC 9110
§10.1.5 has the field for.
"""


class StepUp(msgspec.Struct, frozen=True):
    """How callers are told that they may not call a tool; `help_url` is a page for people who then ask how."""

    mode: Mode = "challenge"
    help_url: str | None = None

    def in_result(self, method: str, status: int, user_agent: bytes) -> bool:
        """Whether a refusal with this status goes into a result: a tool's alone, for nothing else has such results.

        A 401 is challenged in the header for all but those who read results: there is no client that mishandles it, and
        without it none would log in.
        """
        if self.mode == "challenge" or method != "tools/call":
            return False
        reads = user_agent.decode("latin-1").startswith(RESULT_READERS)
        return reads or (self.mode == "error" and status == 403)

    def result(self, refusal: AccessDenied, challenger: Challenger) -> CallToolResult:
        """The result: what is missing in words for the model, and the challenge for its host."""
        reason = refusal.reason
        scopes = "" if reason is DenialReason.INSUFFICIENT_USER_AUTHENTICATION else ", ".join(sorted(refusal.scopes))
        said = [reason.public + (f": {scopes}" if scopes else "")]
        if self.help_url is not None:
            said.append(f"How to get it: {self.help_url}")
        failed = tools.failed(". ".join(said))
        return msgspec.structs.replace(failed, meta={META: [challenger.in_result(refusal)]})


def refusal(call: Call, denied: Denied) -> AccessDenied:
    """Clients of the legacy revisions ask for what is named and no more (2025-11-25 authorization §Scope Challenge).

    Those of 2026-07-28 add it to what they have, but a new login begins anew: without what the token has it would
    come back with less.
    """
    if call.principal is None or denied.anonymous:
        return AccessDenied(reason=DenialReason.NO_CREDENTIALS, scopes=denied.needed)
    if denied.ended:
        return AccessDenied(reason=DenialReason.SESSION_ENDED)
    granted = frozenset() if call.modern and not denied.login_wanted else claims.granted(call.principal)
    if denied.login_wanted:
        return AccessDenied(
            reason=DenialReason.INSUFFICIENT_USER_AUTHENTICATION,
            scopes=denied.needed,
            granted=granted,
            acr_values=denied.acr,
            max_age=denied.fresh_s,
        )
    return AccessDenied(reason=DenialReason.INSUFFICIENT_SCOPE, scopes=denied.needed, granted=granted)
