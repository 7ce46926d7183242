"""Bytes that are no message, on both transports: which code they get, and that no id is made up for them."""

import pytest

from mcp_server.protocol import errors, inbound
from mcp_server.protocol.errors import RpcError

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
DEEP = b"[" * 5000 + b"]" * 5000

ROWS = {
    "not UTF-8 in a member that nobody reads": (PING[:-1] + b',"x":"\xff"}', errors.PARSE_ERROR),
    "not UTF-8 deep in the parameters": (PING[:-1] + b',"params":{"a":[{"b":"\xc3\x28"}]}}', errors.PARSE_ERROR),
    "a surrogate as UTF-8": (PING[:-1] + b',"params":{"a":"\xed\xa0\x80"}}', errors.PARSE_ERROR),
    "an overlong form": (PING[:-1] + b',"params":{"a":"\xc0\xaf"}}', errors.PARSE_ERROR),
    "half a surrogate, escaped": (PING[:-1] + rb',"params":{"a":"\ud800"}}', errors.PARSE_ERROR),
    "a batch that is not UTF-8": (b"[" + PING + b',"\xff"]', errors.PARSE_ERROR),
    "UTF-16": (PING.decode().encode("utf-16"), errors.PARSE_ERROR),
    "a byte order mark": (b"\xef\xbb\xbf" + PING, errors.PARSE_ERROR),
    "no envelope, and too deep": (b'{"jsonrpc":5,"x":' + DEEP + b"}", errors.INVALID_REQUEST),
    "a batch too deep": (b"[" + PING + b"," + DEEP + b"]", errors.INVALID_REQUEST),
    "too deep": (PING[:-1] + b',"params":{"a":' + DEEP + b"}}", errors.INVALID_REQUEST),
    "a float beyond a double as id": (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', errors.PARSE_ERROR),
}


@pytest.mark.parametrize(("body", "code"), ROWS.values(), ids=ROWS)
@pytest.mark.requirement("7.8", "26.1")
def test_it_is_refused_over_http_and_on_a_pipe(body: bytes, code: int) -> None:
    for found in (inbound.classify({}, body), inbound.classify_line(body)):
        assert isinstance(found, RpcError)
        assert (found.code, found.status, found.request_id) == (code, 400, None)


@pytest.mark.parametrize("text", ["\u00e9", "\U0001f600", "\x7f", "\u2028"])
def test_any_text_that_is_utf8_is_taken(text: str) -> None:
    body = PING[:-1] + b',"params":{"a":"' + text.encode() + b'"}}'
    assert isinstance(inbound.classify_line(body), inbound.Legacy)
