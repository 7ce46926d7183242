"""The developer's surroundings: the realm as code, an embedded authorization server, the demo."""
