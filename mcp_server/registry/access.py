"""Access control of what is registered: the options that tools, resources and prompts share, and what they come to."""

from collections.abc import Iterable
from typing import Any, TypedDict

from mcp_server.protocol.types.content import Icon
from mcp_server.registry.requirement import Requirement, Scopes, effective, login_of


class EntryOptions(TypedDict, total=False):
    """What an author may say of whatever is registered."""

    scopes: Scopes
    fresh: int | None
    acr: str | Iterable[str]
    public: bool
    title: str | None
    description: str | None
    icons: list[Icon] | None
    meta: dict[str, Any] | None
    single_use: bool


class ProtectedEntry:
    """A registered tool, resource or prompt: who may use it, read once at registration."""

    def __init__(self, label: str, options: EntryOptions) -> None:
        self.public, self.single_use = options.get("public", False), options.get("single_use", False)
        self.scopes = effective(label, options.get("scopes"), public=self.public)
        self.login = login_of(label, options.get("fresh"), options.get("acr", ()), public=self.public)
        self.conditional = self.login is not None or isinstance(self.scopes, Requirement)
        """Whether there is more to ask of a caller than `plain`, the set of scopes, None for the default one."""
        self.plain = None if isinstance(self.scopes, Requirement) else self.scopes
