"""Importer: documents loaded, shared by the workers of one server, and looked at while it runs."""
