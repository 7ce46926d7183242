"""What goes wrong around a handler: what an author raises, and what its arguments, results and answers may be."""

from typing import Any


class UnsupportedType(TypeError):
    """An annotation that has no JSON form; raised at registration."""


class ToolError(Exception):
    """Raised by a handler to tell the model what went wrong; its text is sent as an `isError` result."""


class ResourceNotFound(Exception):
    """Raised by a handler for a resource that is not there, or not for this caller."""


class BadArguments(Exception):
    """Arguments that do not fit: the text names the field and the reason, for the model to mend."""


class BadResult(Exception):
    """A handler returned what its annotation denies."""


class BadAnswer(ToolError):
    """A client's answer is not what the question asked for."""


class ClientRefused(ToolError):
    """The client answered a question with an error, or not in time."""


class MissingCapability(Exception):
    """The client did not declare what a handler needs; `required` is a ClientCapabilities object."""

    def __init__(self, required: dict[str, Any]) -> None:
        super().__init__(f"the client does not support {', '.join(required)}")
        self.required = required


class ProtocolError(Exception):
    """Raised by a handler to answer with a JSON-RPC error of its own; take codes outside -32768 to -32000."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data
