"""An address is taken apart as a URL library does it, and nothing in it is mended on the way to the wire."""

import pytest
import yarl

from mcp_server.rest.client.connections import Origin, taken_apart
from mcp_server.rest.wire.transport.heads import head


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.test/v1/orders/7?limit=5", "http://h/a/../b?x=1#f", "http://h", "http://h?x=/y",
        "http://h#/x", "http://h:8080/%2e%2e/a", "http://u:p@h/x", "http://other@h:80/x?y=//z", "http://h/a?b?c",
        "http://h/x;y=1//@z", "http://[::1]:8/x", "http:///x", "nonsense", "http:/h//x", "//h/x", "", "http://h/:@/x",
        "https://xn--mnchen-3ya.test/x",
    ],
)  # fmt: skip
def test_it_leads_where_the_library_says(url: str) -> None:
    known = yarl.URL(url, encoded=True)
    origin, target = taken_apart(url)
    assert origin.host == (known.raw_host or "")
    if origin.host:  # else it is nobody's, and is called by nobody
        assert (origin, target) == (Origin(known.scheme, origin.host, known.port or 0), known.raw_path_qs)


@pytest.mark.parametrize("url", ["http://h\\@evil.test/x", "http://h:x/", "http://h:99999/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        taken_apart(url)


@pytest.mark.parametrize("between", [" ", "\t", "\r\n", "\n", "\0", "\x7f"])
def test_what_a_library_would_take_out_of_a_target_is_not_sent(between: str) -> None:
    _, target = taken_apart(f"http://h/x{between}y")
    with pytest.raises(ValueError, match=r"request"):
        head("GET", target, "h", [], 0)
