"""The public names, and what importing a part of the package loads."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mcp_server

INIT = Path(mcp_server.__file__)
FRAMEWORKS = ("litestar", "pydantic", "pydantic_settings", "httpx", "loguru", "granian", "redis", "prometheus_client")


def _shown_to_type_checkers() -> dict[str, str]:
    """Name → module, from the imports that only a type checker sees."""
    (block,) = [node for node in ast.parse(INIT.read_text()).body if isinstance(node, ast.If)][:1]
    found = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in found for alias in node.names}


def _fresh(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_they_are_sorted_complete_and_the_same_for_type_checkers() -> None:
    assert mcp_server.__all__ == sorted(set(mcp_server.__all__))
    assert set(_shown_to_type_checkers()) | {"__version__"} == set(mcp_server.__all__)
    assert set(dir(mcp_server)) == set(mcp_server.__all__)


@pytest.mark.parametrize(("name", "module"), _shown_to_type_checkers().items())
def test_a_name_is_the_one_of_its_module(name: str, module: str) -> None:
    assert getattr(mcp_server, name) is getattr(import_module(module), name)


def test_all_of_them_are_imported_from_a_fresh_package() -> None:
    names = ", ".join(mcp_server.__all__)
    code = f"from mcp_server import *; print(create_app.__name__); from mcp_server import settings, {names}"
    assert _fresh(code) == "create_app\n"


def test_a_misspelt_name_is_an_import_error() -> None:
    name = "McpSevrer"
    with pytest.raises(AttributeError, match=name):
        getattr(mcp_server, name)


def test_the_protocol_loads_no_framework() -> None:
    code = (
        "import pkgutil, sys, importlib, mcp_server.protocol as package\n"
        "for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(found.name)\n"
        f"print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    )
    assert _fresh(code) == "[]\n"
