import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.rest.wire.transport.network import is_literal, public

INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "::127.0.0.1", "", "localhost", "1.2.3",
    "2001:0:7f00:1::1", "64:ff9b:1::808:808", "0.1.2.3", "100.100.100.200", "100.127.255.255", "168.63.129.16", "192.0.0.9", "192.0.0.192",
    "192.88.99.1", "198.19.255.255", "239.255.255.250", "250.1.2.3", "fec0::1", "fdff::1", "ff05::1", "100::1", "5f00::1", "4000::1",
    "2001:10::1", "2001:20::1", "2001:2::1", "3fff::1", "::ffff:0:7f00:1", "::ffff:0:808:808", "::808:808", "::ffff:100.64.0.1", "::ffff:0.0.0.0",
    "::ffff:168.63.129.16", "2002:a9fe:a9fe::1", "2002:a00:1::1", "2002:6440:1::", "2002:c000:9::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "64:ff9b::100.64.0.1", "64:ff9b::1:808:808", "2001:0:808:808::1", "2606:4700::5efe:a00:1", "2606:4700::200:5efe:7f00:1",
    "0177.0.0.1", "0x7f.1", "127.1", "2130706433", "1.2.3.4.5", "::1%lo", "[::1]", " 8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not public(address)


@given(st.integers(0, 2**32 - 1))
def test_a_disguise_is_worth_what_is_in_it(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    for start, last in (("::ffff:0:0", 0), ("64:ff9b::", 0), ("2002::", 80), ("2606:4700::5efe:0:0", 0)):
        outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(start)) | number << last)
        assert public(str(outer)) == public(str(inner))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "99.255.255.255",
        "168.63.129.17",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2606:4700::5efe:808:808",
    ],
)
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
