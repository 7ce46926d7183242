"""What a call that goes on to an API has of its HTTP request: the token as an opaque value, and headers by name."""

from typing import Any

import pytest

from mcp_server.engine.call import HeaderFields
from mcp_server.identity import Credential
from mcp_server.web import authn
from mcp_server.web.http_call import HttpCall
from mcp_server.web.trail import Trail
from tests.kit.principals import principal

WHO = principal()


@pytest.mark.parametrize("authorization", [b"Bearer abc.def", b"bearer   abc.def ", b"DPoP abc.def"])
def test_the_token_of_a_caller_who_was_judged(authorization: bytes) -> None:
    made = authn.credential({b"authorization": authorization}, WHO)
    assert isinstance(made, Credential)
    assert (made.reveal(), made.principal) == (b"abc.def", WHO)


@pytest.mark.parametrize(
    ("headers", "who"), [({}, WHO), ({b"authorization": b"Bearer abc"}, None), ({b"authorization": b"Basic abc"}, WHO)]
)
def test_none_where_nobody_was_judged_by_it(headers: dict[bytes, bytes], who: Any) -> None:
    assert authn.credential(headers, who) is None


def test_a_call_has_headers_by_name_but_none_that_was_sent_twice() -> None:
    values = {b"authorization": b"Bearer abc", b"x-tenant": b"acme", b"x-twice": b"b"}
    trail = Trail(audit=None, request_id="r", address="", method="POST", principal=WHO)  # type: ignore[arg-type]
    services: Any = None
    call = HttpCall(services, trail, HeaderFields(values, frozenset({b"x-twice"})), (None, None), [])
    assert [call.header(name) for name in ("X-Tenant", "x-twice", "x-none", "x-\u2713")] == ["acme", None, None, None]
    assert isinstance(call.credential, Credential)
