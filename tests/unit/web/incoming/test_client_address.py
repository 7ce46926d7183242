"""Who is believed about where a request comes from."""

from ipaddress import ip_network

import pytest

from mcp_server.web.incoming.client_address import MAX_FORWARDED, TrustedProxies

TRUSTED = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def found(proxies: TrustedProxies, peer: str, *forwarded: bytes) -> str:
    headers = [(b"host", b"h"), *((b"x-forwarded-for", one) for one in forwarded)]
    return proxies.address({"client": (peer, 1234), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", [b"192.0.2.9, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", [b"192.0.2.9", b"203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("203.0.113.7", [b"192.0.2.9"], "203.0.113.7"),
        ("10.0.0.1", [b"[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.0.0.1", [b"203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", [b"2001:DB8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", [b"203.0.113.7"], "203.0.113.7"),
        ("fd00::1", [b"203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", [b"203.0.113.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.7, \xff<script>, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"203.0.113.7," * MAX_FORWARDED + b"10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", [b"fe80::1%<script>"], "fe80::1"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("somewhere", [b"203.0.113.7"], "somewhere"),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy(peer: str, forwarded: list[bytes], expected: str) -> None:
    assert found(TRUSTED, peer, *forwarded) == expected


def test_nobody_is_believed_by_default_and_a_peer_may_be_unknown() -> None:
    assert found(TrustedProxies(), "10.0.0.1", b"203.0.113.7") == "10.0.0.1"
    assert TrustedProxies().address({"client": None, "headers": []}) == ""
