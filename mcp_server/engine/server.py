"""`McpServer`: the registry an author fills; frozen when an application is made of it."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mcp_server.engine.tool import Tool, ToolOptions
from mcp_server.protocol.types.lifecycle import Implementation
from mcp_server.protocol.types.tools import ToolAnnotations

Handler = TypeVar("Handler", bound=Callable[..., Any])
FALLBACK_SCOPES: Final = frozenset({"mcp:read"})


class McpServer:
    """What one server offers. `state` is shared by its handlers, as `ctx.state`."""

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        title: str | None = None,
        instructions: str | None = None,
    ) -> None:
        self.info = Implementation(name, version, title)
        self.instructions = instructions
        self.state: dict[str, Any] = {}
        self.tools: dict[str, Tool] = {}

    def tool(
        self,
        name: str | None = None,
        *,
        scopes: Iterable[str] | None = None,
        public: bool = False,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register a function as a tool; no `scopes` means the server's default ones, `public` means no token.

        Raises `ValueError` for a name that is taken or malformed and `UnsupportedType` for what JSON cannot carry.
        """

        def register(function: Handler) -> Handler:
            options = ToolOptions(
                name=name or function.__name__,
                title=title,
                description=description,
                scopes=None if scopes is None else _scope_set(scopes),
                public=public,
                annotations=annotations,
            )
            if options.name in self.tools:
                raise ValueError(f"tool {options.name!r} is registered twice")
            self.tools[options.name] = Tool(function, options)
            return function

        return register

    @property
    def has_public(self) -> bool:
        """Whether anything is offered without a token: discovery is then open, too (lazy login)."""
        return any(tool.public for tool in self.tools.values())

    def scopes_of(self, tool: Tool, default: frozenset[str] = FALLBACK_SCOPES) -> frozenset[str]:
        """What a tool needs; `default` is what settings say for tools that name nothing."""
        return default if tool.scopes is None else tool.scopes

    def declared_scopes(self, default: frozenset[str] = FALLBACK_SCOPES) -> frozenset[str]:
        """Every scope that some tool needs: the one source of metadata, challenges and the realm's scopes."""
        return frozenset().union(*(self.scopes_of(tool, default) for tool in self.tools.values()))


def _scope_set(scopes: Iterable[str]) -> frozenset[str]:
    if isinstance(scopes, str):
        raise TypeError("scopes is a set of texts, not one text")
    found = frozenset(scopes)
    for scope in found:
        if not scope or not all(c == "!" or "#" <= c <= "[" or "]" <= c <= "~" for c in scope):
            raise ValueError(f"scope {scope!r} is no scope-token (RFC 6749 §3.3)")
    if not found:
        raise ValueError("an empty set of scopes: say public=True for a tool that needs no token")
    return found
