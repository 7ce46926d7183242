"""Metrics by OTLP: what was gathered, pushed again and again by a thread; nothing is measured for it.

Durations go by the conventions' name; all other counters by the names that `/metrics` has, so that one dashboard reads
either. Each worker pushes its own, as an instance of the service.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric as Family

from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.delivery import DeliveryStatus, OtlpSession, compression
from mcp_server.observe.telemetry.environment import Target
from mcp_server.observe.telemetry.operations import Durations, Operations, attributes
from mcp_server.version import __version__

OURS: Final = "mcp_"
_UNKNOWN: Final[Any] = None
"""The least and the greatest value: nobody has looked at them. OTLP leaves them out, and the SDK's type does not."""
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


class MetricsPush:
    """The pushing thread of one worker."""

    def __init__(
        self, target: Target, session: OtlpSession, resource: Resource, operations: Operations, every_s: float
    ) -> None:
        self._exporter = OTLPMetricExporter(
            target.url, timeout=target.timeout_s, compression=compression(target), session=session
        )
        self._resource, self._operations, self._every_s = resource, operations, every_s
        self._status, self._since_ns = DeliveryStatus("metrics", target, session), time.time_ns()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Push once more, and end: blocks, and is called in a thread."""
        self._over.set()
        self._thread.join()

    def leave(self) -> None:
        """No time is left: a pause between two tries ends."""
        self._exporter.shutdown()

    def _run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self._every_s)
            try:
                data = self.gathered()
            except Exception as error:  # noqa: BLE001 - a collector of an author's: the next time it may not fail
                self._status.record(
                    delivered=False, items=0, reason=f"they cannot be gathered ({type(error).__name__})"
                )
            else:
                self._push(data)

    def _push(self, data: MetricsData) -> None:
        points = sum(len(one.data.data_points) for one in data.resource_metrics[0].scope_metrics[0].metrics)
        delivered = self._status.delivers(lambda: self._exporter.export(data) is MetricExportResult.SUCCESS)
        self._status.record(delivered=delivered, items=points)

    def gathered(self) -> MetricsData:
        """All of this worker, as of now."""
        now_ns = time.time_ns()
        scope = ScopeMetrics(
            scope=InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL),
            metrics=[one for one in (*self._durations(now_ns), *self._counters(now_ns)) if one.data.data_points],
            schema_url=names.SCHEMA_URL,
        )
        whole = ResourceMetrics(resource=self._resource, scope_metrics=[scope], schema_url=names.SCHEMA_URL)
        return MetricsData(resource_metrics=[whole])

    def _durations(self, now_ns: int) -> Iterator[Metric]:
        def metric(name: str, text: str, series: Iterable[tuple[dict[str, str], Durations]]) -> Metric:
            points = [
                self._point(about, now_ns, one.total, list(one.counts), names.DURATION_BOUNDS) for about, one in series
            ]
            return Metric(name, text, "s", Histogram(points, _CUMULATIVE))

        operations, sessions = list(self._operations.series.items()), list(self._operations.sessions.items())
        text = "MCP request or notification duration as observed on the receiver"
        yield metric(names.OPERATION_DURATION, text, [(attributes(which), one) for which, one in operations])
        text = "The duration of the MCP session as observed on the MCP server"
        # Of an operation that is none: method, tool and prompt are no attributes of a session's.
        about = [(attributes(("", "", "", revision, way, error, "")), one) for (revision, way, error), one in sessions]
        yield metric(names.SESSION_DURATION, text, about)

    def _counters(self, now_ns: int) -> Iterator[Metric]:
        for family in REGISTRY.collect():
            if not family.name.startswith(OURS):
                continue
            if family.type == "histogram":
                yield Metric(
                    family.name, family.documentation, "s", Histogram(self._buckets(family, now_ns), _CUMULATIVE)
                )
                continue
            points = [
                NumberDataPoint(dict(one.labels), self._since_ns, now_ns, one.value)
                for one in family.samples
                if not one.name.endswith("_created")
            ]
            data = Gauge(points) if family.type == "gauge" else Sum(points, _CUMULATIVE, is_monotonic=True)
            yield Metric(family.name, family.documentation, "", data)

    def _buckets(self, family: Family, now_ns: int) -> list[HistogramDataPoint]:
        """Prometheus' buckets each hold those below it, too."""
        series: dict[tuple[tuple[str, str], ...], tuple[list[float], list[float], list[float]]] = {}
        for one in family.samples:
            labels = tuple((name, value) for name, value in one.labels.items() if name != "le")
            bounds, below, total = series.setdefault(labels, ([], [], []))
            if one.name.endswith("_bucket"):
                bounds.append(float(one.labels["le"]))
                below.append(one.value)
            elif one.name.endswith("_sum"):
                total.append(one.value)
        return [
            self._point(
                dict(labels),
                now_ns,
                sum(total),
                [int(here - before) for before, here in zip([0.0, *below], below, strict=False)],
                tuple(bounds[:-1]),
            )
            for labels, (bounds, below, total) in series.items()
        ]

    def _point(
        self, attributes: dict[str, Any], now_ns: int, total: float, counts: list[int], bounds: tuple[float, ...]
    ) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=bounds,
            min=_UNKNOWN,
            max=_UNKNOWN,
        )
