"""What the workers of one server share, below `auth` and `engine`: a state backend, and events between workers.

Read `backend.py` first: the port. Nothing here knows what is stored.
"""
