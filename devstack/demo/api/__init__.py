"""The sample REST API: a small shop over HTTP, an upstream that was there before any MCP server. Read app.py first."""
