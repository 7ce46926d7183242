"""A function → a prompt, and completions of arguments: what is typed is always text."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Unpack

import msgspec

from mcp_server.authoring import schema, texts
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, UnsupportedType
from mcp_server.authoring.schema_details import choices_of
from mcp_server.protocol.types.content import CONTENT_TYPES, TextContent
from mcp_server.protocol.types.prompts import Completion, GetPromptResult, PromptArgument, PromptEntry, PromptMessage
from mcp_server.registry import results
from mcp_server.registry.access import EntryOptions, ProtectedEntry
from mcp_server.registry.function import Handler, readable, settled
from mcp_server.registry.requirement import check_variables
from mcp_server.registry.signature import Parameter, check_options

MAX_COMPLETIONS: Final = 100
_COMPLETES: Final[dict[str, Any]] = {"value": "", "arguments": {"name": "text"}}
"""What a completion is called with, and a value of each."""


class PromptOptions(EntryOptions, total=False):
    """What `server.prompt` may be told beside the name."""


class Prompt(ProtectedEntry):
    """A registered prompt."""

    def __init__(self, function: Callable[..., Any], name: str, **options: Unpack[PromptOptions]) -> None:
        label = f"prompt {name!r}"
        check_options(label, options, PromptOptions)
        super().__init__(label, options)
        self.name = name
        self._handler = Handler(function, label)
        self.values = self._handler.values
        parameters = self._handler.parameters
        check_variables(label, self.scopes, lambda: settled(parameters))
        self.choices = {name: tuple(map(str, choices_of(one.hint))) for name, one in parameters.items()}
        self._readers = {name: texts.reader(one.hint) for name, one in parameters.items()}
        shown = [PromptArgument(name, _description(one), one.required) for name, one in parameters.items()]
        self.entry = PromptEntry(
            name=name,
            title=options.get("title"),
            description=options.get("description") or self._handler.text or name,
            arguments=shown or None,
            icons=options.get("icons"),
            meta=options.get("meta"),
        )

    def arguments(self, given: dict[str, str]) -> dict[str, Any]:
        """The handler's arguments; raises `BadArguments`."""
        wanted = self._handler.parameters
        if unknown := given.keys() - wanted.keys():
            raise BadArguments(f"{min(unknown)}: no such argument")
        if lacking := [name for name, one in wanted.items() if one.required and name not in given]:
            raise BadArguments(f"{lacking[0]}: is required")
        return self._handler.filled(self.settled(given))

    def settled(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Those of the handler's arguments that are given; raises `BadArguments`."""
        converted: dict[str, Any] = {}
        for name, parameter in self._handler.parameters.items():
            text = given.get(name)
            if text is None:
                continue
            try:
                converted[name] = self._readers[name](text)
            except msgspec.ValidationError as error:
                if text == "" and not parameter.required:
                    continue  # dialogs send it for what was left empty
                raise BadArguments(f"{name}: {readable(str(error))}") from error
        return converted

    async def get(self, arguments: dict[str, Any], context: Callable[[], Context]) -> GetPromptResult:
        """The handler's messages; raises what it raises."""
        value = await self._handler.run(arguments, context)
        if isinstance(value, GetPromptResult):
            return value
        values = value if isinstance(value, list | tuple) else [value]
        messages = [_message(one) for one in values if one is not None]
        return GetPromptResult(messages=messages, description=self.entry.description)


def _message(value: Any) -> PromptMessage:
    if isinstance(value, PromptMessage):
        return value
    if isinstance(value, CONTENT_TYPES):
        return PromptMessage("user", value)
    text = results.text(value) if isinstance(value, str) else results.encode(value).decode()
    return PromptMessage("user", TextContent(text))


def _description(parameter: Parameter) -> str | None:
    """What is said of an argument; where its text is JSON, whoever types it must know its schema."""
    if not texts.takes_json(parameter.hint):
        return parameter.description
    shown = f"JSON: {msgspec.json.encode(schema.value_schema(parameter.hint)).decode()}"
    return f"{parameter.description}\n{shown}" if parameter.description else shown


class Completer:
    """A function that completes one argument: `(value: str)`, and `arguments: dict[str, str]` if it wants them."""

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self._handler = Handler(function, label)
        if not self._handler.parameters.keys() <= _COMPLETES.keys():
            raise UnsupportedType(f"{label}: a completion takes `value` and `arguments`")
        for name, parameter in self._handler.parameters.items():
            try:
                msgspec.convert(_COMPLETES[name], parameter.hint)
            except msgspec.ValidationError as error:
                raise UnsupportedType(f"{label}: parameter {name!r}: {error}") from error

    async def complete(self, value: str, arguments: dict[str, str], context: Callable[[], Context]) -> Completion:
        """What the handler offers; the first 100 of a longer list."""
        given = {"value": value, "arguments": arguments}
        offered = await self._handler.run({name: given[name] for name in self._handler.parameters}, context)
        if not isinstance(offered, Completion):
            values = [offered] if isinstance(offered, str) else offered or ()
            return cut([results.text(one if isinstance(one, str) else str(one)) for one in values])
        return msgspec.structs.replace(offered, values=offered.values[:MAX_COMPLETIONS])


def cut(values: list[str]) -> Completion:
    """At most 100 values, and whether there are more."""
    return Completion(values[:MAX_COMPLETIONS], len(values), len(values) > MAX_COMPLETIONS)
