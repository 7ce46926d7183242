"""The first screen of `devstack up`: where everything is, who may log in, and a line to paste that calls a tool."""

import json
import shlex
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from devstack.first_call import Example
from devstack.realm.model import ISSUER, RESOURCE, Realm, Scope
from devstack.realm.scopes import DEMO, DeclaredServer

TOKEN_SCOPE: Final = "mcp:read"
"""What `devstack token` asks for unless another is named."""
_MOST: Final = 5


class Screen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to tell: `called` is what the demo's first call brought, `api` the sample API's address."""

    server: str = DEMO
    keycloak: bool = False
    api: str = ""
    called: str = ""
    told: DeclaredServer = DeclaredServer(())
    example: Example | None = None
    audit: str = ""


def welcome(realm: Realm, screen: Screen) -> str:
    """The screen."""
    issuer, resource = realm.issuer, realm.resource
    configuration = json.dumps({"mcpServers": {_name(screen): {"type": "http", "url": resource}}})
    asked = [(issuer, ISSUER, "--issuer"), (resource, RESOURCE, "--resource")]
    named = "".join(f" {option} {value}" for value, usual, option in asked if value != usual)
    kept = f"Keycloak, for development only; console {_origin(issuer)}/admin, admin/admin"
    about = kept if screen.keycloak else "for development only: loopback, nothing is kept"
    example = screen.example
    what, does = '"tools/list"', "List its tools"
    if example is not None:
        what = (
            f'"tools/call","params":{{"name":{json.dumps(example.tool)},"arguments":{json.dumps(example.arguments)}}}'
        )
        does = "Call a tool"
    call = f'{{"jsonrpc":"2.0","id":1,"method":{what}}}'
    first = first_token(realm, screen) if example is None else _token(example.user, example.scope)
    return f"""
  MCP endpoint   {resource}
  issuer         {issuer}   ({about})
{_api(screen, realm)}{_users(screen, realm)}
  audit          {screen.audit}

  {does}:
    curl -s {resource} -H "Authorization: Bearer $({_command()} token {first}{named})" \\
      -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '{call}'

  Give it to a client (it finds the login by itself):
    {configuration}

  Ctrl-C stops everything.
"""


def first_token(realm: Realm, screen: Screen, wanted: str = TOKEN_SCOPE) -> str:
    """The arguments of `devstack token` for the first person who may have a scope, and that scope if she may."""
    ours = sorted(_own_scopes(screen, realm), key=lambda one: (one.name != wanted, one.parameter))
    held = [(user, one) for user in realm.users for one in ours if one.roles & {*user.roles}]
    user, scope = held[0]  # `describe` sees to it that each role is somebody's
    return _token(user.username, f"{scope.name}:1" if scope.parameter else scope.name)


def _token(user: str, scope: str) -> str:
    return user + ("" if scope == TOKEN_SCOPE else f" --scope {shlex.quote(scope)}")


def _own_scopes(screen: Screen, realm: Realm) -> list[Scope]:
    """The realm's scopes for the MCP server: of the committed realm those that this server has."""
    ours = [one for one in realm.scopes if one.audience == realm.resource]
    own = {one.name for one in screen.told.scopes}
    return [one for one in ours if one.name in own] or ours


def _api(screen: Screen, realm: Realm) -> str:
    """The sample API with what its first call brought; of one's own, what tokens it will meet."""
    if screen.api:
        return f"  sample API     {screen.api}\n  called         {screen.called}\n"
    return "".join(
        f"  your API       gets tokens of this issuer ({realm.issuer}/protocol/openid-connect/certs) with\n"
        f"                 aud {api.name}{f' and scope {_listed(api.scopes)}' if api.scopes else ''}\n"
        for api in screen.told.apis
    )


def _users(screen: Screen, realm: Realm) -> str:
    if screen.api:
        return "  users          alice (may read), bob (may write), carol (admin); the password is the name"
    ours = _own_scopes(screen, realm)
    held = [(user.username, [one.name for one in ours if one.roles & {*user.roles}]) for user in realm.users]
    if all(len(scopes) == len(ours) for _, scopes in held):
        names = ", ".join(name for name, _ in held)
        return (
            f"  users          {names}: each may have {_listed([one.name for one in ours])}; the password is the name"
        )
    people = ", ".join(f"{name} ({_listed(scopes) or 'no scope'})" for name, scopes in held)
    return f"  users          {people}; the password is the name"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _MOST
    return " ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _name(screen: Screen) -> str:
    """What a client calls it."""
    if screen.server:
        return screen.server.partition(":")[0].rpartition(".")[2]
    return screen.told.apis[0].name if screen.told.apis else "api"


def _command() -> str:
    """The path of this command as it is called from here."""
    path = Path(sys.executable).with_name("devstack")
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
