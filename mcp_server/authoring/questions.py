"""Questions a handler can put to its client: a form, an address to visit, the client's model, its roots."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, overload

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import lenient, schema
from mcp_server.authoring.errors import InvalidClientAnswer, MissingCapability
from mcp_server.authoring.interaction import Question
from mcp_server.protocol import errors
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.inputs import (
    ELICIT,
    ROOTS,
    SAMPLE,
    CreateMessageResult,
    ElicitAnswer,
    InputRequest,
    ListRootsResult,
    Root,
    SamplingMessage,
)

Form = TypeVar("Form")
Decoded = TypeVar("Decoded")


class ElicitResult(msgspec.Struct, Generic[Form], frozen=True):
    """What the user did with a form; `content` is there when, and only when, it was accepted."""

    action: Literal["accept", "decline", "cancel"]
    content: Form | None = None

    @property
    def accepted(self) -> bool:
        """Whether the form was filled in."""
        return self.action == "accept"


_decode_elicited = msgspec.json.Decoder(ElicitAnswer).decode
_decode_sampled = msgspec.json.Decoder(CreateMessageResult).decode
_decode_roots = msgspec.json.Decoder(ListRootsResult).decode
_decode_content = msgspec.json.Decoder(dict[str, str | int | float | bool | list[str]]).decode


_SAMPLING_NEEDS: Final[dict[str, Callable[[Mapping[str, Any]], bool]]] = {
    "tools": lambda more: "tools" in more,
    "context": lambda more: more.get("includeContext", "none") != "none",
}
"""Sub-capabilities, and whether a request to the model needs them."""


@overload
def elicitation(message: str, form: type[Form]) -> Question[ElicitResult[Form]]: ...
@overload
def elicitation(message: str, form: dict[str, Any]) -> Question[ElicitResult[dict[str, Any]]]: ...
def elicitation(message: str, form: Any) -> Question[ElicitResult[Any]]:
    """A form: `form` is a Struct, dataclass or TypedDict of flat fields, or a JSON schema of one.

    Never ask for passwords, keys or payment data this way: a form's answer passes the client. Use `url_elicitation`.
    """
    if isinstance(form, dict):
        schema.check_form(form)
        shown, fill = form, _by_schema(form)
    else:
        shown, fill = schema.form_schema(form), lenient.decoder(form)
    params = {"message": message, "requestedSchema": shown}

    def read(raw: Raw) -> ElicitResult[Any]:
        answer = _read(_decode_elicited, raw)
        if answer.action != "accept":
            return ElicitResult(answer.action)
        try:
            return ElicitResult("accept", fill(Raw(b"{}") if answer.content is UNSET else answer.content))
        except errors.UNREADABLE as error:
            raise InvalidClientAnswer(f"The form was not filled in as asked: {error}") from error

    return Question(InputRequest(ELICIT, params), {"elicitation": {"form": {}}}, read)


def _by_schema(form: dict[str, Any]) -> Callable[[Raw], Any]:
    """What a form of the author's own schema was filled in with; raises `InvalidClientAnswer`."""
    validate = schema.validator(form)

    def fill(content: Raw) -> Any:
        filled = _decode_content(content)
        wrong = next(iter(validate(filled)), None)
        if wrong is not None:
            raise InvalidClientAnswer(f"The form was not filled in as asked: {wrong.message}")
        return filled

    return fill


def url_elicitation(message: str, url: str) -> Question[ElicitResult[None]]:
    """An address the user shall open; accepting means going there, not having finished there."""
    params = {"mode": "url", "message": message, "url": url}

    def read(raw: Raw) -> ElicitResult[None]:
        return ElicitResult(_read(_decode_elicited, raw).action)

    return Question(InputRequest(ELICIT, params), {"elicitation": {"url": {}}}, read)


def sampling(
    messages: str | Sequence[SamplingMessage], *, max_tokens: int, system: str | None = None, **more: Any
) -> Question[CreateMessageResult]:
    """A request to the client's model; `more` are further members of the parameters, by their names on the wire."""
    if isinstance(messages, str):
        messages = [SamplingMessage("user", TextContent(messages))]
    params: dict[str, Any] = {"messages": list(messages), "maxTokens": max_tokens, **more}
    if system is not None:
        params["systemPrompt"] = system
    inner: dict[str, Any] = {name: {} for name, wanted in _SAMPLING_NEEDS.items() if wanted(more)}

    def read(raw: Raw) -> CreateMessageResult:
        return _read(_decode_sampled, raw)

    return Question(InputRequest(SAMPLE, params), {"sampling": inner}, read)


def roots() -> Question[list[Root]]:
    """The folders that the client's user works in."""

    def read(raw: Raw) -> list[Root]:
        return _read(_decode_roots, raw).roots

    return Question(InputRequest(ROOTS), {"roots": {}}, read)


def check(questions: Mapping[str, Question[Any]], declared: Mapping[str, Any]) -> None:
    """Raise `MissingCapability` where a client did not declare what a question needs."""
    needs = [need for question in questions.values() for need in question.needs.items()]
    lacking = {name: inner for name, inner in needs if not supports(declared, name, inner)}
    if lacking:
        raise MissingCapability(lacking)


def supports(declared: Mapping[str, Any], name: str, inner: Mapping[str, Any]) -> bool:
    """Whether capabilities hold `name` with these sub-capabilities; a bare `elicitation` means forms."""
    has = declared.get(name)
    if not isinstance(has, dict):
        return False
    if name == "elicitation" and "form" in inner:
        return "form" in has or "url" not in has
    return all(one in has for one in inner)


def _read(decode: Callable[[Raw], Decoded], raw: Raw) -> Decoded:
    try:
        return decode(raw)
    except errors.UNREADABLE as error:
        raise InvalidClientAnswer("The client's answer is not what was asked for.") from error
