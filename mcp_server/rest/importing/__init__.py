"""From documents to tools that can be called: read, shared by the workers of one server, and read again as it runs.

Read `importer.py` first; `live_apis.py` is what has a life.
"""
