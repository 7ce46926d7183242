"""Sizes of modules, functions, folders and values, how values are made, and what no file may hold."""

import ast
import re
import subprocess
from collections import Counter

from tests.architecture.source import EVERYTHING, PRODUCT, ROOT, called, fields, functions, name_of, nodes, values

MAX_LINES = 400
MAX_FUNCTION = 45
MAX_MODULES = 12
MAX_FIELDS = 9
MAX_POSITIONAL = 4

WIRE = re.compile(r"mcp_server/(protocol/types|settings)/|devstack/realm/model\.py$")
"""Values whose members somebody else has chosen: MCP, the environment, Keycloak."""
WIDE = {
    "Decision": "a line of the audit: its members are the file's format",
    "Metadata": "a client's metadata as RFC 7591 has it",
    "Code": "authlib's AuthorizationCodeMixin reads each member by its name",
    "TaskRecord": "a task as it lies in the store",
    "Principal": "public: what a handler may ask of its caller",
    "Trace": "each traced call makes one, and a value within it would be a second",
    "Product": "a row of the table of products",
    "EngineConfig": "what settings say to the engine",
    "VerifiedClaims": "until `issued_at`, which nothing reads, is gone",
}
POSITIONAL = {
    "CachedToken": "until it takes keywords alone",
    "OpenedToken": "until it takes keywords alone",
}


def test_a_module_is_small() -> None:
    long = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in EVERYTHING}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_a_function_is_small() -> None:
    assert {name: lines for name, lines in functions() if lines > MAX_FUNCTION} == {}


def test_a_folder_holds_what_one_can_read_at_a_glance() -> None:
    modules = [path for path in PRODUCT if path.name not in ("__init__.py", "__main__.py")]
    held = Counter(name_of(path.parent) for path in modules)
    assert {folder: count for folder, count in held.items() if count > MAX_MODULES} == {}


def test_a_value_has_few_fields() -> None:
    found = {
        f"{name_of(path)}: {name} has {len(fields(node))}"
        for name, places in values().items()
        for path, node in places
        if len(fields(node)) > MAX_FIELDS and name not in WIDE and not WIRE.match(name_of(path))
    }
    assert found == set()


def test_a_value_of_many_fields_is_made_by_their_names() -> None:
    """A field put between others would else shift what comes after it, and a check would read another one's fact."""
    names = values().keys() - POSITIONAL.keys()
    found = {
        f"{name_of(path)}:{node.lineno}: {called(node.func)} of {len(node.args)}"
        for path in EVERYTHING
        for node in nodes(path, ast.Call)
        if len(node.args) > MAX_POSITIONAL and called(node.func) in names
    }
    assert found == set()


def test_an_exception_is_of_something_that_exists() -> None:
    known = values()
    assert {name for name in [*WIDE, *POSITIONAL] if name not in known} == set()


def test_no_connection_is_opened_past_the_contract_of_sockets() -> None:
    """import-linter sees whole packages; these openers are functions of ones that anybody may import."""
    metrics = "mcp_server/observe/admin/exporter.py"  # a process of its own, which nothing else imports
    openers = {"urlopen", "open_connection", "open_unix_connection", "create_connection", "start_server"}
    found = {
        f"{name_of(path)}:{node.lineno}"
        for path in PRODUCT
        if name_of(path).startswith("mcp_server/") and name_of(path) != metrics
        for node in nodes(path, ast.Call)
        if called(node.func) in openers
    }
    assert found == set()


def test_nothing_tracked_records_a_download_address() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    address = re.compile(r"--(extra-)?index-url|\"resolved\": \"http|registry\+http|/simple/")
    for name in listed:
        if name.endswith((".lock", ".toml", ".json", ".txt", ".in", ".sum", ".mod")):
            assert not address.search((ROOT / name).read_text("utf-8", "replace")), name
