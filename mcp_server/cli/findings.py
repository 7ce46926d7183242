"""What the commands tell of imported APIs beside their report: audiences, consent texts, arguments of another name."""

import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import rich_click as click

from mcp_server.limits import rule
from mcp_server.observe.telemetry import environment
from mcp_server.observe.writing.outlets import is_stream
from mcp_server.registry.requirement import by_function, named
from mcp_server.registry.scope import WILDCARD
from mcp_server.registry.server import McpServer, Protected
from mcp_server.rest.offer.config import IdentityMode
from mcp_server.rest.offer.words import line
from mcp_server.settings import Settings
from mcp_server.settings.report import variable

if TYPE_CHECKING:
    from mcp_server.rest.importing.importer import Planned


RESERVED: Final = frozenset({
    *("AuthnContextClassRef", "acr", "address", "basic", "email", "microprofile-jwt", "offline_access", "openid"),
    *("organization", "phone", "profile", "role_list", "roles", "saml_organization", "service_account", "web-origins"),
    "uma_authorization",
})  # fmt: skip
"""What a realm of Keycloak's has already, as client scopes or as roles of everybody; `devstack.realm` has the same."""


def warn(text: str) -> None:
    """A line on standard error: standard output is the report's."""
    click.echo(f"warning: {text}", err=True)


def audiences(
    plans: "Iterable[Planned]", mode: IdentityMode = "exchange", *, handlers: bool = False
) -> dict[str, frozenset[str]]:
    """The audiences of all APIs that are called with such tokens, and the scopes that may be asked for each.

    With `handlers` what their calls may ask for counts, too.
    """
    found: dict[str, frozenset[str]] = {}
    for plan in plans:
        for audience, scopes in plan.asked(mode, handlers=handlers).items():
            found[audience] = found.get(audience, frozenset()) | scopes
    return found


def realm_scopes(plans: "Iterable[Planned]") -> frozenset[str]:
    """The realm's scopes that imported operations need."""
    alternatives = (one for plan in plans for offer in plan.offered.offers for one in offer.needs.alternatives)
    return frozenset[str]().union(*alternatives)


def refused_exchanges(plans: "Iterable[Planned]", known: Collection[str]) -> Iterator[str]:
    """A line for each audience whose exchange asks for what no caller of this server can hold."""
    for audience, scopes in sorted(audiences(plans).items()):
        if foreign := sorted(scopes - frozenset(known)):
            yield (
                f"the exchange for {line(audience)} asks for {line(' '.join(foreign))}, which no caller of this "
                "server holds: a realm that lets an exchange only narrow refuses it. identity.scopes (or "
                "MCP_UPSTREAM_SCOPES) says what to ask for, in the realm's words"
            )


def reserved_scopes(plans: "Iterable[Planned]") -> Iterator[str]:
    """A line for each scope of an import that a realm has itself: who has that has what needs the scope."""
    taken = RESERVED.union(f"{audience}-audience" for audience in audiences(plans))
    for scope in sorted(taken & realm_scopes(plans)):
        yield (
            f"scope {line(scope)}: a realm of Keycloak's has that name for something of its own, which callers have "
            "for other reasons, and 'devstack realm' refuses it. [apis.NAME.scopes] in mcp.toml gives a scope of a "
            "document another name"
        )


def offered(server: McpServer) -> dict[str, Mapping[str, Protected]]:
    """All that a server offers, by its kind and its name."""
    resources = server.resources
    return {
        "tools": server.tools,
        "resources": {uri: one for uri, one in resources.items() if one.template is None},
        "templates": {uri: one for uri, one in resources.items() if one.template is not None},
        "prompts": server.prompts,
    }


def unknown_scopes(server: McpServer, *, parameterized: bool) -> Iterator[str]:
    """A line for each thing whose scopes no realm may know: what a function or a handler names is told by its call.

    `mcp-server scopes` is what a realm is made of, and a login for a scope that the realm does not have fails whole.
    """
    patterns = server.scope_patterns()
    bases = {one.base for one in patterns} if parameterized else set()
    for kind, ones in offered(server).items():
        for name, one in ones.items():
            if by_function(one.scopes) and not server.scopes:
                yield (
                    f"{kind.removesuffix('s')} {name!r}: a function names its scopes, and the server declares none: "
                    "no realm made of it has them, and a login that a challenge asks for ends with invalid_scope. "
                    "McpServer(scopes=...) declares them, and what a handler names with NeedsScopes"
                )
            if both := sorted(named(one.scopes, parameterized=True) & bases):
                yield (
                    f"{kind.removesuffix('s')} {name!r} needs {' '.join(both)} as it is, and with "
                    "MCP_PARAMETERIZED_SCOPES an issuer may grant that with a value alone: nobody could call it"
                )
    starts = [one[:-1] for scope in server.scopes.values() for one in scope.implies if one.endswith(WILDCARD)]
    for start in dict.fromkeys(starts):
        if not any(pattern.begins_with(start) for pattern in patterns):
            yield (
                f"scope '{start}*' is implied, and there is none that it could be: "
                f"Scope('{start}{{variable}}') declares those that a function or a handler names"
            )


