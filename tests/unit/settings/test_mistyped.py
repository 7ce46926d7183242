"""A setting as a person mistypes it: the line names it and its form, in words of ours."""

import pytest

from mcp_server import settings
from mcp_server.settings import SettingsError, catalogue
from mcp_server.settings.catalogue import Row

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}
ROWS = catalogue.rows()


def problems(given: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load(given)
    return found.value.problems


ODD = (
    *",/",
    "[]",
    "{}",
    "[1]",
    '{"a": 1}',
    '{"a": [1]}',
    "[[]]",
    "a=b",
    "['a']",
    "x y",
    "5s",
    "4MB",
    '"',
    "null",
    "\x00",
    "*",
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_problem_is_told_in_the_words_of_a_library(row: Row) -> None:
    """`String should match pattern '^/[A-Za-z0-9._~/-]*$'` was what a path without its slash got."""
    for text in ODD:
        found = settings.validate(settings.Found({**GOOD, row.name: text}, [], frozenset(), frozenset()))
        for line in found.problems:
            assert line.startswith(("MCP_", "vault:")), line
            assert not {"Input", "Value", "String", "should", "validation"} & {*line.split()}, line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MCP_SCOPE_IMPLIES", "mcp:write=mcp:read", 'must be JSON, such as {"mcp:write": ["mcp:read"]}'),
        ("MCP_ROLE_SCOPES", "{'editor': ['x']}", 'must be JSON, such as {"editor": ["mcp:write"]}'),
        ("MCP_LIMITS", "100/s", 'must be JSON, such as {"*": ["500/s"]'),
        ("MCP_UPSTREAM_SECRETS", "orders=x", 'must be JSON, such as {"orders": "..."}'),
        ("MCP_AUDIENCES", "['a']", 'must be JSON, such as ["one", "another"], or else words between blanks or commas'),
        ("MCP_ISSUER", "https://a.example, https://b.example", 'must be JSON, such as ["https://a.example.com'),
        ("MCP_ISSUER", "['https://a.example']", 'must be JSON, such as ["https://a.example.com'),
        ("MCP_PATH", "mcp", "must be a path such as /mcp"),
        ("MCP_HOST", "0.0.0.0:8000", "must be an IP address or a host name, without scheme, brackets and port"),
        ("MCP_HOST", "http://0.0.0.0", "must be an IP address or a host name"),
        ("MCP_HOST", "a..b", "must be an IP address or a host name"),
        ("MCP_HOST", "a" * 64, "must be an IP address or a host name"),
        ("MCP_ADMIN_HOST", "[::]", "must be an IP address or a host name"),
        ("MCP_TRUSTED_PROXIES", "nginx", "word 1 is no address (10.0.0.7) and no network (10.0.0.0/8)"),
        ("MCP_TRUSTED_PROXIES", "127.0.0.1 10.0.0.1/8", "word 2 is an address within a network"),
        ("MCP_TRUSTED_PROXIES", "[10]", "word 1 is no address"),
    ],
)
def test_a_setting_that_was_mistyped_learns_its_form(name: str, value: str, said: str) -> None:
    (line,) = problems({**GOOD, name: value})
    assert line.startswith(f"{name}: {said}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "mcp-1.internal", "a_b"])
def test_what_can_be_listened_on_is_taken(host: str) -> None:
    assert settings.load({**GOOD, "MCP_HOST": host}).http.host == host


def test_one_issuer_may_be_an_object_or_a_text_of_json() -> None:
    for text in ('{"issuer": "https://a.example", "persons": "rfc9068"}', '"https://a.example"'):
        assert [one.issuer for one in settings.load({"MCP_ISSUER": text}).auth.issuer] == ["https://a.example"]
