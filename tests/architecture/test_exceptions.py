"""An exception is never kept by a function that is in its traceback: the two of them would hold each other.

Such a circle ends when garbage is collected, and a worker counts objects until then, not bytes: calls that failed kept
their arguments and answers, megabytes each, and a caller could fill its memory with them.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import PRODUCT, name_of, tree

Function = ast.FunctionDef | ast.AsyncFunctionDef


def kept(module: ast.Module) -> list[str]:
    """The names that a function raises, or has made of what it caught, and does not delete."""
    functions = [one for one in ast.walk(module) if isinstance(one, Function)]
    return [f"{function.name}: {name}" for function in functions for name in _kept(function)]


def _kept(function: Function) -> set[str]:
    found = {*_raised(function, frozenset()), *_named(function)}
    deleted = (target for one in ast.walk(function) if isinstance(one, ast.Delete) for target in one.targets)
    return found - {one.id for one in deleted if isinstance(one, ast.Name)}


def _raised(node: ast.AST, caught: frozenset[str | None]) -> Iterator[str]:
    """`raise error`, but for a class and what an `except … as error` has named, which Python deletes."""
    if isinstance(node, ast.ExceptHandler):
        caught |= {node.name}
    if isinstance(node, ast.Raise):
        values = node.exc.values if isinstance(node.exc, ast.BoolOp) else [node.exc]
        names = [one.id for one in values if isinstance(one, ast.Name)]
        yield from (one for one in names if one not in caught and one[0].islower())
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, Function):
            yield from _raised(inner, caught)


def _named(function: Function) -> Iterator[str]:
    """`failed = error` and `failed.__cause__ = error` of what was caught."""
    for handler in ast.walk(function):
        if isinstance(handler, ast.ExceptHandler):
            for one in ast.walk(handler):
                if isinstance(one, ast.Assign) and _is(one.value, handler.name):
                    holders = (each.value if isinstance(each, ast.Attribute) else each for each in one.targets)
                    yield from (each.id for each in holders if isinstance(each, ast.Name))


def _is(value: ast.expr, name: str | None) -> bool:
    values = value.values if isinstance(value, ast.BoolOp) else [value]
    return any(isinstance(one, ast.Name) and one.id == name for one in values)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("try: g()\n except E as error: raise", []),
        ("try: g()\n except E as error: raise error", []),
        ("raise Failed", []),
        ("raise failed", ["f: failed"]),
        ("raise failed or Failed()", ["f: failed"]),
        ("try: raise failed\n finally: del failed", []),
        ("try: g()\n except E as error: failed = error", ["f: failed"]),
        ("try: g()\n except E as error: failed = failed or error", ["f: failed"]),
        ("try: g()\n except E as error: failed = str(error)", []),
        ("try: g()\n except E as error: failed.__cause__ = error", ["f: failed"]),
    ],
)
def test_one_that_is_kept_is_seen(body: str, found: list[str]) -> None:
    assert kept(ast.parse(f"def f(failed):\n {body}")) == found


def test_none_is_in_the_product() -> None:
    found = {name_of(path): kept(tree(path)) for path in PRODUCT}
    assert {path: names for path, names in found.items() if names} == {}
