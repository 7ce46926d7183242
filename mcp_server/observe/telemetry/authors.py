"""Tracers of authors and of libraries: a process sets them up once, they lead to whichever server has its spans open.

OpenTelemetry takes one provider for a process, and the first for good. A server that is stopped and started again, or a
second one beside it, has another: what an author measured in its calls went to the one that was closed.
"""

from typing import Any, Final

from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider

from mcp_server.observe import tracing


class AuthorsTracers(api.TracerProvider):
    """The process's provider: that of the server whose call is answered, else of the one that was opened last."""

    newest: TracerProvider

    @property
    def current(self) -> TracerProvider:
        """Whose spans an author's are within."""
        call = tracing.here.get().trace
        found: TracerProvider | None = getattr(call.spans, "provider", None) if call is not None else None
        return found or self.newest

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> api.Tracer:
        """One that may be kept for as long as the process lives, as modules do."""
        return _Leading(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)

    def __getattr__(self, name: str) -> Any:
        """What else the SDK's own has: `add_span_processor`, `force_flush`."""
        return getattr(self.current, name)


class _Leading(api.ProxyTracer):
    """Of the API's own making, which leads to a tracer that is there later; here to another one each time."""

    _known: tuple[TracerProvider, api.Tracer] | None = None

    @property
    def _tracer(self) -> api.Tracer:
        provider = authors.current
        if self._known is None or self._known[0] is not provider:
            found = provider.get_tracer(
                self._instrumenting_module_name,
                self._instrumenting_library_version,
                self._schema_url,
                self._attributes,
            )
            self._known = provider, found
        return self._known[1]


authors: Final = AuthorsTracers()


def lead_to(provider: TracerProvider) -> None:
    """Have what authors measure go here from now on, unless one of them has set up a provider."""
    authors.newest = provider
    if isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        api.set_tracer_provider(authors)