def unmatched_settings(server: McpServer, plans: "Iterable[Planned]", found: Settings) -> Iterator[str]:
    """A line for each name of `MCP_LIMITS` and `MCP_CHALLENGE_SCOPES` that means nothing of this server's.

    A start says so, too; here it is said before there is one. A misspelt limit is none.
    """
    plans = list(plans)
    tools = set(server.tools).union(*(plan.tool_names for plan in plans))
    for name in sorted(found.limits.unknown(tools)):
        yield f"MCP_LIMITS names a tool that the server does not have: {line(name)}{_near(name, tools)}"
    bounds = {name: tool.bounds for name, tool in server.tools.items()}
    bounds |= {one.name: rule.bounds(one.manner.limits) for plan in plans for one in plan.offered.offers}
    for name, cost, quota in found.limits.unaffordable(bounds):
        yield f"no call of {line(name)} fits into {quota!r}, which MCP_LIMITS states for all calls: it costs {cost}"
    declared = server.declared_scopes(found.scopes.default_scopes).union(server.scopes, realm_scopes(plans))
    needs = [offer.needs for plan in plans for offer in plan.offered.offers if not offer.needs.public]
    if not all(one.alternatives and all(one.alternatives) for one in needs):
        declared |= found.scopes.default_scopes
    for name in sorted(found.scopes.undeclared(declared)):
        yield (
            f"MCP_CHALLENGE_SCOPES names a scope that the server does not declare: {line(name)}{_near(name, declared)}"
        )


def elsewhere(found: Settings) -> Iterator[str]:
    """A line where clients are told another path than the endpoint's: right behind some proxies, a 404 without one."""
    public = urlsplit(found.auth.resource).path.rstrip("/")
    if public != found.http.path.rstrip("/"):
        yield (
            f"MCP_RESOURCE has the path {public or '/'}, and the endpoint is at {found.http.path} (MCP_PATH): right "
            "only where a proxy changes the one into the other"
        )


def unused(found: Settings) -> Iterator[tuple[str, str]]:
    """Each setting that is stated, and what it is of no use without: somebody believes that it counts."""
    observe, network, scopes, sources, rest = found.observe, found.network, found.scopes, found.sources, found.rest
    streamed = observe.audit_file == "-" or is_stream(Path(observe.audit_file))  # /dev/stdout is never rotated, either
    rotated = "MCP_AUDIT_FILE" if observe.audit_file == "-" else "a regular file in MCP_AUDIT_FILE"
    idle = {
        "admin_host": (observe, observe.admin_port is None, "MCP_ADMIN_PORT"),
        "audit_max_bytes": (observe, streamed, rotated),
        "audit_keep": (observe, streamed, rotated),
        "otlp_headers": (observe, not environment.is_named(os.environ), "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "no_proxy": (network, network.proxy is None, "MCP_PROXY"),
        "step_up_url": (scopes, scopes.step_up == "challenge", "MCP_STEP_UP=both or error"),
        "upstream_audience": (rest, not rest.imports, "MCP_OPENAPI"),
        "upstream_scopes": (rest, not rest.imports, "MCP_OPENAPI"),
        "secrets_refresh_s": (sources, not sources.secrets, "MCP_SECRETS"),
    }
    for field, (group, alone, other) in idle.items():
        if alone and field in group.model_fields_set:
            yield variable(field), other


def empty_apis(server: McpServer, plans: "Iterable[Planned]") -> Iterator[str]:
    """A line for each API of which nothing is offered, where no code stands beside it that could call it."""
    for plan in plans:
        if not plan.offered.offers and not server.tools:
            yield f"nothing of the API {line(plan.report.api)} is offered: see include, exclude and what is refused"


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:100], sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def consent_texts(plans: "Iterable[Planned]") -> Mapping[str, str]:
    """What documents say of scopes, by the realm's names; the first document that says something of one counts."""
    found: dict[str, str] = {}
    for plan in plans:
        found = {**plan.offered.scope_texts, **found}
    return found


def renamed_arguments(plan: "Planned") -> Iterator[str]:
    """A line for each argument that a model knows by another name than the API."""
    for offer in plan.offered.offers:
        for one in offer.arguments.asked:
            if one.place != "body" and one.key != one.wire:
                yield f"  renamed {offer.name}: {line(one.wire)} ({one.place}) → {one.key}"
