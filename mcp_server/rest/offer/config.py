"""The configuration of imported APIs as values: what `mcp.toml` may say, and what stands where it says nothing."""

import fnmatch
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from mcp_server.protocol.types.tools import ToolAnnotations

Listing = Literal["auto", "full", "search"]
Output = Literal["loose", "strict", "off"]
Unmapped = Literal["refuse", "keep", "default"]
Form = Literal["tool", "resource", "both"]
IdentityMode = Literal["exchange", "client_credentials", "secret", "none"]
WITH_TOKEN: Final[frozenset[IdentityMode]] = frozenset({"exchange", "client_credentials"})
"""The modes in which an API is sent a token of its issuer's."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an API is described and where it is called; `allow_hosts` are further hosts that it may be called on."""

    document: str = ""
    sha256: str = ""
    overlays: tuple[str, ...] = ()
    base_url: str = ""
    allow_hosts: frozenset[str] = frozenset()


class OperationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of operations: which are offered, patterns as `selection.py` reads them; and how many the list shows.

    `pin` is which ones it shows beside the search tools.
    """

    list: Listing = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """As whom the API is called; `scopes` None asks for those of the operation.

    `secret` names the setting that has the secret, and `header` where it goes if not where the document says.
    """

    mode: IdentityMode = "exchange"
    audience: str = ""
    scopes: frozenset[str] | None = None
    forward: tuple[str, ...] = ()
    secret: str = ""
    header: str = ""


class ScopeMap(msgspec.Struct, frozen=True, kw_only=True):
    """The API's scopes → the realm's; a name may end in, or hold, `*`. `unmapped` is what becomes of all others.

    Without a map the names are the realm's already, and are kept. With one, what it forgets is refused: a scope that
    nobody translated would else be asked of an issuer that does not know it, or be lost.
    """

    names: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    unmapped: Unmapped = "keep"

    def translated(self, scope: str) -> frozenset[str] | None:
        """The realm's scopes for one of the API's: its own line first, then the longest pattern; None without any."""
        if (found := self.names.get(scope)) is not None:
            return found
        patterns = [name for name in self.names if "*" in name and fnmatch.fnmatchcase(scope, _literal(name))]
        return self.names[max(patterns, key=lambda name: (len(name), name))] if patterns else None


def _literal(pattern: str) -> str:
    """A pattern in which `*` alone is special."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are given on: at most so many tokens, and what the tool promises of them."""

    max_tokens: int = 8_000
    output: Output = "loose"


class Page(msgspec.Struct, frozen=True):
    """The parameter that is the size of a page: what is sent where nothing is said, and the most that is sent."""

    size: str
    max: int = 100
    default: int = 25


class DisplayOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides of what a client sees of an operation; empty where the document's own words stand."""

    name: str = ""
    title: str = ""
    description: str = ""
    group: str = ""
    annotations: ToolAnnotations | None = None


class OperationOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """Overrides of one operation in the configuration. `scopes` are the realm's, and stand for the document's.

    `limits` are those of its tool, as `limits/rule.py` reads them.
    """

    shown: DisplayOverrides = msgspec.field(default_factory=DisplayOverrides)
    set: Mapping[str, Any] = msgspec.field(default_factory=dict)
    hide: tuple[str, ...] = ()
    page: Page | None = None
    form: Form | None = None
    public: bool = False
    scopes: frozenset[str] | None = None
    identity: Identity | None = None
    limits: tuple[str, ...] = ()


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One API; `operations` is by operationId or `get /path`, the method in small letters.

    Of the arguments of its tools the audit has the values of `audit_arguments`.
    """

    name: str = "api"
    origin: Origin = msgspec.field(default_factory=Origin)
    choice: OperationFilter = msgspec.field(default_factory=OperationFilter)
    identity: Identity = msgspec.field(default_factory=Identity)
    scopes: ScopeMap = msgspec.field(default_factory=ScopeMap)
    answers: Answers = msgspec.field(default_factory=Answers)
    operations: Mapping[str, OperationOverrides] = msgspec.field(default_factory=dict)
    audit_arguments: tuple[str, ...] = ()


class ConfigError(Exception):
    """The file cannot be used; `problems` has a line for each reason, with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
