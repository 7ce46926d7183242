"""The extension `io.modelcontextprotocol/tasks`: calls that go on after their answer (ext-tasks).

A task runs on the worker that took the call; its record is in the shared store before the client learns its id, so
whichever worker is asked can tell how it stands. Read `registry.py` first.
"""

from mcp_server.sessions.tasks.registry import Tasks
from mcp_server.sessions.tasks.run import TaskInteraction

__all__ = ["TaskInteraction", "Tasks"]
