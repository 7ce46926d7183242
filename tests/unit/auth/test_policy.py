"""Policies: one that would let anything pass cannot be made."""

from typing import Any

import pytest

from mcp_server.auth.policy import IssuerPolicy


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": ""}, {"audiences": frozenset()}, {"audiences": frozenset({""})}, {"algorithms": frozenset()},
        {"algorithms": frozenset({"HS256"})}, {"algorithms": frozenset({"none"})}, {"leeway_s": 121}, {"leeway_s": -1},
    ],
)  # fmt: skip
def test_a_policy_that_would_let_anything_pass_cannot_be_made(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        IssuerPolicy(**({"issuer": "i", "audiences": frozenset({"a"}), "algorithms": frozenset({"RS256"})} | changed))
