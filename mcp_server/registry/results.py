"""Results of handlers: a tool's → content and structured content, by its annotation (2026-07-28 server/tools).

Each is encoded once before it is sent: subclasses of built-in types go as their base, texts must be Unicode.
"""

import typing
from collections.abc import Callable, Iterator
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import constraints, json_types, schema
from mcp_server.authoring.constraints import UNIONS
from mcp_server.authoring.errors import BadResult, UnsupportedType
from mcp_server.protocol.types.content import CONTENT_TYPES, TextContent
from mcp_server.protocol.types.tools import CallToolResult

Value = TypeVar("Value")
_encode: Final = msgspec.json.Encoder().encode
_BASES: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((date, time), lambda value: value.isoformat()),  # pandas' and pendulum's are such
    ((Decimal, UUID), str),
    ((bytes, bytearray), bytes),
)
_SEQUENCES: Final = (list, tuple)
_decode_result: Final = msgspec.json.Decoder(CallToolResult).decode


class ResultForm:
    """How the values of one annotation are sent; raises `UnsupportedType` for what has no JSON form.

    `promised` is a JSON Schema of the author's in place of the annotation's own. Who makes whole results by hand
    answers for it; of others each result is held to it.
    """

    def __init__(self, annotation: Any, label: str, promised: dict[str, Any] | None = None) -> None:
        if typing.get_origin(annotation) is Annotated and _has_content(annotation):
            annotation = typing.get_args(annotation)[0]
        self._blocks = _has_content(annotation)
        self.schema: dict[str, Any] | None = None
        self._check: Callable[[bytes], Any] | None = None
        if not self._blocks and annotation not in (None, type(None), str, Any, CallToolResult):
            try:
                annotation = constraints.as_hint(annotation)
                json_types.check(annotation)
            except UnsupportedType as error:
                raise UnsupportedType(f"{label}: the result: {error}") from error
            self.schema = schema.output_schema(annotation)
            self._check = msgspec.json.Decoder(annotation).decode
        if promised is not None:
            if self._blocks:
                raise UnsupportedType(f"{label}: content blocks have no output_schema")
            self.schema = promised
            self._check = _anything if annotation is CallToolResult else _by_schema(promised, label)

    def wrap(self, value: Any) -> CallToolResult:
        """The result of a call; raises `BadResult` for a value that its annotation denies, or that has no JSON form."""
        if isinstance(value, CallToolResult):
            return sendable(self._made_by_hand(value), _decode_result)
        if self._check is not None:
            encoded = _checked(value, self._check)
            return CallToolResult([TextContent(encoded.decode())], Raw(encoded))
        if isinstance(value, str):
            return CallToolResult([TextContent(text(value))])
        if value is None:
            return CallToolResult([])
        if self._blocks or _holds_content(value):
            return sendable(CallToolResult(list(_blocks(value))), _decode_result)
        return CallToolResult([TextContent(encode(value).decode())])

    def _made_by_hand(self, result: CallToolResult) -> CallToolResult:
        """A whole result of the author's; where the annotation promises a structure, it must be there and fit."""
        if self._check is not None and result.is_error is not True:
            if result.structured_content is UNSET:
                raise BadResult("the result lacks the structured content that is promised")
            _checked(result.structured_content, self._check)
        return result


def _checked(value: Any, check: Callable[[bytes], Any]) -> bytes:
    encoded = encode(value)
    try:
        check(encoded)  # msgspec does not check a Struct on the way out
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadResult(str(error)) from error
    return encoded


def _anything(_: bytes) -> None:
    """Nothing to hold it to."""


def _by_schema(promised: dict[str, Any], label: str) -> Callable[[bytes], None]:
    try:
        violations = schema.validator(promised)
    except UnsupportedType as error:
        raise UnsupportedType(f"{label}: output_schema: {error}") from error

    def check(encoded: bytes) -> None:
        for wrong in violations(msgspec.json.decode(encoded)):
            raise ValueError(wrong.message)

    return check


def _blocks(value: Any) -> Iterator[Any]:
    """Content blocks as they stand; texts as text, what else there is as its JSON, None as nothing."""
    if isinstance(value, _SEQUENCES):
        for one in value:
            yield from _blocks(one)
    elif isinstance(value, CONTENT_TYPES):
        yield value
    elif value is not None:
        yield TextContent(text(value) if isinstance(value, str) else encode(value).decode())


def _holds_content(value: Any) -> bool:
    if isinstance(value, _SEQUENCES):
        return any(_holds_content(one) for one in value)
    return isinstance(value, CONTENT_TYPES)


def _has_content(annotation: Any) -> bool:
    """Whether an annotation promises content blocks: alone, optional, in lists or among texts."""
    if typing.get_origin(annotation) in (Annotated, *_SEQUENCES, *UNIONS):
        return any(_has_content(part) for part in typing.get_args(annotation))
    return annotation in CONTENT_TYPES


def encode(value: Any) -> bytes:
    """The JSON of a value; raises `BadResult` where it has none."""
    try:
        try:
            return _encode(value)
        except (TypeError, RecursionError):  # a subclass somewhere in it; msgspec runs in circles over one as a key
            return _encode(msgspec.to_builtins(value, str_keys=True, enc_hook=_base))
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise BadResult(str(error)) from error


def sendable(value: Value, decode: Callable[[bytes], Value]) -> Value:
    """The value, encoded once before it is: what fails later fails the request, not the tool. Raises `BadResult`."""
    try:
        _encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return decode(encode(value))
    return value


def text(value: str) -> str:
    """A text as it can be sent; raises `BadResult` for half a surrogate pair, as `os.listdir` gives for odd names."""
    if type(value) is not str:
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadResult(f"the text is not Unicode: {error}") from error
    return value


def _base(value: Any) -> Any:
    """A value of a subclass as its base."""
    for kinds, convert in _BASES:
        if isinstance(value, kinds):
            return convert(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")
