"""A function → a prompt, and completions of arguments: what is typed is always text."""

import enum
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT

from mcp_server.engine.context import Context
from mcp_server.engine.errors import BadArguments, UnsupportedType
from mcp_server.engine.handler import Handler, effective_scopes, readable
from mcp_server.protocol.types.content import CONTENT_TYPES, Icon, TextContent
from mcp_server.protocol.types.prompts import Completion, GetPromptResult, PromptArgument, PromptEntry, PromptMessage

MAX_COMPLETIONS: Final = 100


class PromptOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the decorator was told."""

    name: str
    title: str | None = None
    description: str | None = None
    scopes: frozenset[str] | None = None
    public: bool = False
    icons: list[Icon] | None = None
    meta: dict[str, Any] | None = None
    single_use: bool = False


class Prompt:
    """A registered prompt."""

    def __init__(self, function: Callable[..., Any], options: PromptOptions) -> None:
        label = f"prompt {options.name!r}"
        self.name = options.name
        self.public, self.single_use = options.public, options.single_use
        self.scopes = effective_scopes(label, options.scopes, public=options.public)
        self._handler = Handler(function, label)
        self.choices = {name: _choices(hint) for name, (hint, _) in self._handler.parameters.items()}
        shown = [
            PromptArgument(name, _described(hint) or self._handler.described.get(name), default is NODEFAULT)
            for name, (hint, default) in self._handler.parameters.items()
        ]
        self.entry = PromptEntry(
            name=options.name,
            title=options.title,
            description=options.description or self._handler.text or options.name,
            arguments=shown or None,
            icons=options.icons,
            meta=options.meta,
        )

    def arguments(self, texts: dict[str, str]) -> dict[str, Any]:
        """The handler's arguments; raises `BadArguments`."""
        wanted = self._handler.parameters
        if unknown := texts.keys() - wanted.keys():
            raise BadArguments(f"{min(unknown)}: no such argument")
        converted: dict[str, Any] = {}
        for name, (hint, default) in wanted.items():
            if name in texts:
                try:
                    converted[name] = msgspec.convert(texts[name], hint, strict=False)
                except msgspec.ValidationError as error:
                    raise BadArguments(f"{name}: {readable(str(error))}") from error
            elif default is NODEFAULT:
                raise BadArguments(f"{name}: is required")
        return converted

    async def get(self, arguments: dict[str, Any], context: Callable[[], Context]) -> GetPromptResult:
        """The handler's messages; raises what it raises."""
        value = await self._handler(arguments, context)
        if isinstance(value, GetPromptResult):
            return value
        values = value if isinstance(value, list) else [value]
        return GetPromptResult(messages=[_message(one) for one in values], description=self.entry.description)


def _message(value: Any) -> PromptMessage:
    if isinstance(value, PromptMessage):
        return value
    return PromptMessage("user", value if isinstance(value, CONTENT_TYPES) else TextContent(str(value)))


def _described(hint: Any) -> str | None:
    """A text in `Annotated`."""
    extras = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return next((one for one in extras if isinstance(one, str)), None)


def _choices(hint: Any) -> tuple[str, ...]:
    """The texts that a parameter may be, where its type says so."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        return tuple(str(one) for one in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(one.value) for one in hint)
    return ()


class Completer:
    """A function that completes one argument: `(value: str)`, and `arguments: dict[str, str]` if it wants them."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self._handler = Handler(function, label)
        if not self._handler.parameters.keys() <= {"value", "arguments"}:
            raise UnsupportedType(f"{label}: a completion takes `value` and `arguments`")

    async def complete(self, value: str, arguments: dict[str, str], context: Callable[[], Context]) -> Completion:
        """What the handler offers; the first 100 of a longer list."""
        given = {"value": value, "arguments": arguments}
        offered = await self._handler({name: given[name] for name in self._handler.parameters}, context)
        if not isinstance(offered, Completion):
            return cut(list(offered))
        return msgspec.structs.replace(offered, values=offered.values[:MAX_COMPLETIONS])


def cut(values: list[str]) -> Completion:
    """At most 100 values, and whether there are more."""
    return Completion(values[:MAX_COMPLETIONS], len(values), len(values) > MAX_COMPLETIONS)
