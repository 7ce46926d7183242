"""MCP as values: no I/O, no clock, no log, no framework. Read `inbound.py` first."""
