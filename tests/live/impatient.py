"""The server of `flooded.py` where a request's head is waited for a second, and not thirty."""

from importlib import import_module

from tests.live.flooded import server

__all__ = ["server"]
import_module("mcp_server.cli.serve").SILENCE_MS = 1_000  # type: ignore[attr-defined]  # what waits is the same
