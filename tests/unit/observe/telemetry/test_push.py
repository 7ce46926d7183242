"""Metrics that are pushed again and again, whoever else keeps some in this process."""

from collections.abc import Iterator
from typing import TextIO

from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

from mcp_server.observe.telemetry.environment import read
from mcp_server.observe.telemetry.exporting import Telemetry
from mcp_server.observe.tracing import Traces
from mcp_server.route import Route
from tests.kit.collector import collecting
from tests.kit.logs import written_since
from tests.kit.stack import until


async def test_a_collector_of_an_authors_that_fails_once_ends_no_push(log_file: TextIO) -> None:
    """One of Prometheus': the thread ended with it, and nothing of the worker was pushed any more."""
    asked, before = list[bool](), log_file.tell()

    class Fails(Collector):
        def collect(self) -> Iterator[Metric]:
            asked.append(True)
            if len(asked) == 2:  # it is asked as it is registered, too
                raise ValueError
            return iter(())

    REGISTRY.register(fails := Fails())
    try:
        with collecting() as collector:
            where = f"{collector.url}/v1/metrics"
            asks = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": where, "OTEL_METRIC_EXPORT_INTERVAL": "20"}
            telemetry = Telemetry(read(asks), Traces(), Route(), "unit")
            telemetry.start()

            async def pushed() -> bool:
                return bool(collector.metrics)

            await until(pushed)
            await telemetry.stop()
    finally:
        REGISTRY.unregister(fails)
    assert "they cannot be gathered (ValueError)" in written_since(log_file, before)
