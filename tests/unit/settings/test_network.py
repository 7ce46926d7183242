"""The way out: authorities, a proxy, and what goes past it."""

from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.route import Route
from mcp_server.settings import SettingsError
from tests.kit.certificates import self_signed

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}


def problems(**given: str) -> list[str]:
    with pytest.raises(SettingsError) as found:
        settings.load({**GOOD, **{f"MCP_{name.upper()}": value for name, value in given.items()}})
    return found.value.problems


def test_nothing_is_between_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert settings.load(GOOD).network.route() == Route()


def test_an_authority_and_a_proxy_are_taken(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    given = {
        "MCP_CA_FILE": str(certificate),
        "MCP_PROXY": "http://u:pw@proxy.test:3128",
        "MCP_NO_PROXY": "svc, 10.0.0.0/8",
    }
    route = settings.load({**GOOD, **given}).network.route()
    assert route == Route(ca_file=str(certificate), proxy="http://u:pw@proxy.test:3128", direct=("10.0.0.0/8", "svc"))
    assert "pw" not in repr(route)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    _, key = self_signed(tmp_path)
    (tmp_path / "text.pem").write_text("nothing")
    for path in (key, tmp_path, tmp_path / "none.pem", tmp_path / "text.pem"):
        assert problems(ca_file=str(path)) == ["MCP_CA_FILE: must be a readable file of PEM certificates"]


@pytest.mark.parametrize(
    "url",
    [
        "proxy.test:3128",
        "socks5://proxy.test",
        "http://",
        "http://p:0",
        "http://p:x",
        "http://u:pw@p/path",
        "http://[x",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_told(url: str) -> None:
    assert problems(proxy=url) == ["MCP_PROXY: must be http://[user:password@]host:port, or environment"]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environment_is_asked_where_that_is_said(name: str) -> None:
    network = settings.load({**GOOD, "MCP_PROXY": "environment", "MCP_NO_PROXY": "b"}).network
    environment = {name: "http://proxy.test:3128", "NO_PROXY": "a, .c,"}
    assert network.route(environment) == Route(proxy="http://proxy.test:3128", direct=(".c", "a", "b"))
    assert network.route({}) == Route(direct=("b",))


def test_an_environment_with_what_is_no_proxy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "pw@nonsense")
    assert problems(proxy="environment") == [
        "MCP_PROXY: HTTPS_PROXY (ALL_PROXY) must be http://[user:password@]host:port"
    ]
