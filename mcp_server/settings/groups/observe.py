"""What an operator sees: log, audit, metrics."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mcp_server.observe.audit import AuditLog, OnFail
from mcp_server.observe.log import LogFormat
from mcp_server.settings.group import Group
from mcp_server.settings.values import Scope


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
    metrics_scope: Scope = Field("mcp:admin", description="what `/metrics` on the main port needs")
    admin_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="serves `/metrics`, and `/healthz` and `/readyz` of all workers together, on a port of its own, "
        "without a token, on `MCP_ADMIN_HOST` (once `MCP_METRICS_PORT`, which still names it)",
    )
    admin_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="the address of `MCP_ADMIN_PORT`: this machine alone unless told otherwise, for whoever reaches "
        "it needs no token. `0.0.0.0` where a network policy or firewall guards it",
    )

    def audit(self) -> AuditLog:
        """Where decisions are written."""
        return AuditLog(
            self.audit_file, max_bytes=self.audit_max_bytes, keep=self.audit_keep, on_fail=self.audit_on_fail
        )
