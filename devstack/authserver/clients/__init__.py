"""Clients that nobody configured: registration, client ID metadata documents, and the redirects they may have."""
