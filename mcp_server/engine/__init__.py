"""What a valid call does: async, no HTTP. Read `dispatch.py` first; an author's view is `registry/server.py`."""
