"""The scopes and APIs of an MCP server, as it lists them itself (`mcp-server scopes --format json`)."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

DEMO: Final = "devstack.demo.orders:server"
ASK_S: Final = 60
WIDTH: Final = 2000
"""Columns of the terminal that the command is told to have: no line of its own is broken in two."""
CONFIG: Final = Path("mcp.toml")
ENV_FILE: Final = Path(".env")
_IMPORTS: Final = ("MCP_OPENAPI", "MCP_CONFIG")
"""The settings that name an API; whether they can be used the server says when it is asked."""
_STATED: Final = re.compile(
    rf"^[ \t]*(?:export[ \t]+)?(?:{'|'.join(_IMPORTS)})(?:_FILE)?[ \t]*=[ \t]*[^\s#]", re.MULTILINE
)


class Scope(msgspec.Struct, frozen=True):
    """A client scope: what the consent page says, the realm roles of which one is needed (none: see `gated`).

    `patterns` are the scopes with variables that begin with it (`orders:refund:{order_id}`).
    """

    name: str
    consent: str
    roles: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def gated(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    """Every scope with a role: one that named none is for who has the role of the scope's own name.

    Keycloak gives a scope without a role to whoever asks, persons or not; and anybody may register clients. The role
    is not among the realm's default roles, for service accounts have those.
    """
    return tuple(one if one.roles else msgspec.structs.replace(one, roles=(one.name,)) for one in scopes)


class Api(msgspec.Struct, frozen=True):
    """An API that the server calls with an exchanged token (RFC 8693): its audience, and which scopes may go there.

    They are scopes of the server's own, all of them where none is named: the realm lets an exchange narrow what a
    person granted and never widen it.
    """

    name: str
    scopes: tuple[str, ...] = ()

    @property
    def audience_scope(self) -> str:
        """The client scope that has the audience mapper; only the server's client has it."""
        return f"{self.name}-audience"


class DeclaredServer(msgspec.Struct, frozen=True):
    """What a server declares of itself; nothing of it is typed again for the realm."""

    scopes: tuple[Scope, ...]
    apis: tuple[Api, ...] = ()
    tools: Mapping[str, list[str] | dict[str, Any]] = {}
    """What each tool needs: a list where all of it is needed."""
    service_account: tuple[str, ...] | None = None
    """The scopes that the server asks for in its own name (`mode = "client_credentials"`); None where it never does."""


def usual_server(environment: Mapping[str, str] | None = None) -> str:
    """What is served where nobody names a server: the API that the settings name, as "", or else the demo."""
    given = os.environ if environment is None else environment
    named = any(given.get(f"{name}{end}") for name in _IMPORTS for end in ("", "_FILE"))
    stated = ENV_FILE.is_file() and _STATED.search(ENV_FILE.read_text("utf-8", "replace"))
    return "" if named or stated or CONFIG.is_file() else DEMO


class NoScopes(Exception):
    """The server did not tell its scopes, or such as no realm can have; the text says why."""


def of_server(target: str = DEMO, more: Mapping[str, str] | None = None) -> DeclaredServer:
    """Ask the server `module:server`, or with nothing the import that the settings say; raises `NoScopes`.

    `more` is what stands in its environment beside ours.
    """
    command = [sys.executable, "-m", "mcp_server", "scopes", *([target] if target else []), "--format", "json"]
    environment = {**os.environ, "COLUMNS": str(WIDTH), **(more or {})}
    done = subprocess.run(  # nosec B603 # noqa: S603 - our own module
        command, capture_output=True, timeout=ASK_S, check=False, env=environment
    )
    said = _unmarked(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise NoScopes(said)
    if said:
        sys.stderr.write(f"{said}\n")  # warnings
    return decoded(done.stdout)


def _unmarked(text: str) -> str:
    """What a command says, without its mark of an error: whoever passes it on has one, too."""
    return "\n".join(line.removeprefix("Error: ") for line in text.strip().splitlines())


def of_file(path: Path) -> DeclaredServer:
    """Read what the command printed elsewhere; raises `NoScopes`."""
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise NoScopes(f"{path}: {error.strerror}") from error


def decoded(text: bytes) -> DeclaredServer:
    """What the command's JSON says; raises `NoScopes`."""
    try:
        return msgspec.json.decode(text, type=DeclaredServer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoScopes(f"not the output of 'mcp-server scopes --format json': {error}") from error
