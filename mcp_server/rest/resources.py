"""A GET of an API as a resource: its path is the address, what it answers the contents."""

import base64
import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, ResourceNotFound, ToolError
from mcp_server.protocol.types.content import ResourceContents
from mcp_server.registry.addresses.path_safety import normalised
from mcp_server.registry.addresses.uri_template import UriTemplate
from mcp_server.registry.resource import Resource
from mcp_server.rest.model import Parameter, WireAnswer
from mcp_server.rest.offer.offered import Offer
from mcp_server.rest.tools import ImportedOperation, scopes_of
from mcp_server.rest.wire import encoding, media, problems

_GONE: Final = frozenset({404, 410})
_IN_PATH: Final = re.compile(r"\{([^{}]*)\}")
_NOT_IN_A_SCHEME: Final = re.compile(r"[^a-z0-9+.-]+")


class NoResource(ValueError):
    """An operation that no address can stand for."""


def uri_of(api: str, offer: Offer) -> tuple[str, dict[str, str]]:
    """The address of an operation, a template where its path has variables, and its arguments by these variables.

    What is fixed in the path is written out. Raises `NoResource` where an address does not hold all that must be given.
    """
    operation = offer.operation
    if operation.method.lower() != "get":
        raise NoResource("only a GET can be a resource")
    others = [one.key for one in offer.arguments.asked if one.required and one.place != "path"]
    if others:
        raise NoResource(f"as a resource it cannot be given {', '.join(others)}")
    arguments: dict[str, str] = {}
    pieces = {one.wire: _variable(one.key, arguments) for one in offer.arguments.asked if one.place == "path"}
    for parameter in operation.parameters:
        if parameter.place == "path" and ("path", parameter.name) in offer.arguments.fixed:
            pieces[parameter.name] = _fixed(parameter, offer.arguments.fixed["path", parameter.name])
    path = operation.path.partition("#")[0].partition("?")[0]
    path = _IN_PATH.sub(lambda found: pieces.get(found[1], found[0]), path)
    scheme = _NOT_IN_A_SCHEME.sub("-", api.lower())
    scheme = scheme if scheme[:1].isalpha() else f"api-{scheme}"
    return f"{scheme}:///{path.lstrip('/')}", arguments


def _variable(key: str, taken: dict[str, str]) -> str:
    """A variable for an argument; `taken` has those that others have."""
    name = named = re.sub(r"\W", "_", key)
    while name in taken:
        name = f"{named}_{len(taken)}"
    taken[name] = key
    return f"{{{name}}}"


def _fixed(parameter: Parameter, value: Any) -> str:
    try:
        return encoding.in_path(parameter, value)
    except BadArguments as error:
        raise NoResource(f"what is set cannot stand in an address: {error}") from None


def addresses(api: str, offers: Iterable[Offer]) -> Iterator[tuple[str, str]]:
    """The operations that could be resources with their addresses; of equal ones the same first in any document."""
    for offer in sorted(offers, key=lambda one: (len(one.operation.path), one.operation.path, one.name)):
        if offer.manner.form != "tool":
            with contextlib.suppress(NoResource):
                yield offer.name, uri_of(api, offer)[0]


def alike(uri: str) -> str:
    """What two addresses have in common that are read as one: variables may have any name."""
    return normalised(_IN_PATH.sub("{}", uri))


def resource(api: str, offer: Offer, runs: ImportedOperation, default_scopes: frozenset[str]) -> Resource:
    """The resource of an offer; raises `ValueError` for one that cannot be one."""
    uri, arguments = uri_of(api, offer)
    return Resource(
        _reader(runs, uri, arguments),
        uri,
        name=offer.name,
        title=offer.title or None,
        description=offer.description,
        scopes=scopes_of(offer.needs, default_scopes),
        public=offer.needs.public,
    )


def linked(api: str, offer: Offer) -> Callable[[Mapping[str, Any]], str]:
    """The address of the resource that a call of the tool with these arguments is."""
    uri, arguments = uri_of(api, offer)
    template = UriTemplate(uri, []) if arguments else None

    def link(given: Mapping[str, Any]) -> str:
        return uri if template is None else template.expand({name: str(given[key]) for name, key in arguments.items()})

    return link


def _reader(runs: ImportedOperation, uri: str, arguments: Mapping[str, str]) -> Callable[..., Any]:
    async def read(ctx: Context, **values: str) -> ResourceContents:
        try:
            request = runs.request({arguments[name]: value for name, value in values.items()})
        except BadArguments:
            raise ResourceNotFound(uri) from None
        answer = await runs.send(request, ctx)
        if answer.status in _GONE:
            raise ResourceNotFound(uri)
        if not 200 <= answer.status < 300:
            raise ToolError(problems.problem(answer, request.url))
        return contents(answer, _address(uri, values))

    kinds = {"ctx": Context, **dict.fromkeys(arguments, str)}
    read.__annotations__ = {**kinds, "return": ResourceContents}
    read.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in kinds.items()],
        return_annotation=ResourceContents,
    )
    return read


def _address(uri: str, values: Mapping[str, str]) -> str:
    return UriTemplate(uri, []).expand(dict(values)) if values else uri


def contents(answer: WireAnswer, uri: str) -> ResourceContents:
    """What a resource holds: text as text, all else in Base64; raises `ToolError` for what is not whole."""
    kind = media.media_type(answer)
    if answer.cut:
        raise ToolError("the resource is larger than is read")
    if media.is_json(kind) or media.is_text(kind):
        return ResourceContents(uri, text=media.decoded(answer, answer.body), mime_type=kind)
    return ResourceContents(
        uri, blob=base64.b64encode(answer.body).decode("ascii"), mime_type=kind or "application/octet-stream"
    )
