"""Which scopes a server advertises: one value for challenges, metadata and the question who may come in."""

from mcp_server.auth.challenge import Advertised
from mcp_server.registry.requirement import by_function
from mcp_server.registry.server import McpServer, Protected
from mcp_server.settings import Settings


class LiveScopes:
    """What is advertised of the registry as it is now, made anew when that has changed.

    Challenges, metadata and the question who may come in without a token read this one value, so that they agree.
    """

    def __init__(self, server: McpServer, settings: Settings) -> None:
        self._server, self._settings = server, settings
        self._of = -1
        self._value = Advertised(frozenset())

    def __call__(self) -> Advertised:
        """One list for a first login, for some clients read the challenge, some the metadata."""
        changes = self._server.changes  # before the lists are read: what changes meanwhile is read the next time
        if changes != self._of:
            scopes = self._settings.scopes
            declared = self._server.declared_scopes(scopes.default_scopes, parameterized=scopes.parameterized_scopes)
            stated = scopes.challenge_scopes
            self._value = Advertised(
                login=declared if stated is None else stated,
                declared=declared.union(self._server.scopes),  # what only a handler names (`NeedsScopes`), too
                public=self._server.has_public,
                begun_by=self._begun_by(),
            )
            self._of = changes
        return self._value

    def _begun_by(self) -> tuple[str, ...]:
        """How scopes begin that are made in a call; anyhow, where a function names them and none are declared."""
        server = self._server
        offered: tuple[Protected, ...] = (*server.tools.values(), *server.resources.values(), *server.prompts.values())
        if not server.scopes and any(by_function(one.scopes) for one in offered):
            return ("",)
        return tuple(sorted({f"{one.base}:" for one in server.scope_patterns()}))
