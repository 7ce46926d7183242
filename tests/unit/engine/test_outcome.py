"""Outcomes as values: what cannot be encoded, and how each is counted."""

import json
from typing import Any, get_args

import pytest
from msgspec import Raw

from mcp_server.engine.outcome import (
    LIMIT_TEXTS,
    Cancelled,
    Completed,
    Denied,
    Failed,
    Limited,
    NeedsInput,
    Outcome,
    Slug,
    Subscribed,
    ToolFailed,
    Unavailable,
    answered,
    label,
)
from mcp_server.protocol import errors
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.subscriptions import Subscription

REQUEST = Request("x", "tools/call", Raw(b"{}"))


@pytest.mark.parametrize("result", ["\ud800", {"deep": "\udfff"}, object(), {1.5j: 1}])
def test_what_has_no_form_of_json_is_a_failure(result: Any) -> None:
    failed = answered(REQUEST, result)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.status, failed.error.request_id) == (errors.INTERNAL_ERROR, 200, "x")
    assert label(failed) == ("failed", "not_encodable")


@pytest.mark.parametrize("kind", [Completed, ToolFailed, NeedsInput])
def test_a_result_is_a_whole_response(kind: type[Completed]) -> None:
    found = answered(REQUEST, {"a": 1}, kind)
    assert isinstance(found, kind)
    assert json.loads(found.message) == {"jsonrpc": "2.0", "id": "x", "result": {"a": 1}}


LABELS: list[tuple[Outcome, tuple[str, str]]] = [
    (Completed(b""), ("ok", "")),
    (NeedsInput(b""), ("ok", "")),
    (Subscribed(Subscription("u", SubscriptionFilter()), b""), ("ok", "")),
    (ToolFailed(b""), ("tool_error", "tool_error")),
    (Failed(errors.internal_error()), ("failed", "-32603")),
    (Failed(errors.invalid_params("x")), ("rejected", "-32602")),
    (Failed(errors.internal_error(), "failed"), ("failed", "failed")),
    (Denied(frozenset(), anonymous=True), ("refused", "no_credentials")),
    (Denied(frozenset({"a"}), anonymous=False), ("refused", "insufficient_scope")),
    (Limited("too_fast", 1), ("rejected", "too_fast")),
    (Limited("quota_used", 60, "tool", "5/day"), ("rejected", "tool_quota_used")),
    (Unavailable(), ("failed", "store_away")),
    (Cancelled("cancelled"), ("cancelled", "cancelled")),
    (Cancelled("disconnected"), ("cancelled", "cancelled")),
]


@pytest.mark.parametrize(("outcome", "expected"), LABELS, ids=lambda value: type(value).__name__)
def test_each_outcome_has_its_label(outcome: Outcome, expected: tuple[str, str]) -> None:
    assert label(outcome) == expected


def test_no_outcome_and_no_limit_is_left_out() -> None:
    assert {type(outcome) for outcome, _ in LABELS} == set(get_args(Outcome))
    assert set(LIMIT_TEXTS) == set(get_args(Slug))
