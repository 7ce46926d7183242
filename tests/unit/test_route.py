"""Which hosts a proxy is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.route import Route

PROXY = "http://proxy.test:3128"


LOOPBACK = (
    *("localhost", "LOCALHOST", "localhost.", "app.localhost", "a.b.LocalHost."),
    *("127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "0"),
    *("::1", "[::1]", "0:0:0:0:0:0:0:1", "::1%lo", "::", "[::ffff:127.0.0.1]", "::ffff:7f00:2", "::ffff:0.0.0.0"),
)
ELSEWHERE = (
    *("localhost.example.com", "mylocalhost", "localhost.localdomain", "127.0.0.1.example.com", "example.com", ""),
    *("126.255.255.255", "128.0.0.1", "0.0.0.1", "10.127.0.1", "::2", "::ffff:10.0.0.1", "fe80::1", "127.0.0.256"),
    *("127.0.0.1\0", "\ud800"),
)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_is_never_reached_through_a_proxy(host: str) -> None:
    assert Route(proxy=PROXY).through(host) == ""


@pytest.mark.parametrize("host", ELSEWHERE)
def test_what_only_looks_like_loopback_is_not_past_the_proxy(host: str) -> None:
    assert Route(proxy=PROXY).through(host) == PROXY


@pytest.mark.parametrize(
    ("pattern", "past", "through"),
    [
        ("example.com", ["example.com", "a.example.com", "EXAMPLE.com."], ["badexample.com", "example.com.evil.test"]),
        (".example.com", ["example.com", "a.b.example.com"], ["example.org"]),
        ("*.example.com", ["a.example.com"], ["example.community"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.0.0.1", "10.example.com"]),
        ("10.1.2.3/8", ["10.200.0.1"], ["192.168.0.1"]),
        ("fd00::/8", ["[fd00::1]", "fd12::2"], ["[2001:db8::1]"]),
        ("[fd00::1]", ["fd00::1"], ["fd00::2"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.70"]),
        (" svc ", ["keycloak.svc", "svc"], ["svc.test"]),
        ("*", ["anything.test", "192.0.2.1"], []),
    ],
)
def test_what_is_named_is_reached_directly(pattern: str, past: list[str], through: list[str]) -> None:
    route = Route(proxy=PROXY, direct=(pattern,))
    assert {route.through(host) for host in past} == {""}
    assert {route.through(host) for host in through} <= {PROXY}


@pytest.mark.parametrize("pattern", ["", " ", ".", "*.", "**", "10.0.0.0/99"])
def test_a_pattern_of_nothing_covers_nothing(pattern: str) -> None:
    assert Route(proxy=PROXY, direct=(pattern,)).through("example.com") == PROXY


@given(st.text(max_size=30), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_has_a_way_and_without_a_proxy_it_is_direct(host: str, direct: list[str]) -> None:
    assert Route(proxy=PROXY, direct=tuple(direct)).through(host) in ("", PROXY)
    assert Route(direct=tuple(direct)).through(host) == ""
