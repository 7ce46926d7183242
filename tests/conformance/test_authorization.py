"""The official suite's `authorization` command passes with no failure and no warning against both issuers."""

from pathlib import Path

import pytest

from tests.conformance.authorization import run_authorization
from tests.kit.authorities import Authority

pytestmark = pytest.mark.live


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_suite_finds_nothing_wrong_with_the_issuer(
    authority: Authority, revision: str, tmp_path: Path
) -> None:
    outcome = await run_authorization(authority.issuer, authority.resource, tmp_path, "--spec-version", revision)
    assert outcome.good, (outcome.line(), outcome.bad)
    assert outcome.counts["SUCCESS"] >= 3
