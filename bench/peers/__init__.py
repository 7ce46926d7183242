"""The servers under load: each answers the same tool `add` at /mcp."""
