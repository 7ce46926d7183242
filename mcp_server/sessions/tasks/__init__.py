"""The extension `io.modelcontextprotocol/tasks`: calls that go on after their answer (ext-tasks).

The worker that took the call runs it. Its record and what is needed to run it are in the shared store before the client
learns its id, with a lease that the worker renews: whichever worker is asked can tell how it stands, and take it over
where it was lost or handed back. Read `registry.py` first.
"""

from mcp_server.sessions.tasks.registry import Tasks
from mcp_server.sessions.tasks.run import NewTask, TaskInteraction

__all__ = ["NewTask", "TaskInteraction", "Tasks"]
