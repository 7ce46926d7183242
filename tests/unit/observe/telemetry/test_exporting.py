"""Telemetry opened and closed: certificate authorities, what is lost and counted, an end that waits for nobody."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from opentelemetry import trace as api
from prometheus_client import REGISTRY

from mcp_server.observe.telemetry import exporting
from mcp_server.observe.telemetry.environment import read
from mcp_server.observe.telemetry.exporting import Reached, Telemetry
from mcp_server.observe.telemetry.operations import MAX_SERIES, OTHERS, Operations
from mcp_server.observe.tracing import SpanContext, Traces
from tests.kit.certificates import authority
from tests.kit.collector import Collector, collecting
from tests.kit.logs import written_since
from tests.kit.stack import free_port, until


def lost(signal: str, reason: str) -> float:
    return REGISTRY.get_sample_value("mcp_telemetry_lost_total", {"signal": signal, "reason": reason}) or 0.0


def opened(url: str, reached: Reached | None = None, **more: str) -> tuple[Telemetry, Traces]:
    traces = Traces()
    usual = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRICS_EXPORTER": "none"}
    telemetry = Telemetry(read(usual | more), traces, reached or Reached(), "unit")
    telemetry.start()
    return telemetry, traces


def traced(traces: Traces, name: str = "one") -> None:
    made = traces.call(None, None, known=True)
    assert made is not None
    made.start(name, "server", {})
    made.end({})
