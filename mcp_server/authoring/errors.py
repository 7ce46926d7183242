"""What goes wrong around a handler: what an author raises, and what its arguments, results and answers may be."""

from typing import Any

from mcp_server.protocol import errors


class UnsupportedType(TypeError):
    """An annotation that has no JSON form; raised at registration."""


class ToolError(Exception):
    """Raised by a handler to tell the model what went wrong; its text is sent as an `isError` result."""


class SessionEnded(ToolError):
    """The caller's token is good no longer, as its issuer says: over HTTP a 401, with which a client gets another."""


class ResourceNotFound(Exception):
    """Raised by a handler for a resource that is not there, or not for this caller."""


class BadArguments(Exception):
    """Arguments that do not fit: the text names the field and the reason, for the model to mend."""


class BadResult(Exception):
    """A handler returned what its annotation denies."""


class InvalidClientAnswer(ToolError):
    """A client's answer is not what the question asked for."""


class ClientRequestFailed(ToolError):
    """The client answered a question with an error, or not in time."""


class MissingCapability(Exception):
    """The client did not declare what a handler needs; `required` is a ClientCapabilities object."""

    def __init__(self, required: dict[str, Any]) -> None:
        super().__init__(f"the client does not support {', '.join(required)}")
        self.required = required


class ProtocolError(Exception):
    """Raised by a handler to answer with a JSON-RPC error: a code of its own, or -32602 or -32603.

    The rest of -32768 to -32000 is JSON-RPC's and MCP's, where clients act on each code: raises `ValueError`.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        if -32768 <= code <= -32000 and code not in (errors.INVALID_PARAMS, errors.INTERNAL_ERROR):
            raise ValueError(f"{code} is reserved: take a code outside -32768 to -32000")
        super().__init__(message)
        self.code, self.message, self.data = code, message, data
