"""What an operator sees: log, audit, metrics."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from mcp_server.observe.audit import AuditLog, Begun, OnFail
from mcp_server.observe.log import LogFormat
from mcp_server.observe.telemetry import environment
from mcp_server.observe.tracing import Mode, Traces
from mcp_server.settings.group import Group, Shown
from mcp_server.settings.values import Hidden, HiddenBytes, ListenHost, Scope, long_keys, words

OTLP_HEADERS: Final = "MCP_OTLP_HEADERS"


def _headers(value: SecretStr) -> SecretStr:
    problems: list[str] = []
    environment.headers(value.get_secret_value(), OTLP_HEADERS, problems)
    if problems:
        raise ValueError(problems[0].removeprefix(f"{OTLP_HEADERS}: "))
    return value


class ObserveSettings(Group):
    """Log, audit, metrics."""

    title: ClassVar[str] = "Log, audit and metrics"

    log_format: LogFormat = Field("json", description="`pretty` for people")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what is below is left out")
    audit_file: str = Field(
        "-",
        description="where decisions are written, those about strangers to a file beside it (`audit.strangers.jsonl`); "
        "`-` is standard output, on stdio standard error",
    )
    audit_max_bytes: int = Field(50_000_000, ge=10_000, description="when an audit file is rotated")
    audit_keep: int = Field(5, ge=1, le=1000, description="how many rotated files are kept, of each of the two")
    audit_on_fail: OnFail = Field(
        "drop",
        description="while the audit cannot be written: `drop` keeps what there is room for and serves, `refuse` "
        "answers calls with 503; see operate.md",
    )
    audit_begun: Begun = Field(
        "late",
        description="which calls leave a `begun` line, too, which alone shows one that a killed worker did not end: "
        "`late` those of tools that may act (no `readOnlyHint`) once they take 0.1 s, and any after 5 s; `before` "
        "those of tools that may act, written before the handler runs, and any after 5 s; `off` none",
    )
    audit_chain: Annotated[tuple[SecretStr, ...], BeforeValidator(words), AfterValidator(long_keys)] = Field(
        (),
        min_length=1,
        description="secrets of 32 characters or more: each line of the audit is sealed with the first and names the "
        "one before it, and `mcp-server audit verify` finds what was changed, with any of them",
    )
    trace_parent: Annotated[Mode, Shown("`follow` with a token, `link` without")] | None = Field(
        None,
        description="what becomes of the trace that a caller names (`traceparent` in `_meta` or in the headers): "
        "`follow` joins it, and records it where the caller does; `link` begins one of its own that refers to it; "
        "`ignore` does not read it. Traces and metrics leave where the standard `OTEL_*` variables say, see "
        "telemetry.md",
    )
    otlp_headers: Annotated[SecretStr, AfterValidator(_headers)] | None = Field(
        None,
        description="header fields for whoever takes traces and metrics, `api-key=...` between commas, "
        "percent-encoded; they come before `OTEL_EXPORTER_OTLP_HEADERS`, and are taken over where they change",
    )
    metrics_scope: Scope = Field("mcp:admin", description="what `/metrics` on the main port needs")
    admin_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="serves `/metrics`, and `/healthz` and `/readyz` of all workers together, on a port of its own, "
        "without a token, on `MCP_ADMIN_HOST` (formerly `MCP_METRICS_PORT`; the old name still works; the new one "
        "wins)",
    )
    admin_host: ListenHost = Field(
        "127.0.0.1",
        description="the address of `MCP_ADMIN_PORT`: this machine alone unless told otherwise, for whoever reaches "
        "it needs no token. `0.0.0.0` where a network policy or firewall guards it (formerly `MCP_METRICS_HOST`; "
        "the old name still works; the new one wins)",
    )

    def headers_of_telemetry(self) -> Mapping[str, str]:
        """Header fields for a collector, as texts that no `repr` shows."""
        text = "" if self.otlp_headers is None else self.otlp_headers.get_secret_value()
        return {name: Hidden(value) for name, value in environment.headers(text, OTLP_HEADERS, [])}

    def traces(self) -> Traces:
        """What makes the traces of requests."""
        return Traces(self.trace_parent)

    def audit(self) -> AuditLog:
        """Where decisions are written."""
        return AuditLog(
            self.audit_file,
            max_bytes=self.audit_max_bytes,
            keep=self.audit_keep,
            on_fail=self.audit_on_fail,
            begun=self.audit_begun,
            keys=self.chain_keys(),
        )

    def chain_keys(self) -> tuple[bytes, ...]:
        """The keys of the audit's chain; no `repr` shows them."""
        return tuple(HiddenBytes(key.get_secret_value().encode()) for key in self.audit_chain)
