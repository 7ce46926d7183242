"""A typed function → a tool, compiled once: decoder, schemas, scopes, caller (design §7)."""

import asyncio
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Raw

from mcp_server.engine import docstrings, schema
from mcp_server.engine.context import Context
from mcp_server.protocol.types.content import CONTENT_TYPES, TextContent
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations, ToolEntry

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EMPTY: Final = Raw(b"{}")
_encode = msgspec.json.Encoder().encode


class ToolError(Exception):
    """Raised by a handler to tell the model what went wrong; its text is sent as an `isError` result."""


class BadArguments(Exception):
    """Arguments that do not fit: the text names the field and the reason, for the model to mend."""


class BadResult(Exception):
    """A handler returned what its annotation denies."""


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told; `scopes` None means the server's default scopes."""

    name: str
    title: str | None = None
    description: str | None = None
    scopes: frozenset[str] | None = None
    public: bool = False
    annotations: ToolAnnotations | None = None


class Tool:
    """A registered function. `scopes` None stands for the server's default, which settings name."""

    def __init__(self, function: Callable[..., Any], options: ToolOptions) -> None:
        if not _NAME.fullmatch(options.name):
            raise ValueError(f"tool name {options.name!r}: 1 to 128 of A-Z a-z 0-9 _ . -")
        if options.public and options.scopes:
            raise ValueError(f"tool {options.name!r} cannot be public and need scopes")
        self.name = options.name
        self.public = options.public
        self.scopes = frozenset() if options.public else options.scopes
        self._call = _awaitable(function)
        text, described = docstrings.read(function)
        hints = typing.get_type_hints(function, include_extras=True)
        returned = hints.pop("return", Any)
        parameters = inspect.signature(function).parameters.values()
        self._context = next((p.name for p in parameters if hints.get(p.name) is Context), None)
        arguments = _arguments_type(options.name, list(parameters), hints, described)
        self._names = arguments.__struct_fields__
        self._decode = msgspec.json.Decoder(arguments).decode
        self._result = _Result(returned)
        self.entry = ToolEntry(
            name=options.name,
            title=options.title,
            description=options.description or text or options.name,
            input_schema=schema.input_schema(arguments),
            output_schema=self._result.schema,
            annotations=options.annotations,
        )

    def decode(self, arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        """The handler's keyword arguments; raises `BadArguments`."""
        try:
            decoded = self._decode(_EMPTY if arguments is UNSET else arguments)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadArguments(_readable(str(error))) from error
        except RecursionError as error:
            raise BadArguments("nested too deeply") from error
        return {name: getattr(decoded, name) for name in self._names}

    async def call(self, arguments: dict[str, Any], context: Callable[[], Context]) -> CallToolResult:
        """Run the handler, with a context made if it asks for one; raises what it raises, and `BadResult`."""
        if self._context is not None:
            arguments[self._context] = context()
        return self._result.wrap(await self._call(**arguments))


class _Result:
    """How a handler's return value becomes content, by its annotation."""

    def __init__(self, annotation: Any) -> None:
        plain = annotation in (None, type(None), str, Any, CallToolResult) or _is_content(annotation)
        self.schema = None if plain else schema.output_schema(annotation)
        self._check = None if plain else msgspec.json.Decoder(annotation).decode

    def wrap(self, value: Any) -> CallToolResult:
        if isinstance(value, CallToolResult):
            return value
        if self._check is not None:
            return self._structured(value, self._check)
        if value is None:
            return CallToolResult([])
        if isinstance(value, CONTENT_TYPES):
            return CallToolResult([value])
        if isinstance(value, list) and value and all(isinstance(v, CONTENT_TYPES) for v in value):
            return CallToolResult(value)
        return CallToolResult([TextContent(value if isinstance(value, str) else _text(value))])

    def _structured(self, value: Any, check: Callable[[bytes], Any]) -> CallToolResult:
        try:
            encoded = _encode(value)
            check(encoded)  # msgspec does not check a Struct on the way out
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise BadResult(str(error)) from error
        return CallToolResult([TextContent(encoded.decode())], Raw(encoded))


def _text(value: Any) -> str:
    try:
        return _encode(value).decode()
    except (TypeError, ValueError) as error:
        raise BadResult(str(error)) from error


def _is_content(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (list, types.UnionType, typing.Union):
        return all(_is_content(part) for part in typing.get_args(annotation))
    return annotation in CONTENT_TYPES


def _awaitable(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself when async; else a call in a thread, for it may block."""
    if inspect.iscoroutinefunction(function):
        return function

    async def in_thread(**arguments: Any) -> Any:
        return await asyncio.to_thread(function, **arguments)

    return in_thread


def _arguments_type(
    tool: str,
    parameters: list[inspect.Parameter],
    hints: dict[str, Any],
    described: dict[str, str],
) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any]] = []
    for parameter in parameters:
        name = parameter.name
        if hints.get(name) is Context:
            continue
        if parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
            parameter.POSITIONAL_ONLY,
        ):
            raise schema.UnsupportedType(f"tool {tool!r}: parameter {name!r} cannot be named in JSON")
        if name not in hints:
            raise schema.UnsupportedType(f"tool {tool!r}: parameter {name!r} has no annotation")
        default = NODEFAULT if parameter.default is parameter.empty else parameter.default
        if isinstance(default, list | dict | set):
            default = msgspec.field(default_factory=default.copy)
        fields.append((name, _annotated(hints[name], described.get(name)), default))
    return msgspec.defstruct(f"{tool}_arguments", fields, kw_only=True, forbid_unknown_fields=True)


def _annotated(hint: Any, described: str | None) -> Any:
    """The hint with its description: a text in `Annotated` counts as one, else the docstring's."""
    if typing.get_origin(hint) is Annotated:
        base, *extras = typing.get_args(hint)
        metas = [one for one in extras if isinstance(one, Meta)]
        texts = [one for one in extras if isinstance(one, str)]
        described = texts[0] if texts else described
        if any(one.description for one in metas):
            described = None
        for meta in metas:
            base = Annotated[base, meta]
        hint = base
    return Annotated[hint, Meta(description=described)] if described else hint


def _readable(message: str) -> str:
    """Msgspec's message with the path in front, as a model can use it: `order.id: expected int, got str`."""
    text, _, path = message.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    return f"{field}: {text}" if field else text
