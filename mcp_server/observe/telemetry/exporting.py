"""Telemetry of one process, opened and closed with its application: after the fork, and never for long.

OpenTelemetry is imported here, when it is opened; whoever exports nothing does without it.
"""

import asyncio
import contextlib
import importlib.util
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_server.observe.log import logger
from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.environment import Asked, Target, UnusableFileError
from mcp_server.observe.telemetry.operations import Operations
from mcp_server.observe.tracing import Traces
from mcp_server.route import Route
from mcp_server.version import __version__

STOP_S: Final = 3.0
"""How long the end waits until what was recorded has been delivered."""
MISSING: Final = "OpenTelemetry is not installed: pip install 'mcp-server-keycloak[otel]'"
_PACKAGES: Final = ("opentelemetry", "requests")


class Telemetry:
    """What `OTEL_*` asks for, for one server; `traces` begins to record when it is opened.

    `headers` are secret ones for the collector, `renew` has others after them.
    """

    def __init__(
        self, asked: Asked, traces: Traces, route: Route, service: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._asked, self._traces, self._route, self._service = asked, traces, route, service
        self._headers = headers or {}
        self._sessions: list[tuple[Target, Any]] = []
        self._stops: list[Callable[[], None]] = []
        self._leaves: list[Callable[[], None]] = []

    def start(self) -> None:
        """Open what was asked for. Nothing that is wrong with it keeps the server from serving."""
        for problem in self._asked.problems:
            logger.warning("telemetry is not as asked for", problem=problem)
        if not self._asked.config.wanted:
            return
        if any(importlib.util.find_spec(one) is None for one in _PACKAGES):
            logger.warning("telemetry is off", problem=MISSING)
            return
        try:
            self._open()
        except UnusableFileError as error:
            logger.warning("telemetry is off", problem=str(error))
        except (OSError, ValueError) as error:
            logger.warning("telemetry is off", problem=f"it cannot be opened ({type(error).__name__})")

    def _open(self) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - see above

        from mcp_server.observe.telemetry import authors, delivery, push, sdk  # noqa: PLC0415

        config = self._asked.config
        delivery.silence_sdk_log()
        resource = Resource(self._described(), names.SCHEMA_URL)
        spans: sdk.SdkSpans | None = None
        operations: Operations | None = None
        if (target := config.traces) is not None:
            batches = delivery.BoundedSpanProcessor(config, target, self._session(target))
            spans = sdk.SdkSpans(resource, config.sampling)
            spans.provider.add_span_processor(batches)
            authors.lead_to(spans.provider)
            self._stops.append(batches.shutdown)
            self._leaves.append(batches.span_exporter.shutdown)
        if (target := config.metrics) is not None:
            operations = Operations()
            pushing = push.MetricsPush(target, self._session(target), resource, operations, config.interval_s)
            self._stops.append(pushing.stop)
            self._leaves.append(pushing.leave)
        self._traces.open(spans, operations)
        logger.info(
            "telemetry is exported",
            traces=config.traces is not None,
            metrics=config.metrics is not None,
        )

    def renew(self, headers: Mapping[str, str]) -> None:
        """Send these header fields from now on, and no more those of before; the variables' stay where none is new."""
        self._headers = headers
        for target, session in self._sessions:
            session.keys = {**dict(target.headers), **headers}

    def _session(self, target: Target) -> Any:
        from urllib.parse import urlsplit  # noqa: PLC0415

        from mcp_server.observe.telemetry.delivery import OtlpSession  # noqa: PLC0415

        session = OtlpSession(target, self._route.ca_file, self._route.through(urlsplit(target.url).hostname or ""))
        self._sessions.append((target, session))
        self.renew(self._headers)
        return session

    def _described(self) -> dict[str, Any]:
        """The resource. Each worker is an instance: sums of several that bear one name would run into each other."""
        stated = dict(self._asked.config.resource)
        instance = stated.pop("service.instance.id", "")
        service = self._asked.config.service or stated.pop("service.name", "") or self._service
        return {
            "service.version": __version__,
            **stated,
            "service.name": service,
            "service.instance.id": f"{instance}-{os.getpid()}" if instance else str(uuid.uuid4()),
            "process.pid": os.getpid(),
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
        }

    async def stop(self) -> None:
        """Deliver what is left, within `STOP_S`; a collector that does not answer ends nothing later."""
        self._traces.open(None, None)
        stops, leaves = self._stops, self._leaves
        self._stops, self._leaves, self._sessions = [], [], []
        if not stops:
            return
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def run(stop: Callable[[], None]) -> None:
            stop()
            left.remove(stop)
            if not left:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(over.set)

        left = list(stops)
        for stop in stops:  # daemons: none is waited for at the exit
            threading.Thread(target=run, args=(stop,), name="otlp-stop", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await over.wait()
        except TimeoutError:
            logger.warning("telemetry that was left could not be delivered in time", waited_s=STOP_S)
            for leave in leaves:
                leave()
