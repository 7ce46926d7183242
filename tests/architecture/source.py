"""The project's source as syntax trees, for tests that look at its shape."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar, cast

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = sorted(
    path for folder in ("mcp_server", "devstack", "release") for path in (ROOT / folder).rglob("*.py")
)
EVERYTHING: Final = [
    *PRODUCT,
    *sorted(
        path
        for folder in ("tests", "bench")
        for path in (ROOT / folder).rglob("*.py")
        if not {"node_modules", ".build"} & {*path.parts}  # what others wrote: npm's tools, the peers of the benchmark
    ),
]
_VALUE_BASES: Final = frozenset({"Struct", "NamedTuple", "BaseModel", "BaseSettings"})


def name_of(path: Path) -> str:
    """A file as the repository names it."""
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    """A module, parsed once for all tests."""
    return ast.parse(path.read_text("utf-8"))


Node = TypeVar("Node", bound=ast.AST)


@functools.cache
def _walked(path: Path) -> dict[type[ast.AST], list[ast.AST]]:
    """The nodes of a module by their type, gone through once for all tests."""
    found: dict[type[ast.AST], list[ast.AST]] = {}
    for node in ast.walk(tree(path)):
        found.setdefault(type(node), []).append(node)
    return found


def nodes(path: Path, kind: type[Node]) -> list[Node]:
    """The nodes of a module that are of this very type."""
    return cast("list[Node]", _walked(path).get(kind, []))


def classes(path: Path) -> list[ast.ClassDef]:
    """The classes of a module."""
    return nodes(path, ast.ClassDef)


def functions() -> Iterator[tuple[str, int]]:
    """The functions of the product by place, with the lines of their bodies; docstrings are none of them."""
    for path in PRODUCT:
        found: list[ast.FunctionDef | ast.AsyncFunctionDef] = [
            *nodes(path, ast.FunctionDef),
            *nodes(path, ast.AsyncFunctionDef),
        ]
        for node in found:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield f"{name_of(path)}: {node.name}", lines


def called(node: ast.expr) -> str:
    """The last name of an expression: of a base class, a decorator, a callee."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return called(inner)
        case _:
            return ""


@functools.cache
def values() -> dict[str, list[tuple[Path, ast.ClassDef]]]:
    """The classes that are values (structs, dataclasses, models), by name, those that inherit from one among them."""
    known = [(path, node) for path in EVERYTHING for node in classes(path)]
    names = set(_VALUE_BASES)
    while True:
        more = {
            node.name
            for _, node in known
            if any(called(base) in names for base in node.bases)
            or any(called(decorator) == "dataclass" for decorator in node.decorator_list)
        }
        if more <= names:
            break
        names |= more
    return {name: [(path, node) for path, node in known if node.name == name] for name in names - _VALUE_BASES}


def fields(node: ast.ClassDef) -> list[str]:
    """The names of a value's own fields."""
    annotated = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    return [ast.unparse(item.target) for item in annotated if called(item.annotation) != "ClassVar"]
