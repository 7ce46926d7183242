"""The scopes of an MCP server, as it lists them itself (`mcp-server scopes --format json`): nothing is typed again."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

DEMO: Final = "devstack.demo.orders:server"
ASK_S: Final = 60


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


SHOP: Final = Api("orders-api", ("orders:read", "orders:write"))
"""The sample REST API."""


def sample(scopes: Sequence[str]) -> tuple[Api, ...]:
    """The sample API, where its scopes are among these."""
    return (SHOP,) if {*SHOP.scopes} <= {*scopes} else ()


class _Told(msgspec.Struct):
    scopes: tuple[Scope, ...]


class NoScopes(Exception):
    """The server did not tell its scopes; the text says why."""


def of_server(target: str = DEMO) -> tuple[Scope, ...]:
    """Ask the server `module:server`; raises `NoScopes`."""
    command = [sys.executable, "-m", "mcp_server", "scopes", target, "--format", "json"]
    done = subprocess.run(command, capture_output=True, timeout=ASK_S, check=False)  # noqa: S603 - our own module
    if done.returncode:
        raise NoScopes(done.stderr.decode(errors="replace").strip())
    return decoded(done.stdout)


def of_file(path: Path) -> tuple[Scope, ...]:
    """Read what the command printed elsewhere; raises `NoScopes`."""
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise NoScopes(f"{path}: {error.strerror}") from error


def decoded(text: bytes) -> tuple[Scope, ...]:
    """The scopes in the command's JSON; raises `NoScopes`."""
    try:
        return msgspec.json.decode(text, type=_Told).scopes
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoScopes(f"not the output of 'mcp-server scopes --format json': {error}") from error
