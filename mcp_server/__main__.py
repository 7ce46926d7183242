"""`python -m mcp_server`."""

from mcp_server.cli import main

main()
