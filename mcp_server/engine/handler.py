"""An author's function, read once: its parameters, its description, how it is called."""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import NODEFAULT, Meta

from mcp_server.engine import docstrings, threads
from mcp_server.engine.context import Context
from mcp_server.engine.errors import UnsupportedType
from mcp_server.protocol.param_headers import KEYWORD

_SCOPE_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F))) - set('"\\')


class Handler:
    """A function with the parameters a caller may give; an injected `Context` is not one of them.

    Raises `UnsupportedType` for parameters that cannot be named in JSON or have no annotation.
    """

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self.function = _awaitable(function)
        self.text, self.described = docstrings.read(function)
        hints = typing.get_type_hints(function, include_extras=True)
        self.returned = hints.pop("return", Any)
        self.context: str | None = None
        self.parameters: dict[str, tuple[Any, Any]] = {}
        for parameter in inspect.signature(function).parameters.values():
            if hints.get(parameter.name) is Context:
                self.context = parameter.name
            else:
                self.parameters[parameter.name] = _parameter(parameter, hints, label)

    def arguments_type(self, label: str) -> type[msgspec.Struct]:
        """A Struct of the parameters: what JSON arguments are decoded to."""
        fields = [
            (name, _annotated(hint, self.described.get(name)), _default(default))
            for name, (hint, default) in self.parameters.items()
        ]
        return msgspec.defstruct(f"{label}_arguments", fields, kw_only=True, forbid_unknown_fields=True)

    async def __call__(self, arguments: dict[str, Any], context: Callable[[], Context]) -> Any:
        """Run it, with a context made if it asks for one; raises what it raises."""
        if self.context is not None:
            arguments[self.context] = context()
        return await self.function(**arguments)


def scope_set(scopes: Any) -> frozenset[str] | None:
    """Declared scopes, checked; None stands for the server's default ones."""
    if scopes is None:
        return None
    if isinstance(scopes, str):
        raise TypeError("scopes is a set of texts, not one text")
    found = frozenset(scopes)
    for scope in found:
        if not scope or not _SCOPE_CHARACTERS.issuperset(scope):
            raise ValueError(f"scope {scope!r} is no scope-token (RFC 6749 §3.3)")
    if not found:
        raise ValueError("an empty set of scopes: say public=True for what needs no token")
    return found


def effective_scopes(label: str, scopes: Any, *, public: bool) -> frozenset[str] | None:
    """What is needed: nothing when public, else what was declared, None for the default."""
    if public and scopes:
        raise ValueError(f"{label} cannot be public and need scopes")
    return frozenset() if public else scope_set(scopes)


def readable(message: str) -> str:
    """Msgspec's message with the path in front, as a model can use it: `order.id: expected int, got str`."""
    text, _, path = message.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    return f"{field}: {text}" if field else text


def _parameter(parameter: inspect.Parameter, hints: dict[str, Any], label: str) -> tuple[Any, Any]:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise UnsupportedType(f"{label}: parameter {parameter.name!r} cannot be named in JSON")
    if parameter.name not in hints:
        raise UnsupportedType(f"{label}: parameter {parameter.name!r} has no annotation")
    default = NODEFAULT if parameter.default is parameter.empty else parameter.default
    return hints[parameter.name], default


def _default(default: Any) -> Any:
    return msgspec.field(default_factory=default.copy) if isinstance(default, list | dict | set) else default


def _awaitable(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself when async; else a call in a thread of the pool, for it may block."""
    if inspect.iscoroutinefunction(function):
        return function

    async def in_thread(**arguments: Any) -> Any:
        return await threads.run(functools.partial(function, **arguments))

    return in_thread


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


def mcp_header(name: str) -> Meta:
    """In `Annotated`, has clients repeat a parameter as the header `Mcp-Param-{name}`, for proxies to route by."""
    return Meta(extra_json_schema={KEYWORD: name})
