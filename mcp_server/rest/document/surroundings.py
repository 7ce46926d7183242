"""What stands around operations: servers with their variables, security schemes and requirements, extensions."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urljoin

from mcp_server.rest.document.context import Context, Unusable
from mcp_server.rest.document.values import escaped, text_in
from mcp_server.rest.model import Alternative, Place, SchemeKind, SecurityScheme

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_MAX_CHOICES: Final = 32
_KINDS: Final[dict[str, SchemeKind]] = {
    "oauth2": "oauth2", "openIdConnect": "openIdConnect", "http": "http", "apiKey": "apiKey", "mutualTLS": "mutualTLS",
    "basic": "http",
}  # fmt: skip
_KEY_PLACES: Final[dict[str, Place]] = {"query": "query", "header": "header", "cookie": "cookie"}


def servers(held: Any, location: str) -> tuple[str, ...]:
    """The addresses of `servers`, relative ones resolved where the document came from an address.

    A variable with an `enum` gives an address for each of its values, one without gets its default; in a host that
    would be a placeholder (`your-tenant`), and calls would carry tokens to a stranger: there it stays as `{name}`.
    """
    found: list[str] = []
    for server in held if type(held) is list else ():
        if type(server) is dict and type(server.get("url")) is str:
            found += _filled(server["url"].strip(), server.get("variables"))
    return tuple(dict.fromkeys(_resolved(url, location) for url in found))


def _resolved(url: str, location: str) -> str:
    if "{" in url.partition("://")[0] or not location.startswith(("https://", "http://")):
        return url
    try:
        return urljoin(location, url)
    except ValueError:
        return url


def _filled(url: str, variables: Any) -> Iterator[str]:
    names = dict.fromkeys(_VARIABLE.findall(url))
    host = url.partition("://")[2].partition("/")[0]
    choices = [_choices(name, variables, in_host=f"{{{name}}}" in host) for name in names]
    for chosen in itertools.islice(itertools.product(*choices), _MAX_CHOICES):
        values = dict(zip(names, chosen, strict=True))
        yield _VARIABLE.sub(lambda match: values[match[1]], url)  # noqa: B023  # used up before the next turn


def _choices(name: str, variables: Any, *, in_host: bool) -> list[str]:
    held = variables.get(name) if type(variables) is dict else None
    held = held if type(held) is dict else {}
    enum = held.get("enum")
    if type(enum) is list and (values := [str(one) for one in enum if type(one) in (str, int, float)]):
        return values
    default = held.get("default")
    return [f"{{{name}}}"] if in_host or type(default) not in (str, int, float) else [str(default)]


def extensions(held: Mapping[str, Any]) -> dict[str, Any]:
    """The members that begin with `x-`."""
    return {key: value for key, value in held.items() if key[:2] == "x-"}


def schemes(context: Context) -> dict[str, SecurityScheme]:
    """The security schemes of the document by name."""
    components = context.main.get("components")
    held = components.get("securitySchemes") if type(components) is dict else None
    at = "/components/securitySchemes"
    if context.swagger:
        held, at = context.main.get("securityDefinitions"), "/securityDefinitions"
    found = {}
    for name, one in held.items() if type(held) is dict else ():
        try:
            found[name] = _scheme(*context.followed(one, f"{at}/{escaped(name)}"))
        except Unusable as refused:
            context.faults.add(refused.pointer, refused.text)
    return found


def _scheme(held: Any, pointer: str) -> SecurityScheme:
    kind = _KINDS.get(text_in(held, "type")) if type(held) is dict else None
    if kind is None:
        raise Unusable(pointer, "is no security scheme: its type is none of the five")
    scopes: dict[str, str] = {}
    flows = held.get("flows")
    for flow in (held, *(flows.values() if type(flows) is dict else ())):
        listed = flow.get("scopes") if type(flow) is dict else None
        for scope, text in listed.items() if type(listed) is dict else ():
            scopes.setdefault(scope, text if type(text) is str else "")
    if kind != "apiKey":
        return SecurityScheme(kind=kind, scopes=scopes)
    place = _KEY_PLACES.get(text_in(held, "in"))
    if place is None or not text_in(held, "name"):
        raise Unusable(pointer, "does not say in which parameter the key goes")
    return SecurityScheme(kind=kind, place=place, parameter=held["name"])


def security(held: Any) -> tuple[Alternative, ...]:
    """The alternatives, raw: scheme → scopes. Raises `Unusable` for what cannot be read: it must not open anything."""
    alternatives = [held] if type(held) is dict else held
    if type(alternatives) is not list or not all(type(one) is dict for one in alternatives):
        raise Unusable("/security", "is no list of objects: nobody can tell what the operation needs")
    for one in alternatives:
        for name, scopes in one.items():
            if scopes is not None and (type(scopes) is not list or not all(type(scope) is str for scope in scopes)):
                raise Unusable("/security", f"{name!r:.60} has no list of scopes: nobody can tell what it needs")
    return tuple({name: tuple(scopes or ()) for name, scopes in one.items()} for one in alternatives)


def by_address(context: Context, alternatives: tuple[Alternative, ...], known: dict[str, SecurityScheme]) -> None:
    """In 3.2 a name of `security` may refer to a scheme that stands elsewhere: it is known by that name then."""
    for name in {name for one in alternatives for name in one if name not in known and re.search(r"[/#.]", name)}:
        try:
            known[name] = _scheme(*context.followed({"$ref": context.resolver.absolute(name)}, name))
        except Unusable:
            continue  # no scheme: the operations that name it are refused for it, each with its place
