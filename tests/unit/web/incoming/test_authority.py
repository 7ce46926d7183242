"""Whose Host and Origin are ours: read strictly, whatever stands round a name of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.web.incoming import request_guard
from mcp_server.web.incoming.authority import name_of, origin_name
from mcp_server.web.incoming.request_guard import HttpPolicy

OURS = (b"localhost", b"127.0.0.1", b"[::1]", b"mcp.example:8443", b"mcp.example")
POLICY = HttpPolicy(
    hosts=frozenset({b"localhost", b"127.0.0.1", b"[::1]", b"mcp.example:8443"}),
    origins=frozenset({b"https://mcp.example:8443"}),
    loopback_origins=True,
)
NONE = frozenset[bytes]()


def judged(host: bytes, origin: bytes | None = None, twice: frozenset[bytes] = NONE) -> int:
    fields = {b"host": host} | ({} if origin is None else {b"origin": origin})
    refused = request_guard.check(fields, "GET", POLICY, twice)
    return 200 if refused is None else refused.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200),
        (b"LOCALHOST:80", 200),
        (b"localhost:", 200),
        (b"127.0.0.1:65535", 200),
        (b"[::1]", 200),
        (b"[::1]:5", 200),
        (b"[0:0:0:0:0:0:0:1]:5", 200),
        (b"mcp.example:8443", 200),
        (b"MCP.example:8443", 200),
        (b"mcp.example", 403),
        (b"mcp.example:443", 403),
        (b"localhost.", 403),
        (b"localhost.evil.example", 403),
        (b"evil.example", 403),
        (b"[::2]", 403),
        (b"127.1", 403),
        (b"", 400),
        (b":80", 400),
        (b"localhost:65536", 400),
        (b"localhost:evil.example", 400),
        (b"localhost:1@evil.example", 400),
        (b"user@localhost", 400),
        (b"user:pw@localhost", 400),
        (b"localhost:80:80", 400),
        (b"localhost:+80", 400),
        (b"localhost:\xd9\xa1", 400),
        (b"localhost localhost", 400),
        (b" localhost", 400),
        (b"localhost,evil.example", 400),
        (b"localhost/", 400),
        (b"localhost#", 400),
        (b"localhost\\", 400),
        (b"local%68ost", 400),
        (b"\xff\xfe", 400),
        (b"[::1", 400),
        (b"::1", 400),
        (b"[localhost]", 400),
        (b"[::1%25eth0]", 400),
        (b"[::1]evil", 400),
        (b"[:::1]", 400),
        (b"a" * 256, 400),
        (b"http://localhost", 400),
    ],
)
@pytest.mark.requirement("2.2")
def test_a_host(host: bytes, status: int) -> None:
    assert judged(host) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"https://mcp.example:8443", 200),
        (b"HTTPS://MCP.example:8443", 200),
        (b"http://localhost", 200),
        (b"http://LOCALHOST:9", 200),
        (b"https://127.0.0.1:1", 200),
        (b"http://[::1]:3", 200),
        (b"https://mcp.example", 403),
        (b"http://mcp.example:8443", 403),
        (b"null", 403),
        (b"", 403),
        (b"http://localhost.", 403),
        (b"http://localhost:1@evil.example", 403),
        (b"http://user@localhost", 403),
        (b"http://localhost:evil.example", 403),
        (b"http://localhost:99999", 403),
        (b"http://localhost/", 403),
        (b"http://localhost http://evil.example", 403),
        (b"http://localhost,http://evil.example", 403),
        (b"http://localhost\\@evil.example", 403),
        (b"http://127.1", 403),
        (b"http://0.0.0.0:3", 403),
        (b"file://localhost", 403),
        (b"chrome-extension://localhost", 403),
        (b"javascript://localhost", 403),
        (b"//localhost", 403),
    ],
)
@pytest.mark.requirement("2.2")
def test_an_origin(origin: bytes, status: int) -> None:
    assert judged(b"localhost", origin) == status


@pytest.mark.parametrize("name", sorted(request_guard.SINGLE))
def test_a_header_that_stands_once_is_not_sent_twice(name: bytes) -> None:
    """RFC 9112 §3.2 for Host; of two Origins a proxy may have judged the other one."""
    assert judged(b"localhost", b"http://localhost", frozenset({name})) == 400
    assert judged(b"localhost", None, frozenset({b"accept", b"x-a"})) == 200


def test_a_route_that_is_asked_by_address_still_needs_a_host_that_is_one() -> None:
    for host, fine in ((b"10.1.2.3:8000", True), (b"evil.example", True), (b"a@b", False), (b"", False)):
        assert (request_guard.check_host({b"host": host}, POLICY, NONE, listed=False) is None) is fine
    for optional in (True, False):
        found = request_guard.check_host({}, POLICY, NONE, listed=False, optional=optional)
        assert (found is None) is optional
    assert request_guard.check_host({b"host": b"a@b"}, POLICY, NONE, listed=False, optional=True) is not None


@pytest.mark.parametrize(
    ("coding", "status"),
    [
        (b"gzip", 415),
        (b"br", 415),
        (b"zstd", 415),
        (b"x", 415),
        (b"identity, gzip", 415),
        (b"Identity", 200),
        (b"", 200),
    ],
)
def test_a_coded_body_is_not_unpacked(coding: bytes, status: int) -> None:
    """RFC 9110 §15.5.16: 415 with `Accept-Encoding` says what would do; a bomb is never unpacked."""
    fields = {b"host": b"localhost", b"content-type": b"application/json", b"content-encoding": coding}
    refused = request_guard.check(fields, "POST", POLICY)
    assert (200 if refused is None else refused.status) == status
    assert refused is None or (b"accept-encoding", b"identity") in refused.headers


HOSTILE = st.text(st.sampled_from("abclohst.:@[]/\\#?%0159 \t,-_\u00e9"), max_size=30).map(
    lambda text: text.encode("utf-8")
)
AROUND = st.tuples(HOSTILE, st.sampled_from(OURS), HOSTILE).map(b"".join) | HOSTILE | st.binary(max_size=20)


@given(AROUND)
def test_a_name_is_a_name_and_a_port_a_number(authority: bytes) -> None:
    name = name_of(authority)
    if name is not None:
        rest = authority.lower()[len(name) :] if not authority.startswith(b"[") else authority.partition(b"]")[2]
        assert not set(b"@/\\#?, \t") & set(authority)
        assert rest == b"" or (rest[:1] == b":" and (rest[1:] == b"" or 0 <= int(rest[1:]) <= 65535))


@given(AROUND)
def test_what_is_let_in_is_on_the_list(host: bytes) -> None:
    """Whatever stands before or behind: only a whole name of the list, with or without a port, is ours."""
    if judged(host) == 200:
        assert name_of(host) in {b"localhost", b"127.0.0.1", b"[::1]"} or host.lower() == b"mcp.example:8443"


@given(AROUND, st.sampled_from([b"http://", b"https://", b"ftp://", b"", b"HTTP://"]))
def test_an_origin_that_is_let_in_is_on_the_list(authority: bytes, scheme: bytes) -> None:
    origin = scheme + authority
    if judged(b"localhost", origin) == 200:
        assert origin.lower() == b"https://mcp.example:8443" or (
            scheme.lower() in (b"http://", b"https://")
            and origin_name(origin) in {b"localhost", b"127.0.0.1", b"[::1]"}
        )
