"""The public names: sorted, importable, and all there are. What an author's code may meet has a name that it can import."""

import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import mcp_server
from mcp_server.authoring import errors

OWN = "mcp_server."
RAISED = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
FOR_OPERATORS = {"McpPlugin", "Settings"}
"""What is made of them is the product's own."""
UNNAMED = {
    "mcp_server.protocol.types.inputs.InputRequest",
    "mcp_server.registry.requirement.Requirement",
    "mcp_server.registry.scope_pattern.ScopePattern",
    *(f"mcp_server.registry.{kind.lower()}.{kind}{what}" for kind in ("Tool", "Resource", "Prompt") for what in ("", "Options")),
}  # fmt: skip
"""What signatures name and no author makes or catches: a question's form on the wire, what `any_of` makes, what is
registered, and the options, which are written as keywords."""


def test_they_are_sorted_and_each_stands_once() -> None:
    assert mcp_server.__all__ == sorted(set(mcp_server.__all__))


def test_each_can_be_imported() -> None:
    space: dict[str, Any] = {}
    exec("from mcp_server import *", space)
    assert space.keys() - {"__builtins__"} == set(mcp_server.__all__)


def test_none_is_missing() -> None:
    bound = {name for name in dir(mcp_server) if not name.startswith("_")}
    public = {name for name in bound if not isinstance(getattr(mcp_server, name), types.ModuleType)}
    assert public | {"__version__"} == set(mcp_server.__all__)


def classes(hint: Any) -> Iterator[type]:
    """Our own classes in an annotation."""
    for part in typing.get_args(hint):
        yield from classes(part)
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, list | tuple):
        for part in kind:
            yield from classes(part)
    elif inspect.isclass(kind) and kind.__module__.startswith(OWN):
        yield kind


def named_by(public: Any) -> Iterator[type]:
    """Our own classes that a public function, or a public method or field of a class, takes or gives."""
    if inspect.isclass(public):
        if issubclass(public, BaseException) or not public.__module__.startswith(OWN):
            return
        for name, member in vars(public).items():
            if not name.startswith("_"):
                yield from named_by(member.fget if isinstance(member, property) else member)
        for name, hint in typing.get_type_hints(public).items():
            if not name.startswith("_"):
                yield from classes(hint)
    elif inspect.isfunction(public):
        for hint in hints(public):
            yield from classes(hint)


def hints(function: Any) -> list[Any]:
    try:
        return list(typing.get_type_hints(function).values())
    except NameError:  # an alias of Litestar's holds a text that only its module can read
        return []


def documented(public: Any) -> set[str]:
    """The exceptions that the docstrings of a public name tell of."""
    texts = [inspect.getdoc(public) or ""]
    if inspect.isclass(public):
        texts += [inspect.getdoc(member) or "" for name, member in vars(public).items() if not name.startswith("_")]
    return set(re.findall(r"`(\w+)`", " ".join(texts))) & RAISED


@pytest.mark.parametrize("name", sorted(set(mcp_server.__all__) - FOR_OPERATORS))
def test_what_a_public_name_takes_or_gives_is_public(name: str) -> None:
    public = {getattr(mcp_server, one) for one in mcp_server.__all__ if one != "__version__"}
    unnamed = {kind for kind in named_by(getattr(mcp_server, name)) if kind not in public}
    assert {f"{kind.__module__}.{kind.__qualname__}" for kind in unnamed} <= UNNAMED
    assert documented(getattr(mcp_server, name)) <= set(mcp_server.__all__)
