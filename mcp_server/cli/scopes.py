"""`mcp-server scopes`: which tool, resource, template and prompt needs what."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

import msgspec
import rich_click as click

from mcp_server import settings
from mcp_server.cli import findings, target
from mcp_server.observe import log
from mcp_server.protocol import downgrade, revisions
from mcp_server.registry.requirement import Alternative, Login, Requirement, named
from mcp_server.registry.scope import Scope
from mcp_server.registry.server import FALLBACK_SCOPES, McpServer
from mcp_server.rest.offer import budget
from mcp_server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from mcp_server.rest.importing.importer import Planned

_PUBLIC: Final = "(public)"


@click.command()
@target.server_argument
@click.option("--format", "shown_as", type=click.Choice(["table", "json"]), default="table")
def scopes(server: str, shown_as: str) -> None:
    """Print what is needed for each thing that SERVER (module:server) offers, and that an API comes to.

    In JSON with consent texts, roles and the audiences of APIs, as `devstack realm --scopes` reads it. The list is on
    standard output, warnings are on standard error; settings that cannot be used are a warning, and then count as not
    set.
    """
    log.set_up_for_command()
    found, stated = target.load(server), _settings()
    default = FALLBACK_SCOPES if stated is None else stated.scopes.default_scopes
    plans = [] if stated is None else target.planned(found, stated, keep=True)
    described = _described(found, default, plans)
    for text in findings.refused_exchanges(plans, {one.name for one in described}):
        findings.warn(text)
    offered = findings.offered(found)
    if shown_as == "json":
        rows = {
            kind: {name: _as_json(found.scopes_of(one, default)) for name, one in ones.items()}
            for kind, ones in offered.items()
        }
        known = {one.name for one in described}
        apis = {"apis": _apis(plans, known), **_of_itself(plans, known)}
        body = {"scopes": described, "default": sorted(default), **apis, **rows}
        click.echo(msgspec.json.format(msgspec.json.encode(body)).decode())
        return
    width = max((len(name) for ones in offered.values() for name in ones), default=4)
    for kind, ones in offered.items():
        if ones:
            click.echo(kind)
        for name, one in ones.items():
            click.echo(f"  {name:<{width}}  {_as_text(found.scopes_of(one, default))}{_login(one.login)}")
    if beside := _beside(found, default):
        click.echo(f"declared beside these, for functions and handlers to name: {' '.join(beside)}")
    click.echo(f"what names none needs {' '.join(sorted(default))} (MCP_DEFAULT_SCOPES)")
    for line in _cost(found):
        click.echo(line)


def _settings() -> Settings | None:
    """What settings say, where there are any that can be used; whom they trust is no matter here."""
    try:
        return settings.load(presumed={"MCP_ISSUER": target.NO_ISSUER})
    except SettingsError as error:
        for problem in error.problems:
            findings.warn(problem)
        return None


def _described(server: McpServer, default: frozenset[str], plans: "list[Planned]") -> list[Scope]:
    """The scopes for a realm; what nobody declared has the consent text of the document that names it."""
    texts = findings.consent_texts(plans)
    return [
        one
        if one.name in server.scopes or one.name not in texts
        else msgspec.structs.replace(one, consent=texts[one.name])
        for one in server.described_scopes(default)
    ]


def _apis(plans: "list[Planned]", known: Collection[str]) -> list[dict[str, Any]]:
    """The audiences for a realm: an exchange narrows what was granted, so each has scopes of the server's alone."""
    found = findings.audiences(plans, handlers=True)
    for audience, scopes in findings.audiences(plans, "client_credentials", handlers=True).items():
        if audience:
            found[audience] = found.get(audience, frozenset()) | scopes
    return [{"name": one, "scopes": sorted(scopes.intersection(known))} for one, scopes in sorted(found.items())]


def _of_itself(plans: "list[Planned]", known: Collection[str]) -> dict[str, Any]:
    """The scopes that this server asks for in its own name, if it does: a realm wants a service account for that."""
    found = findings.audiences(plans, "client_credentials", handlers=True)
    return {"service_account": sorted(frozenset[str]().union(*found.values()).intersection(known))} if found else {}


def _cost(server: McpServer) -> list[str]:
    """What the list of tools costs a model, and the tools that cost it the most."""
    entries = {
        name: downgrade.entry(tool.entry, revisions.LATEST) for name, tool in server.tools.items() if tool.listed
    }
    cost = {name: budget.tokens(len(bytes(entry)) + 1) for name, entry in entries.items()}
    heaviest = ", ".join(f"{name} {tokens}" for name, tokens in budget.heaviest(cost))
    return [f"the list of tools is ≈ {sum(cost.values())} tokens; the most: {heaviest}"] if cost else []


def _beside(server: McpServer, default: frozenset[str]) -> list[str]:
    """What is declared and needed by nothing as it is listed: a function or a handler may name it."""
    ones = [one for kind in findings.offered(server).values() for one in kind.values()]
    shown = frozenset[str]().union(*(named(server.scopes_of(one, default), parameterized=True) for one in ones))
    declared = [text for one in server.scopes.values() for text in one.patterns or (one.name,)]
    return [text for text in declared if text not in shown]


def _as_json(needs: frozenset[str] | Requirement) -> Any:
    """A list for scopes that are all needed; an object where that is not all there is to say."""
    if not isinstance(needs, Requirement):
        return sorted(needs)
    if needs.function is not None:
        return {"function": _name_of(needs.function)}
    lists = [_names(one) for one in needs.alternatives]
    return lists[0] if len(lists) == 1 else {"any_of": lists}


def _as_text(needs: frozenset[str] | Requirement) -> str:
    if not isinstance(needs, Requirement):
        return " ".join(sorted(needs)) or _PUBLIC
    if needs.function is not None:
        return f"(told by {_name_of(needs.function)})"
    return " | ".join(" ".join(_names(one)) for one in needs.alternatives)


def _names(one: Alternative) -> list[str]:
    return sorted(one.named(parameterized=True))


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _login(login: Login | None) -> str:
    """What is asked of the caller's login."""
    if login is None:
        return ""
    fresh = "" if login.fresh_s is None else f"  fresh={login.fresh_s}"
    return fresh + (f" {'' if fresh else ' '}acr={','.join(login.acr)}" if login.acr else "")
