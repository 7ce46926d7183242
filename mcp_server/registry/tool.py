"""A typed function → a tool, compiled once: decoder, schemas, scopes, caller (design §7)."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypedDict

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import lenient, schema
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, UnsupportedType
from mcp_server.protocol import param_headers
from mcp_server.protocol.types.content import Icon
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations, ToolEntry
from mcp_server.registry.function import Handler, effective_scopes, readable
from mcp_server.registry.results import ResultForm

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EMPTY: Final = Raw(b"{}")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
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


class ToolSettings(TypedDict, total=False):
    """What `server.tool` may be told beside the name."""

    scopes: Iterable[str] | None
    public: bool
    title: str | None
    description: str | None
    annotations: ToolAnnotations | None
    icons: list[Icon] | None
    meta: dict[str, Any] | None
    input_schema: dict[str, Any] | None
    requires: Iterable[str]
    task: TaskMode
    single_use: bool
    ask_first: bool


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
        self._result = ResultForm(self._handler.returned, label)
        self.decode, shown = _typed(self._handler, options.name)
        if options.input_schema is not None:
            self.decode, shown = _by_schema(self._handler, options.input_schema, label), options.input_schema
        try:
            self.param_headers = param_headers.find(shown)
        except param_headers.BadAnnotation as error:
            raise param_headers.BadAnnotation(f"{label}: {error}") from error
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
        return self._result.wrap(await self._handler(arguments, context))


Decode = Callable[[Raw | msgspec.UnsetType], dict[str, Any]]


def _typed(handler: Handler, name: str) -> tuple[Decode, dict[str, Any]]:
    """Arguments by the function's annotations."""
    arguments_type = handler.arguments_type(name)
    decoder = msgspec.json.Decoder(arguments_type).decode
    again = lenient.second_reading(arguments_type)
    names = arguments_type.__struct_fields__

    def decode(arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        given = _EMPTY if arguments is UNSET else arguments
        try:
            decoded = decoder(given)
        except _UNREADABLE as error:
            decoded = _read_again(given, again, error)
        return {name: getattr(decoded, name) for name in names}

    return decode, schema.input_schema(arguments_type, handler.shown_defaults())


def _read_again(given: Raw, again: lenient.Decode | None, error: Exception) -> Any:
    """What the strict decoder refused, read leniently where that can change anything; raises `BadArguments`."""
    if again is not None and isinstance(error, msgspec.ValidationError):
        try:
            return again(given)
        except _UNREADABLE as second:
            error = second
    raise _bad(error) from error


def _bad(error: Exception) -> BadArguments:
    return BadArguments("nested too deeply" if isinstance(error, RecursionError) else readable(str(error)))


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
        try:
            decoded = _decode_object(_EMPTY if arguments is UNSET else arguments)
        except _UNREADABLE as error:
            raise _bad(error) from error
        wrong = next(iter(violations(decoded)), None)
        if wrong is not None:
            place = ".".join(str(part) for part in wrong.instance_path)
            raise BadArguments(f"{place}: {wrong.message}" if place else wrong.message)
        return {parameter: decoded}

    return decode
