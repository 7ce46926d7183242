"""What a valid call does: async, no HTTP. Read `pipeline.py` first; an author's view is `registry/server.py`."""
