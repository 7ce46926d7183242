import pytest

from mcp_server.rest.wire.transport.network import is_literal, public

INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "::127.0.0.1", "", "localhost", "1.2.3",
    "2001:0:7f00:1::1", "64:ff9b:1::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is(address: str) -> None:
    assert public(address)


def test_a_literal_is_told_from_a_name() -> None:
    assert [is_literal(host) for host in ("127.0.0.1", "::1", "localhost", "2130706433", "0x7f.1")] == [
        True,
        True,
        False,
        False,
        False,
    ]
