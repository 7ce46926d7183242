"""A typed function → a tool, compiled once: decoder, schemas, scopes, caller (design §7)."""

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, Literal, TypeVar, Unpack, get_args

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring import lenient, schema
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, UnsupportedType
from mcp_server.limits import rule
from mcp_server.limits.rule import Bounds
from mcp_server.observe.audit import arguments as audited
from mcp_server.protocol import param_headers
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations, ToolEntry
from mcp_server.registry.access import EntryOptions, ProtectedEntry
from mcp_server.registry.function import Handler, readable
from mcp_server.registry.requirement import check_variables
from mcp_server.registry.results import ResultForm
from mcp_server.registry.signature import check_options

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_EMPTY: Final = Raw(b"{}")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
CLIENT_CAPABILITIES: Final = frozenset({"sampling", "elicitation", "roots"})
TaskMode = Literal["never", "allowed", "required"]
OnLost = Literal["retry", "fail"]
_Choice = TypeVar("_Choice")
Delegate = Callable[[Raw | msgspec.UnsetType], "tuple[Tool, Raw] | None"]
"""Arguments → the tool that they call in truth, and its own arguments; None where they name none."""


class ToolOptions(EntryOptions, total=False):
    """What `server.tool` may be told beside the name; `scopes` None or left out means the server's default scopes."""

    annotations: ToolAnnotations | None
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    listed: bool
    delegate: "Delegate | None"
    requires: Iterable[str]
    task: TaskMode
    on_lost: OnLost
    ask_first: bool
    audit_arguments: Iterable[str]
    limits: str | Iterable[str]


