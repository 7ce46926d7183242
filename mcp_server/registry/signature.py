"""An author's function, read once: its parameters, what it returns, where the context goes, what it says of itself.

What cannot be served is refused here, at registration, by the names that the author knows: the tool, the parameter,
the type, and what to write in its place.
"""

import copy
import difflib
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import NODEFAULT, UNSET

from mcp_server.authoring import constraints, docstrings, json_types
from mcp_server.authoring.constraints import UNIONS
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import UnsupportedType

_UNNAMEABLE: Final = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.POSITIONAL_ONLY,
)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that a caller may give: its type with constraints, what is said of it, its default."""

    name: str
    hint: Any
    default: Any
    description: str | None = None
    factory: Callable[[], Any] | None = None

    @property
    def required(self) -> bool:
        """Whether the caller must give it."""
        return self.default is NODEFAULT


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a function takes, returns and says. `context` is the parameter that the context is injected as."""

    parameters: dict[str, Parameter]
    returned: Any
    text: str
    context: str | None = None
    context_type: type[Context] = Context


def read(function: Callable[..., Any], label: str) -> Signature:
    """The signature of a function, method, partial or callable object; raises `UnsupportedType`."""
    plain, bound = _plain(function, label)
    signature = _signature(function, label)
    hints = _hints(plain, label)
    contexts = {name: kind for name in signature if (kind := _context(hints.get(name), f"{label}: parameter {name!r}"))}
    if len(contexts) > 1:
        raise UnsupportedType(f"{label}: parameters {' and '.join(map(repr, contexts))} are both the context; take one")
    text, described = docstrings.read(_documentation(function, plain), signature.keys(), hidden=contexts)
    parameters = {
        name: _parameter(parameter, hints, described.get(name), label)
        for name, parameter in signature.items()
        if name not in contexts and name not in bound
    }
    context = next(iter(contexts), None)
    return Signature(
        parameters=parameters,
        returned=_awaited(hints.get("return", Any)),
        text=text,
        context=context,
        context_type=contexts.get(context or "", Context),
    )


def name_of(function: Callable[..., Any], write: str) -> str:
    """The function's own name; raises `TypeError` for what has none, with what to write over it."""
    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str):
        raise TypeError(f"{function!r} has no name of its own: write {write} over it")
    return name


def check_options(label: str, options: Mapping[str, Any], kind: Any) -> None:
    """Raise `TypeError` for an option that the TypedDict `kind` does not have: at run time it takes any.

    Nor may a text stand for a truth: `public="no"` would open a tool to everybody.
    """
    known = kind.__annotations__
    for name, given in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"{label}: {name} is no option; {hint}")
        if known[name] is bool and not isinstance(given, bool):
            raise TypeError(f"{label}: {name} is True or False, and not {given!r}")


def _plain(function: Callable[..., Any], label: str) -> tuple[Callable[..., Any], frozenset[str]]:
    """What holds the annotations, and the keywords that a partial has bound.

    A partial's keyword may be overridden in Python; here it is the author's word, as a key or a tenant would be, and no
    caller sees it.
    """
    bound: frozenset[str] = frozenset()
    while isinstance(function, functools.partial):
        bound |= function.keywords.keys()
        function = function.func
    if inspect.isclass(function) or not callable(function):
        raise UnsupportedType(f"{label}: {function!r} is no function; register a function or a bound method")
    plain = function if inspect.isroutine(function) else getattr(function, "__call__")  # noqa: B004, B009 - its method
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise UnsupportedType(f"{label}: a generator is not served; return a list, and tell progress by ctx.progress()")
    return plain, bound


def _signature(function: Callable[..., Any], label: str) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except ValueError as error:  # what is written in C may have none
        raise UnsupportedType(f"{label}: {error}; wrap it in a function with annotations") from error


def _hints(plain: Callable[..., Any], label: str) -> dict[str, Any]:
    """The annotations, resolved: those that are texts are looked up in the function's module."""
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception as error:
        for name, annotation in getattr(plain, "__annotations__", {}).items():
            try:
                typing.get_type_hints(_only(plain, name, annotation))
            except Exception as inner:  # noqa: BLE001 - any expression may stand in an annotation
                where = "the result" if name == "return" else f"parameter {name!r}"
                raise UnsupportedType(f"{label}: {where}: {annotation!r} is not known: {_reason(inner)}") from error
        raise UnsupportedType(f"{label}: annotations cannot be read: {error}") from error


