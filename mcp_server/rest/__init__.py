"""A REST API as tools: a document becomes operations, operations become tools, calls become requests as the user."""
