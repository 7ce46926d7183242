"""`mcp-server client-config`: what a client's user pastes to reach this server."""

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.cli import target
from mcp_server.cli.clients import CALLBACK_PORT, CLIENTS, Client
from mcp_server.settings import Settings, SettingsError

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What Claude Code and Codex take as a server's name; others make names of tools from it. No option of a command."""
REGISTERED: Final = "{registered}"
LISTS: Final = frozenset({"{scopes}", "{scope_words}"})
CLIENT_ID: Final = re.compile(r"(?!-)[\x21-\x7e]{1,255}")


class ClientConfigRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The server's address, issuer and scopes, the name a client shall call it by, a pre-registered client id, if any.

    The issuer is empty where no settings tell it.
    """

    url: str
    name: str
    client_id: str | None
    scopes: tuple[str, ...]
    issuer: str


@click.command("client-config", epilog=f"CLIENT is one of {', '.join(CLIENTS)}.")
@click.argument("client", metavar="CLIENT", type=click.Choice(list(CLIENTS)))
@click.option("--url", help="The endpoint's address; MCP_RESOURCE by default.")
@click.option("--name", default="mcp", show_default=True, help="What the client shall call the server.")
@click.option("--client-id", help="A client id of the issuer, mcp-public in our realm; without one it registers.")
@click.option("--server", help="module:server, whose scopes a client that must name them asks for.")
def client_config(client: str, url: str | None, name: str, client_id: str | None, server: str | None) -> None:
    """Print what makes CLIENT use this server: what to paste on stdout, and on stderr where and what to know."""
    known = CLIENTS[client]
    if not NAME.fullmatch(name):
        raise click.BadParameter("letters, digits, - and _ (at most 64), the first no - or _", param_hint="--name")
    if client_id is not None and not CLIENT_ID.fullmatch(client_id):
        raise click.BadParameter("an id of visible ASCII characters, the first no -", param_hint="--client-id")
    if client_id is not None and known.registered is None:
        raise click.BadParameter(f"{client}: {_filled(known.notes[0], {'name': name})}", param_hint="--client-id")
    asked = ClientConfigRequest(
        url=_checked(url or _required().auth.resource),
        name=name,
        client_id=client_id,
        scopes=_scopes(server),
        issuer=_issuer(),
    )
    if client_id is not None and known.asks_issuer and not (asked.issuer and asked.scopes):
        raise click.BadParameter(
            f"{client} wants the issuer and the scopes named beside it: set MCP_ISSUER, and give --server",
            param_hint="--client-id",
        )
    for line in (known.place, *known.notes):
        click.echo(f"# {_filled(line, _values(asked))}", err=True)
    click.echo(rendered(known, asked))


def rendered(known: Client, asked: ClientConfigRequest) -> str:
    """The text to paste."""
    values = _values(asked)
    if known.syntax == "shell":
        more = known.registered_words if asked.client_id is not None else ()
        lines = [
            [one for word in words for one in (more if word == REGISTERED else (word,))] for words in known.commands
        ]
        return "\n".join(shlex.join(_filled(words, values)) for words in lines)
    entry = _filled({**known.entry, **((known.registered or {}) if asked.client_id is not None else {})}, values)
    if known.syntax == "json list":
        return _json([entry])
    document = {known.inside: {asked.name: entry}}
    return _yaml(document) if known.syntax == "yaml" else _json(document)


def _values(asked: ClientConfigRequest) -> dict[str, Any]:
    told = {"port": str(CALLBACK_PORT), "scopes": list(asked.scopes), "scope_words": " ".join(asked.scopes)}
    return {**msgspec.structs.asdict(asked), **told}


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its names replaced, at any depth."""
    match template:
        case str() if template in LISTS:
            return values[template[1:-1]]
        case str():
            return re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), template)
        case list():
            return [_filled(one, values) for one in template]
        case dict():
            return {key: _filled(one, values) for key, one in template.items() if _stands(one, values)}
    return template


def _stands(template: Any, values: Mapping[str, Any]) -> bool:
    """Whether there is anything to say: an empty list of scopes is left out."""
    return not (isinstance(template, str) and template in LISTS) or bool(values["scopes"])


def _issuer() -> str:
    found = _settings()
    return found.auth.issuer[0].issuer.rstrip("/") if found is not None else ""


def _scopes(server: str | None) -> tuple[str, ...]:
    """What a first challenge names: `MCP_CHALLENGE_SCOPES`, else what the server declares; none where neither does."""
    found = _settings()
    if found is not None and found.scopes.challenge_scopes is not None:
        return tuple(sorted(found.scopes.challenge_scopes))
    if server is None:
        return ()
    loaded = target.load(server)
    if found is None:
        return tuple(sorted(loaded.declared_scopes()))
    scopes = found.scopes
    return tuple(sorted(loaded.declared_scopes(scopes.default_scopes, parameterized=scopes.parameterized_scopes)))


def _checked(url: str) -> str:
    """The address, if clients can use it; raises `BadParameter`."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        parts, whole = urlsplit(""), False
    if (
        not whole
        or parts.username is not None
        or parts.fragment
        or not url.isascii()
        or re.search(r"[\s\"'<>`{}\\]", url)
    ):
        raise click.BadParameter("an http or https address without user, spaces or fragment", param_hint="--url")
    return url


def _settings() -> Settings | None:
    try:
        return settings.load()
    except SettingsError:
        return None


def _required() -> Settings:
    try:
        return settings.load()
    except SettingsError as error:
        raise click.ClickException("\n".join(["give --url, or settings that can be used:", *error.problems])) from error


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Block style; strings, and so the keys, as JSON writes them: without quotes `null` and `123` are no texts."""
    lines = []
    for name, one in value.items():
        nested = isinstance(one, Mapping)
        key = f"{indent}{_json(name)}:"
        lines.append(f"{key}\n{_yaml(one, indent + '  ')}" if nested else f"{key} {_json(one)}")
    return "\n".join(lines)
