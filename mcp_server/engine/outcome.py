"""What became of a call: a closed union, which each transport renders and one recorder writes down."""

from typing import Final, Literal, assert_never

import msgspec

from mcp_server.engine.supervisor import CancelReason
from mcp_server.limits.rule import Scope
from mcp_server.observe.log import logger
from mcp_server.protocol import errors, jsonrpc
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.jsonrpc import Request
from mcp_server.sessions.subscriptions import Subscription

LATE: Final = "The call took too long"
CUT: Final = "The server is stopping: the call was ended, and may have had effects"
AWAY: Final = "The shared store is away: the call was ended, and may have had effects"
Slug = Literal["too_fast", "too_many_at_once", "too_many_streams", "quota_used"]
LIMIT_TEXTS: Final[dict[Slug, str]] = {
    "too_fast": "too many calls in a second",
    "too_many_at_once": "too many calls at once",
    "too_many_streams": "too many streams",
    "quota_used": "the quota is used up",
}


class Completed(msgspec.Struct, frozen=True):
    """Answered with a result; `message` is the whole JSON-RPC response.

    `about` is the tool whose task was asked about, which only the answer knows.
    """

    message: bytes
    about: str = ""


class ToolFailed(msgspec.Struct, frozen=True):
    """Answered with a result that tells the model that the tool failed."""

    message: bytes


class NeedsInput(msgspec.Struct, frozen=True):
    """Answered with questions: the client repeats the call with the answers (2026-07-28 basic/patterns/mrtr)."""

    message: bytes


class Failed(msgspec.Struct, frozen=True):
    """Answered with a JSON-RPC error; `reason` is for the audit where the code says too little."""

    error: RpcError
    reason: str = ""


class Denied(msgspec.Struct, frozen=True):
    """Not allowed: scopes are missing, or `anonymous` callers must log in first.

    With `fresh_s` or `acr` the login is what is missing (RFC 9470): too old, or in none of these ways. With `ended` the
    token is good no longer, as came out on the way; with `ran` the handler had begun by then, and may have acted.
    """

    needed: frozenset[str]
    anonymous: bool
    fresh_s: int | None = None
    acr: tuple[str, ...] = ()
    ended: bool = False
    ran: bool = False

    @property
    def login_wanted(self) -> bool:
        """Whether another login is wanted, whatever else is."""
        return self.fresh_s is not None or bool(self.acr)

    @property
    def reason(self) -> str:
        """Why, in the words of the audit."""
        if self.anonymous:
            return "no_credentials"
        if self.ended:
            return "session_ended"
        return "insufficient_user_authentication" if self.login_wanted else "insufficient_scope"

    @property
    def text(self) -> str:
        """What a client is told that gets no challenge."""
        if self.anonymous:
            return "authentication is required"
        if self.ended:
            return "the session has ended; sign in again"
        if self.login_wanted:
            return "a more recent or a stronger login is required"
        return f"insufficient scope: {' '.join(sorted(self.needed))}"


class Limited(msgspec.Struct, frozen=True):
    """Over a limit, and worth another try after so many seconds.

    `scope` is whose limit it is, `stated` how it is written, empty where it is no limit that somebody wrote.
    """

    limit: Slug
    retry_after_s: int
    scope: Scope = "principal"
    stated: str = ""

    @property
    def reason(self) -> str:
        """In the words of the audit."""
        return self.limit if self.scope == "principal" else f"{self.scope}_{self.limit}"

    @property
    def text(self) -> str:
        """What its client is told: many show the model nothing but this."""
        said = LIMIT_TEXTS[self.limit]
        if self.stated:
            said = f"{'too many calls' if self.limit == 'too_fast' else said} ({self.stated})"
        return f"{said}; try again in {self.retry_after_s} s"

    @property
    def data(self) -> dict[str, object]:
        """The same for programs, which over HTTP have `Retry-After` as well and often do not see it."""
        return {"retryAfter": self.retry_after_s}


class Unavailable(msgspec.Struct, frozen=True):
    """Nothing was begun: a store cannot be reached, no more of its kind is taken, or it could not be written down."""

    reason: Literal["store_away", "stopping", "audit_failing"] = "store_away"


class Subscribed(msgspec.Struct, frozen=True):
    """The answer is a stream of notifications: the transport carries it from here, and removes its subscription.

    `first` is its first frame.
    """

    subscription: Subscription
    first: bytes


class Cancelled(msgspec.Struct, frozen=True):
    """Ended from outside; nobody waits for an answer. `ran` is whether its handler had begun."""

    why: CancelReason
    ran: bool = True


Answered = Completed | ToolFailed | NeedsInput
Outcome = Answered | Failed | Denied | Limited | Unavailable | Subscribed | Cancelled


def answered(
    request: Request, result: object, kind: type[Completed] | type[ToolFailed] | type[NeedsInput] = Completed
) -> Answered | Failed:
    """The response that carries a result; what a handler returned may have no JSON form, as half a surrogate has none.

    Nobody else encodes: a result that cannot be sent is a failure of the call, and is recorded as one.
    """
    try:
        return kind(jsonrpc.result(request.id, result))
    except (msgspec.MsgspecError, TypeError, ValueError):
        logger.exception("a result cannot be encoded", method=request.method)
        return Failed(errors.internal_error(status=200).for_request(request.id), "not_encodable")


def cut_off(request: Request, away: Exception) -> Failed:
    """What is told where the store has failed a handler: no Retry-After, or a client that repeats would act twice."""
    logger.error("the shared store is away, a call has ended with it", reason=str(away.__cause__ or away))
    error = RpcError(code=errors.INTERNAL_ERROR, message=AWAY, status=503)
    return Failed(error.for_request(request.id), "store_away")


def label(outcome: Outcome) -> tuple[str, str]:
    """How metrics count it, and the reason in the audit; an empty reason where there is nothing to explain."""
    if type(outcome) is Completed:  # nearly every call
        return "ok", ""
    match outcome:
        case Completed() | NeedsInput() | Subscribed():
            return "ok", ""
        case ToolFailed():
            return "tool_error", "tool_error"
        case Failed(error, reason):  # by the code, for HTTP's status is 200 where a handler had its call
            failed = error.status >= 500 or error.code == errors.INTERNAL_ERROR
            return ("failed" if failed else "rejected"), reason or str(error.code)
        case Denied():
            return "cancelled" if outcome.ran else "refused", outcome.reason
        case Limited():
            return "rejected", outcome.reason
        case Unavailable(reason):
            return "failed", reason
        case Cancelled():
            return "cancelled", "cancelled"
        case _:
            assert_never(outcome)
