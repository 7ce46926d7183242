"""The protected resource metadata."""

import pytest

from mcp_server.auth import metadata
from mcp_server.auth.metadata import ResourceDescription


@pytest.mark.requirement("25.2", "25.5")
def test_the_document_says_what_is_known_and_nothing_else() -> None:
    bare = metadata.document(
        ResourceDescription(resource="https://x/mcp", issuers=("https://i",), scopes=frozenset(), name="n")
    )
    assert b"introspection" not in bare
    assert b"dpop" not in bare
    full = ResourceDescription(
        resource="https://x/mcp", issuers=("https://i",), scopes=frozenset(), name="n",
        documentation="https://d", introspection_endpoint="https://i/x", dpop_algorithms=("ES256",),
    )  # fmt: skip
    assert b'"resource_documentation":"https://d"' in metadata.document(full)
    assert metadata.url("https://x/") == "https://x/.well-known/oauth-protected-resource"
