"""What `check` tells of settings that are of no use as they stand."""

import pytest

from mcp_server.cli.findings import unused
from mcp_server.settings import load

ISSUER = {"MCP_ISSUER": "https://kc.example/realms/mcp"}


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/null"])
@pytest.mark.parametrize(("name", "value"), [("MCP_AUDIT_KEEP", "9"), ("MCP_AUDIT_MAX_BYTES", "20000")])
def test_a_stream_is_never_rotated(stream: str, name: str, value: str) -> None:
    found = load({**ISSUER, "MCP_AUDIT_FILE": stream, name: value})
    assert list(unused(found)) == [(name, "a regular file in MCP_AUDIT_FILE")]


@pytest.mark.parametrize("name", ["OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"])
def test_no_header_goes_where_logs_would(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "otlp")
    found = load({**ISSUER, "MCP_OTLP_HEADERS": "api-key=k"})
    assert list(unused(found)) == [("MCP_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_ENDPOINT")]
