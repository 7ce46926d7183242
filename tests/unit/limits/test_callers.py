"""Whom limits count for."""

import pytest

from mcp_server.limits import callers


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:0:8000::", "2001:db8::", True),
        ("2001:db8:0:1::1", "2001:db8::1", False),
        ("::1", "127.0.0.1", False),
        ("", "no address", True),
        ("", "192.0.2.1", False),
    ],
)
def test_a_stranger_is_its_address_and_in_ipv6_its_network(one: str, other: str, same: bool) -> None:
    assert (callers.key(None, one) == callers.key(None, other)) is same
    assert callers.is_stranger(callers.key(None, one))


def test_no_principal_is_taken_for_a_stranger_nor_one_for_it() -> None:
    principal = "https://issuer.example\n192.0.2.1"
    assert callers.key(principal, "192.0.2.1") == principal
    assert not callers.is_stranger(principal)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:5:77::1", "2001:db8:5::/48"),
        ("::1", "::/48"),
        ("", "\n"),
        ("no address", "\n"),
    ],
)
def test_the_network_of_a_stranger(address: str, network: str) -> None:
    assert callers.network(callers.key(None, address)) == network
