"""How long a request took that became no call: from when it came, whether or not a span of it is recorded."""

from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.telemetry.operations import Operations, attributes
from mcp_server.observe.telemetry.sdk import SdkSpans
from tests.flows.test_limits import sending, server
from tests.kit import wire
from tests.kit.stack import running_stack


@pytest.mark.parametrize("traceparent", [{}, {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00"}])
@pytest.mark.parametrize("spans", [None, SdkSpans(Resource({}), Sampling(0))])
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
