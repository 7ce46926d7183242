"""The head of a request: what it says, and what never makes another request of it."""

import pytest

from mcp_server.rest.wire.transport.heads import head


def test_a_head_as_it_goes_out() -> None:
    found = head("GET", "/a%2Fb?q=%5B'&x=a+b", "api.example.test:8443", [("x-a", "\xe9\t"), ("cookie", "a=b")], 0)
    assert found == (
        b"GET /a%2Fb?q=%5B'&x=a+b HTTP/1.1\r\nhost: api.example.test:8443\r\nx-a: \xc3\xa9\t\r\ncookie: a=b\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "length", "told"),
    [
        ("GET", 0, False),
        ("HEAD", 0, False),
        ("POST", 0, True),
        ("DELETE", 0, True),
        ("QUERY", 7, True),
        ("GET", 7, True),
    ],
)
def test_a_length_is_told_where_a_server_expects_one(method: str, length: int, told: bool) -> None:
    found = head(method, "/", "h", [], length)
    assert (b"\r\ncontent-length: %d\r\n\r\n" % length in found) is told
    assert (b"content-length" in found) is told


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "a\r\nb", "é", "Host", "content-length", "Transfer-Encoding", "expect"]
)
def test_a_name_that_is_none_or_frames_the_request_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="that frames it"):
        head("GET", "/", "h", [(name, "x")], 0)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\r\n\r\nGET / HTTP/1.1", "\0", "\x01", "\x7f"])
def test_a_control_character_is_refused_wherever_it_stands(value: str) -> None:
    for target, host, headers in ((value, "h", []), ("/", value, []), ("/", "h", [("x", value)])):
        with pytest.raises(ValueError, match=r"that frames it|a control character"):
            head("GET", target, host, headers, 0)


@pytest.mark.parametrize(("method", "target"), [("GET /", "/"), ("", "/"), ("G\r\nT", "/"), ("GET", "/ HTTP/1.0")])
def test_a_request_line_has_three_parts(method: str, target: str) -> None:
    with pytest.raises(ValueError, match="that frames it"):
        head(method, target, "h", [], 0)
