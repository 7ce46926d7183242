"""How long a request took that became no call: from when it came, whether or not a span of it is recorded."""

import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.telemetry.operations import Operations, attributes
from mcp_server.observe.telemetry.sdk import SdkSpans
from mcp_server.store.backend import StoreUnavailable
from tests.flows.test_limits import sending, server
from tests.kit import wire
from tests.kit.stack import running_stack

SECONDS = 20
callers_trace = pytest.mark.parametrize("traceparent", [{}, {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"}])
exported = pytest.mark.parametrize("spans", [None, SdkSpans(Resource({}), Sampling(0))])


@callers_trace
@exported
async def test_a_body_that_is_waited_for_counts_with_its_time(
    tmp_path: Path, spans: SdkSpans | None, traceparent: dict[str, str]
) -> None:
    """Of a caller who is known at once: where no span was recorded, it began as it ended."""
    async with running_stack(tmp_path, server, body_timeout_s="0.3") as stack:
        token = await stack.token("alice")
        assert (await stack.post(wire.legacy("ping"), token)).status_code == 200
        stack.plugin.endpoint._services.pipeline.traces.open(spans, operations := Operations())
        async with sending(stack, 100_000, b"{", authorization=f"Bearer {token}", **traceparent) as slow:
            assert (await slow.answer())[0] == 408
        found = {attributes(which).get("error.type"): one for which, one in operations.series.items()}
        assert found["body_too_slow"].total > 0.2


@callers_trace
@exported
@pytest.mark.parametrize("away", [True, False])
async def test_a_session_that_is_waited_for_counts_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: SdkSpans | None, traceparent: dict[str, str], away: bool
) -> None:
    """A store that hangs: what it refuses would else be the fastest of all."""
    async with running_stack(tmp_path, server) as stack:
        token = await stack.token("alice")
        assert (await stack.post(wire.legacy("ping"), token)).status_code == 200  # known at once from now on
        pipeline = stack.plugin.endpoint._services.pipeline
        pipeline.traces.open(spans, operations := Operations())
        now_ns = time.time_ns

        async def hangs(*_: Any) -> None:
            monkeypatch.setattr(time, "time_ns", lambda: now_ns() + SECONDS * 10**9)
            if away:
                raise StoreUnavailable("it hangs")

        monkeypatch.setattr(pipeline.runtime.sessions, "find", hangs)
        answer = await stack.post(wire.legacy("ping"), token, mcp_session_id="gone", **traceparent)
        monkeypatch.undo()
    assert answer.status_code == (503 if away else 404)
    found = {attributes(which).get("error.type"): one for which, one in operations.series.items()}
    assert found["store_away" if away else "session not found"].total >= SECONDS
