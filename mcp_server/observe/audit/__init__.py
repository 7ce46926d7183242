"""The audit: a JSON line for each decision, kept until it is written, and chained where the operator has a key.

Read `decision.py` first: its members are the file's format.
"""

from mcp_server.observe.audit.audit_log import AuditLog, OnFail, beside
from mcp_server.observe.audit.decision import Begun, Decision

__all__ = ["AuditLog", "Begun", "Decision", "OnFail", "beside"]
