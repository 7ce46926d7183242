"""The caller's token is opened in one place: that no API is ever sent it begins here."""

import ast

from tests.architecture.source import PRODUCT, name_of, nodes

OPENED_BY = {"mcp_server/rest/exchange.py"}
OPENERS = {"reveal", "_Credential__token", "__token"}
ITS_OWN = "mcp_server/identity.py"


def test_one_module_opens_a_credential() -> None:
    found = {
        name_of(path)
        for path in PRODUCT
        if any(node.attr in OPENERS for node in nodes(path, ast.Attribute))
        or any(node.value in OPENERS for node in nodes(path, ast.Constant))  # getattr(credential, "reveal")
    }
    assert found - {ITS_OWN} <= OPENED_BY