class ToolImplementation(ABC):
    """What a tool runs. A function is read for it; an imported operation is there already, and there may be thousands.

    `input_schema` and `output_schema` are objects or encoded JSON.
    """

    text: str
    input_schema: Any
    output_schema: Any

    @abstractmethod
    def decode(self, arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        """The arguments of a call as `call` takes them; raises `BadArguments`."""

    @abstractmethod
    def values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments by their names, as scopes ask for them, of what `decode` has made."""

    @abstractmethod
    async def call(self, arguments: dict[str, Any], context: Callable[[], Context]) -> CallToolResult:
        """Run it; raises what it raises, and `BadResult`."""


class Tool(ProtectedEntry):
    """A registered function. `scopes` None stands for the server's default, which settings name.

    One that is not `listed` can be called by who knows its name. `delegate` is asked before a call is admitted: what
    the call needs, may and is counted as is then the affair of the tool that it names.
    """

    def __init__(
        self, function: Callable[..., Any] | ToolImplementation, name: str, **options: Unpack[ToolOptions]
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"tool name {name!r}: 1 to 128 of A-Z a-z 0-9 _ . -")
        label = f"tool {name!r}"
        check_options(label, options, ToolOptions)
        super().__init__(label, options)
        self.name = name
        self.task: TaskMode = _one_of(label, "task", options.get("task", "never"), TaskMode)
        self.on_lost = _on_lost(label, options)
        """What becomes of a task of it whose worker is lost: the call is made again, or it has failed."""
        self.requires = _capabilities(label, options.get("requires", ()))
        self.ask_first = options.get("ask_first", False)
        self.bounds = _bounds(label, options.get("limits", ()))
        self.listed, self.delegate = options.get("listed", True), options.get("delegate")
        runs = function if isinstance(function, ToolImplementation) else _Function(function, name, label, options)
        self.decode, self.values, self.call = runs.decode, runs.values, runs.call
        if isinstance(runs, _Function):
            check_variables(label, self.scopes, lambda: runs.settled, runs.input_schema.get("$defs", {}))
        self.param_headers = _param_headers(runs.input_schema, label)
        self.audit_arguments = audited.declared(label, options.get("audit_arguments", ()), _named(runs.input_schema))
        hints = options.get("annotations")
        self.reads = hints is not None and hints.read_only_hint is True
        """Whether it says that it changes nothing."""
        self.demands = bool(self.requires or self.param_headers or self.task == "required")
        self.entry = ToolEntry(
            name=name,
            title=options.get("title"),
            description=options.get("description") or runs.text or name,
            input_schema=runs.input_schema,
            output_schema=runs.output_schema,
            annotations=hints,
            icons=options.get("icons"),
            meta=options.get("meta"),
        )


class _Function:
    """An author's function, compiled."""

    def __init__(self, function: Callable[..., Any], name: str, label: str, options: ToolOptions) -> None:
        self._handler = Handler(function, label)
        self._result = ResultForm(self._handler.returned, label, options.get("output_schema"))
        self.text, self.output_schema = self._handler.text, self._result.schema
        self._handler.wrap = self._result.wrap
        self.call: Callable[[dict[str, Any], Callable[[], Context]], Awaitable[CallToolResult]] = self._handler.run
        """Runs the handler; raises what it raises, and `BadResult`."""
        self.values = self._handler.values
        if (shown := options.get("input_schema")) is None:
            self.decode, self.input_schema = _typed(self._handler, name)
            self.settled = self.input_schema["properties"]
        else:
            self.decode, self.input_schema = _by_schema(self._handler, shown, label), shown
            self._handler.whole = next(iter(self._handler.parameters))
            self.settled = {name: shown.get("properties", {}).get(name, {}) for name in shown.get("required", ())}


def _param_headers(shown: Any, label: str) -> tuple[param_headers.ParamHeader, ...]:
    if isinstance(shown, Raw):
        if param_headers.KEYWORD.encode() not in bytes(shown):
            return ()
        shown = msgspec.json.decode(shown)
    try:
        return param_headers.find(shown)
    except param_headers.BadAnnotation as error:
        raise param_headers.BadAnnotation(f"{label}: {error}") from error


def _named(shown: Any) -> Collection[str] | None:
    """The arguments that a schema names; None where it takes others, too, or is not looked into for its size."""
    if isinstance(shown, Raw) or shown.get("additionalProperties") is not False:
        return None
    return shown.get("properties", {})  # type: ignore[no-any-return]


Decode = Callable[[Raw | msgspec.UnsetType], dict[str, Any]]


def _typed(handler: Handler, name: str) -> tuple[Decode, dict[str, Any]]:
    """Arguments by the function's annotations."""
    arguments_type = handler.arguments_type(name)
    decoder = msgspec.json.Decoder(arguments_type).decode
    again = lenient.second_reading(arguments_type)

    def decode(arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
        given = _EMPTY if arguments is UNSET else arguments
        try:
            decoded = decoder(given)
        except _UNREADABLE as error:
            decoded = _read_again(given, again, error)
        return msgspec.structs.asdict(decoded)

    return decode, schema.input_schema(arguments_type, handler.shown_defaults())


def _read_again(given: Raw, again: lenient.Decode | None, error: Exception) -> Any:
    """What the strict decoder refused, read leniently where that can change anything; raises `BadArguments`."""
    if again is not None and isinstance(error, msgspec.ValidationError):
        try:
            return again(given)
        except _UNREADABLE as second:  # raised from here, and not kept: a circle would keep the arguments
            raise _bad(second) from second
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
        decoded = read_object(arguments)
        wrong = next(iter(violations(decoded)), None)
        if wrong is not None:
            place = ".".join(str(part) for part in wrong.instance_path)
            raise BadArguments(f"{place}: {wrong.message}" if place else wrong.message)
        return {parameter: decoded}

    return decode


def read_object(arguments: Raw | msgspec.UnsetType) -> dict[str, Any]:
    """Arguments as a dictionary; raises `BadArguments` where they are none."""
    try:
        return _decode_object(_EMPTY if arguments is UNSET else arguments)
    except _UNREADABLE as error:
        raise _bad(error) from error


def _bounds(label: str, texts: str | Iterable[str]) -> Bounds:
    try:
        return rule.bounds(texts)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error


def _capabilities(label: str, requires: Iterable[str]) -> frozenset[str]:
    found = frozenset({requires} if isinstance(requires, str) else requires)
    if unknown := found - CLIENT_CAPABILITIES:
        known = ", ".join(sorted(CLIENT_CAPABILITIES))
        raise ValueError(f"{label}: requires names {', '.join(sorted(unknown))}: no client capability of {known}")
    return found


def _one_of(label: str, option: str, stated: _Choice, kind: Any) -> _Choice:
    """What an author chose; raises `ValueError` for what is none of the choices, which only type checkers would see."""
    choices = get_args(kind)
    if stated not in choices:
        near = difflib.get_close_matches(str(stated), choices, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{label}: {option} is one of {', '.join(choices)}, and not {stated!r}{hint}")
    return stated


def _on_lost(label: str, options: ToolOptions) -> OnLost:
    """What the author says, else what the hints do: a call that changes nothing, or does it once, may be made again."""
    stated = options.get("on_lost")
    if stated is not None:
        return _one_of(label, "on_lost", stated, OnLost)
    hints = options.get("annotations")
    may = hints is not None and (hints.read_only_hint is True or hints.idempotent_hint is True)
    return "retry" if may else "fail"
