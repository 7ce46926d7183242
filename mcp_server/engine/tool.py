"""A typed function → a tool, compiled once: decoder, schemas, scopes, caller (design §7)."""

import re
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw

from mcp_server.engine import schema
from mcp_server.engine.context import Context
from mcp_server.engine.errors import BadArguments, BadResult, UnsupportedType
from mcp_server.engine.handler import Handler, effective_scopes, readable
from mcp_server.protocol import param_headers
from mcp_server.protocol.types.content import CONTENT_TYPES, Icon, TextContent
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations, ToolEntry

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EMPTY: Final = Raw(b"{}")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
TaskMode = Literal["never", "allowed", "required"]


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told; `scopes` None means the server's default scopes."""

    name: str
    title: str | None = None
    description: str | None = None
    scopes: frozenset[str] | None = None
    public: bool = False
    annotations: ToolAnnotations | None = None
    icons: list[Icon] | None = None
    meta: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    requires: frozenset[str] = frozenset()
    task: TaskMode = "never"
    single_use: bool = False
    ask_first: bool = False


class Tool:
    """A registered function. `scopes` None stands for the server's default, which settings name."""

    def __init__(self, function: Callable[..., Any], options: ToolOptions) -> None:
        if not _NAME.fullmatch(options.name):
            raise ValueError(f"tool name {options.name!r}: 1 to 128 of A-Z a-z 0-9 _ . -")
        label = f"tool {options.name!r}"
        self.name = options.name
        self.public, self.task, self.single_use = options.public, options.task, options.single_use
        self.requires, self.ask_first = options.requires, options.ask_first
        self.scopes = effective_scopes(label, options.scopes, public=options.public)
        self._handler = Handler(function, label)
        self._result = _Result(self._handler.returned)
        self.decode, shown = _typed(self._handler, options.name)
        if options.input_schema is not None:
            self.decode, shown = _by_schema(self._handler, options.input_schema, label), options.input_schema
        self.param_headers = param_headers.find(shown)
        self.demands = bool(self.requires or self.param_headers or self.task == "required")
        self.entry = ToolEntry(
            name=options.name,
            title=options.title,
            description=options.description or self._handler.text or options.name,
            input_schema=shown,
            output_schema=self._result.schema,
            annotations=options.annotations,
            icons=options.icons,
            meta=options.meta,
        )

    async def call(self, arguments: dict[str, Any], context: Callable[[], Context]) -> CallToolResult:
        """Run the handler; raises what it raises, and `BadResult`."""
        handler = self._handler
        if handler.context is not None:
            arguments[handler.context] = context()
        return self._result.wrap(await handler.function(**arguments))


Decode = Callable[[Raw | msgspec.UnsetType], dict[str, Any]]


def _typed(handler: Handler, name: str) -> tuple[Decode, dict[str, Any]]:
    """Arguments by the function's annotations."""
    arguments_type = handler.arguments_type(name)
    decoder = msgspec.json.Decoder(arguments_type).decode
    names = arguments_type.__struct_fields__

    def decode(arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        decoded = _decoded(decoder, arguments)
        return {name: getattr(decoded, name) for name in names}

    return decode, schema.input_schema(arguments_type)


def _decoded(decoder: Callable[[Raw], Any], arguments: Raw | msgspec.UnsetType) -> Any:
    """Arguments read; a call may come without them."""
    try:
        return decoder(_EMPTY if arguments is UNSET else arguments)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadArguments(readable(str(error))) from error
    except RecursionError as error:
        raise BadArguments("nested too deeply") from error


def _by_schema(handler: Handler, shown: dict[str, Any], label: str) -> Decode:
    """Arguments by a JSON Schema of the author's, handed over whole to the only parameter, a dictionary."""
    if shown.get("type") != "object":
        raise ValueError(f"{label}: an input schema has type object at its root")
    if shown.get("$schema", DIALECT).rstrip("#") != DIALECT:
        raise UnsupportedType(f"{label}: {shown['$schema']} is no dialect served here, {DIALECT} is")
    if len(handler.parameters) != 1:
        raise UnsupportedType(f"{label}: with input_schema there is one parameter, for all arguments")
    parameter = next(iter(handler.parameters))
    try:
        violations = schema.validator(shown)
    except UnsupportedType as error:
        raise UnsupportedType(f"{label}: {error}") from error

    def decode(arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        decoded = _decoded(_decode_object, arguments)
        wrong = next(iter(violations(decoded)), None)
        if wrong is not None:
            place = ".".join(str(part) for part in wrong.instance_path)
            raise BadArguments(f"{place}: {wrong.message}" if place else wrong.message)
        return {parameter: decoded}

    return decode


class _Result:
    """How a handler's return value becomes content, by its annotation."""

    def __init__(self, annotation: Any) -> None:
        plain = annotation in (None, type(None), str, Any, CallToolResult) or _is_content(annotation)
        self.schema = None if plain else schema.output_schema(annotation)
        self._check = None if plain else msgspec.json.Decoder(annotation).decode

    def wrap(self, value: Any) -> CallToolResult:
        if isinstance(value, CallToolResult):
            return self._made_by_hand(value)
        if self._check is not None:
            return self._structured(value, self._check)
        if value is None:
            return CallToolResult([])
        if isinstance(value, CONTENT_TYPES):
            return CallToolResult([value])
        if isinstance(value, list) and value and all(isinstance(v, CONTENT_TYPES) for v in value):
            return CallToolResult(value)
        return CallToolResult([TextContent(value if isinstance(value, str) else _text(value))])

    def _made_by_hand(self, result: CallToolResult) -> CallToolResult:
        """A whole result of the author's; where the annotation promises a structure, it must be there and fit."""
        if self._check is not None and result.is_error is not True:
            if result.structured_content is UNSET:
                raise BadResult("the result lacks the structured content that is promised")
            self._encode(result.structured_content, self._check)
        return result

    def _structured(self, value: Any, check: Callable[[bytes], Any]) -> CallToolResult:
        encoded = self._encode(value, check)
        return CallToolResult([TextContent(encoded.decode())], Raw(encoded))

    @staticmethod
    def _encode(value: Any, check: Callable[[bytes], Any]) -> bytes:
        try:
            encoded = _encode(value)
            check(encoded)  # msgspec does not check a Struct on the way out
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise BadResult(str(error)) from error
        return encoded


def _text(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (TypeError, ValueError) as error:
        raise BadResult(str(error)) from error


def _is_content(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (list, types.UnionType, typing.Union):
        return all(_is_content(part) for part in typing.get_args(annotation))
    return annotation in CONTENT_TYPES