def _only(plain: Any, name: str, annotation: Any) -> Any:
    """A stand-in with one of the annotations, in the same module."""

    def stand_in() -> None: ...

    stand_in.__annotations__ = {name: annotation}
    stand_in.__wrapped__ = plain  # type: ignore[attr-defined]  # get_type_hints takes the names that are known from it
    return stand_in


def _awaited(hint: Any) -> Any:
    """What a function that returns an `Awaitable[int]` or a coroutine comes to: that is awaited before it is sent."""
    kind = typing.get_origin(hint) or hint
    if not (inspect.isclass(kind) and issubclass(kind, Awaitable)):
        return hint
    return (typing.get_args(hint) or (Any,))[-1]


def _reason(error: Exception) -> str:
    if isinstance(error, NameError):
        return f"{error}; import it where the module runs, not under TYPE_CHECKING"
    return str(error)


def _context(hint: Any, place: str) -> type[Context] | None:
    """The class of context that an annotation asks for: `Context`, `Context | None`, `Annotated`, a subclass."""
    if typing.get_origin(hint) is Annotated:
        return _context(typing.get_args(hint)[0], place)
    if typing.get_origin(hint) in UNIONS:
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        return _context(others[0], place) if len(others) == 1 else None
    if not inspect.isclass(hint) or typing.get_origin(hint) is not None or not issubclass(hint, Context):
        return None
    if hint.__init__ is not Context.__init__:
        raise UnsupportedType(f"{place}: a subclass of Context has no constructor of its own")
    return hint


def _documentation(function: Callable[..., Any], plain: Callable[..., Any]) -> str:
    """A callable object's is that of its `__call__`, else of its class; all others have their own."""
    while isinstance(function, functools.partial):
        function = function.func
    if function is plain:
        return inspect.getdoc(function) or ""
    return inspect.cleandoc(plain.__doc__ or type(function).__doc__ or "")


def _parameter(parameter: inspect.Parameter, hints: dict[str, Any], documented: str | None, label: str) -> Parameter:
    place = f"{label}: parameter {parameter.name!r}"
    if parameter.kind in _UNNAMEABLE:
        raise UnsupportedType(f"{place} cannot be named in JSON; take named parameters")
    if parameter.name not in hints:
        unbound = "; register the bound method" if parameter.name in ("self", "cls") else ""
        raise UnsupportedType(f"{place} has no annotation{unbound}")
    try:
        return _typed(parameter, hints[parameter.name], documented)
    except UnsupportedType as error:
        raise UnsupportedType(f"{place}: {error}") from error


def _typed(parameter: inspect.Parameter, hint: Any, documented: str | None) -> Parameter:
    described = constraints.honoured(hint)
    found, description = described.hint, described.description
    default: Any = NODEFAULT if parameter.default is parameter.empty else parameter.default
    factory: Callable[[], Any] | None = None
    if constraints.is_field(default):
        found, description = constraints.with_field(found, default), default.description or description
        field, default = default, NODEFAULT
    else:
        field = next((one for one in _extras(hint) if constraints.is_field(one) and default is NODEFAULT), None)
    if field is not None and not field.is_required():
        factory = field.default_factory
        default = field.default if factory is None else factory()
        if factory is not None and factory() != default:
            default = UNSET  # an id, a time: made for each call, not shown
    if default is None and not _takes_none(found):
        found = found | None
    json_types.check(found)
    _check_default(default, found)
    return Parameter(
        name=parameter.name,
        hint=found,
        default=default,
        description=description or documented,
        factory=factory or _renewed(default),
    )


def _extras(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()


def _takes_none(hint: Any) -> bool:
    try:
        msgspec.convert(None, hint)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _check_default(default: Any, hint: Any) -> None:
    """A default must fit its own schema: clients send what they are shown."""
    if default is NODEFAULT or default is UNSET:
        return
    try:
        msgspec.json.decode(msgspec.json.encode(default), type=hint)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise UnsupportedType(f"the default {default!r} does not fit the type: {error}") from error


def _renewed(default: Any) -> Callable[[], Any] | None:
    """How a default is made anew for each call, where one call could change it for the next."""
    try:
        hash(default)
    except TypeError:
        return functools.partial(copy.deepcopy, default)
    return None
