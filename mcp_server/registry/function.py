"""An author's function, read once: its parameters, its description, how it is called."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import NODEFAULT, UNSET, Meta

from mcp_server.authoring import schema
from mcp_server.authoring.constraints import with_description
from mcp_server.authoring.context import Context
from mcp_server.limits import threads
from mcp_server.protocol.param_headers import KEYWORD
from mcp_server.registry import signature
from mcp_server.registry.handler_errors import contained, ends_the_call
from mcp_server.registry.requirement import NeedsScopes
from mcp_server.registry.signature import Parameter


class Handler:
    """A function with the parameters a caller may give; an injected `Context` is not one of them.

    Raises `UnsupportedType` for what cannot be served.
    """

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        read = signature.read(function, label)
        self._function = _awaitable(function)
        self.text, self.parameters, self.returned = read.text, read.parameters, read.returned
        self.context = read.context
        self.whole: str | None = None
        """The parameter that takes all arguments at once."""
        self.wrap: Callable[[Any], Any] | None = None
        """Makes something of what it returned, in `run` for a coroutine less."""
        self._context_type = read.context_type

    def arguments_type(self, label: str) -> type[msgspec.Struct]:
        """A Struct of the parameters: what JSON arguments are decoded to."""
        fields = [
            (one.name, with_description(one.hint, one.description), _default(one)) for one in self.parameters.values()
        ]
        return msgspec.defstruct(f"{label}_arguments", fields, kw_only=True, forbid_unknown_fields=True)

    def shown_defaults(self) -> dict[str, Any]:
        """The defaults that a schema shows."""
        shown = {name: one.default for name, one in self.parameters.items() if one.default is not UNSET}
        return {name: default for name, default in shown.items() if default is not NODEFAULT}

    def filled(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments with the defaults of those left out: what is judged of a call is what its handler gets."""
        for name, one in self.parameters.items():
            if name not in arguments and not one.required:
                arguments[name] = one.default if one.factory is None else one.factory()
        return arguments

    def values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments by their names, which the variables of scopes are."""
        found = arguments if self.whole is None else arguments[self.whole]
        return found if isinstance(found, dict) else {}

    async def run(self, arguments: dict[str, Any], context: Callable[[], Context]) -> Any:
        """Run it, with a context made if it asks for one: the one place where an author's function is called.

        Raises an `Exception` of its own or `InputRequired`, and nothing else that it raises.
        """
        if self.context is not None:
            made = context()
            arguments[self.context] = made if self._context_type is Context else made.seen_as(self._context_type)
        try:
            returned = await self._function(**arguments)
        except BaseException as error:
            if ends_the_call(error) or (other := self._in_place_of(error, arguments)) is None:
                raise
        else:
            return returned if self.wrap is None else self.wrap(returned)
        # No circle may keep the arguments, megabytes of a caller's: neither with this frame, which is in the traceback,
        # nor with a group of which it is a part, which would be its context above.
        try:
            raise other from other.__cause__
        finally:
            del other

    def _in_place_of(self, error: BaseException, arguments: dict[str, Any]) -> BaseException | None:
        """What goes on in place of what the function raised; None where that does."""
        goes_on = contained(error)
        if isinstance(goes_on, NeedsScopes):
            return goes_on.within(self.values(arguments))
        return None if goes_on is error else goes_on


def settled(parameters: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """The parameters that each call gives a value, with their JSON Schemas."""
    return {name: schema.value_schema(one.hint) for name, one in parameters.items() if one.required}


def readable(message: str) -> str:
    """Msgspec's message with the path in front, as a model can use it: `order.id: expected int, got str`."""
    text, _, path = message.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    return f"{field}: {text}" if field else text


def _default(parameter: Parameter) -> Any:
    return parameter.default if parameter.factory is None else msgspec.field(default_factory=parameter.factory)


def _awaitable(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself when async; else a call in a thread of the pool, for it may block.

    A plain decorator over an async function, or a lambda, returns what is still to be awaited.
    """
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return function

    async def in_thread(**arguments: Any) -> Any:
        returned = await threads.run(functools.partial(function, **arguments))
        return await returned if inspect.isawaitable(returned) else returned

    return in_thread


def mcp_header(name: str) -> Meta:
    """In `Annotated`, has clients repeat a parameter as the header `Mcp-Param-{name}`, for proxies to route by."""
    return Meta(extra_json_schema={KEYWORD: name})
