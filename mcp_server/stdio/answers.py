"""An outcome as a line of a pipe, which has no status and no header."""

from typing import assert_never

from mcp_server.engine.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    Limited,
    NeedsInput,
    Outcome,
    Subscribed,
    ToolFailed,
    Unavailable,
)
from mcp_server.protocol import errors, jsonrpc
from mcp_server.protocol.errors import RequestId, RpcError


def render(request_id: RequestId, outcome: Outcome) -> bytes | None:
    """The line, or None where there is none to be said."""
    match outcome:
        case Completed(message) | NeedsInput(message) | ToolFailed(message):
            return message
        case Failed(error):
            return jsonrpc.failure(error)
        case Denied():
            return jsonrpc.failure(refused(outcome.text, request_id))
        case Limited():
            return limited(outcome, request_id)
        case Unavailable():
            text = "temporarily unavailable"
            return jsonrpc.failure(RpcError(code=errors.TRANSPORT_ERROR, message=text, request_id=request_id))
        case Cancelled() | Subscribed():
            return None
        case _:
            assert_never(outcome)


def refused(text: str, request_id: RequestId) -> RpcError:
    """The error of who may not."""
    return RpcError(code=errors.AUTHORIZATION_ERROR, message=text, request_id=request_id)


def limited(over: Limited, request_id: RequestId | None) -> bytes:
    """The line of a call over a limit: it says for how long."""
    error = RpcError(
        code=errors.TRANSPORT_ERROR,
        message=over.text,
        data=over.data,
        request_id=request_id,
    )
    return jsonrpc.failure(error)
