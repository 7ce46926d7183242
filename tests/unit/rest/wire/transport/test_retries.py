import pytest

from mcp_server.rest.model import FaultKind, UpstreamFault
from mcp_server.rest.wire.transport import retries


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, 999_999_999.0),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:20:00 -0000", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661", None),
        ("Thu, 99 Jan 1970 00:20:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(stated: str, expected: float | None) -> None:
    assert retries.retry_after({"retry-after": stated}, now=1000) == expected


def test_without_it_nothing_is_known() -> None:
    assert retries.retry_after({}, now=0) is None


@pytest.mark.parametrize(
    ("kind", "sent", "get", "post"),
    [
        ("unreachable", False, True, True),
        ("timeout", False, True, True),
        ("timeout", True, True, False),
        ("reset", True, True, False),
        ("tls", False, False, False),
        ("protocol", True, False, False),
        ("open_circuit", False, False, False),
    ],
)
def test_a_fault_is_tried_again_where_that_may_help_and_does_no_harm(
    kind: FaultKind, sent: bool, get: bool, post: bool
) -> None:
    fault = UpstreamFault(kind, "", sent=sent)
    assert [retries.repeats_after(method, fault) for method in ("GET", "POST")] == [get, post]
