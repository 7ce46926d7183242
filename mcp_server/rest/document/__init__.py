"""Bytes → `Document`: read, overlaid, brought to one version and one dialect, references followed; all pure."""

from mcp_server.rest.document.files.references import Source
from mcp_server.rest.document.reader import read, source_of

__all__ = ["Source", "read", "source_of"]
