"""What a valid call does: async, no HTTP. Read `dispatch.py` first; what tools look like to an author is `server.py`."""
