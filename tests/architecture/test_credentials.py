"""The caller's token is opened in one place: that no API is ever sent it begins here."""

import ast

from tests.architecture.source import PRODUCT, name_of, nodes

OPENED_BY = {"mcp_server/rest/exchange.py"}
OPENERS = {"reveal", "_Credential__token", "__token"}
SEALED_BY = {"mcp_server/engine/methods/task_jobs.py"}
SEALERS = {"sealed_with", "unsealed"}
ITS_OWN = "mcp_server/identity.py"


def test_one_module_opens_a_credential() -> None:
    assert _using(OPENERS) - {ITS_OWN} <= OPENED_BY


def test_one_module_has_it_sealed() -> None:
    """What seals sees the token: a key that is none would be another way to open it."""
    assert _using(SEALERS) - {ITS_OWN} == SEALED_BY


def _using(names: set[str]) -> set[str]:
    return {
        name_of(path)
        for path in PRODUCT
        if any(node.attr in names for node in nodes(path, ast.Attribute))
        or any(node.value in names for node in nodes(path, ast.Constant))  # getattr(credential, "reveal")
    }
