"""An offered operation → what a tool runs: arguments read, the request made, sent as the caller, its answer told."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, UnsetType

from mcp_server.authoring import schema
from mcp_server.authoring.context import Context, facts_of
from mcp_server.authoring.errors import ToolError
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations
from mcp_server.registry.requirement import Scopes, any_of
from mcp_server.registry.tool import Tool, ToolImplementation, read_object
from mcp_server.rest.drift import DriftCheck
from mcp_server.rest.model import Operation, Schema, WireAnswer, WireRequest
from mcp_server.rest.offer.offered import GROUP, Offer, Offered
from mcp_server.rest.offer.schemas.assembly import Assembler
from mcp_server.rest.offer.schemas.outputs import documented
from mcp_server.rest.offer.security import Needs, api_scopes
from mcp_server.rest.upstream import BoundUpstream, CallIdentity, call_identity, exceeds_caller
from mcp_server.rest.upstream_api import UpstreamApi
from mcp_server.rest.wire import answers, cuts, media, pages
from mcp_server.rest.wire.address import Base, Requests
from mcp_server.rest.wire.answers import Asked, Expected

READ_ONLY: Final = frozenset({"get", "head", "options", "query"})


class ImportedOperation(ToolImplementation):
    """One operation of an API, as what a tool runs."""

    def __init__(self, offer: Offer, api: UpstreamApi, base: Base, offered: Offered) -> None:
        self._offer, self._api, self._base = offer, api, base
        self._config, self._definitions = offered.config, offered.document.definitions
        self._identities: dict[frozenset[str], CallIdentity] = {}
        self._exceeds_caller = exceeds_caller(offer.manner.identity)
        self.text = offer.description
        self.input_schema = Raw(offer.arguments.schema)
        self.output_schema = None if offer.output_schema is None else Raw(offer.output_schema)
        self.link: Callable[[dict[str, Any]], str] = lambda _: ""
        """The address of the resource that a call of it is."""
        self._drift = None
        if offered.config.answers.output == "loose":
            # Not by a method of this one: the two of them in a circle would outlive a document that is replaced.
            told = functools.partial(_documented, offer.operation, self._definitions)
            self._drift = DriftCheck(offered.config.name, offer.name, told)

    @property
    def reads(self) -> bool:
        """Whether it changes nothing, by its method (RFC 9110 §9.2.1)."""
        return self._offer.operation.method.lower() in READ_ONLY

    @property
    def audited(self) -> list[str]:
        """Its arguments whose values the audit shall have."""
        wanted = self._config.audit_arguments
        return [one.key for one in self._offer.arguments.asked if one.key in wanted] if wanted else []

    def decode(self, arguments: Raw | UnsetType) -> dict[str, Any]:
        """The request that these arguments make; raises `BadArguments` before anything of the API's is touched."""
        given = read_object(arguments)
        return {"given": given, "request": self.request(given)}

    def values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as they were given."""
        found: dict[str, Any] = arguments["given"]
        return found

    def request(self, given: dict[str, Any]) -> WireRequest:
        """What goes out, all but the credential; raises `BadArguments`."""
        return self._requests.request(self._offer.arguments.values(given))

    async def call(self, arguments: dict[str, Any], context: Callable[[], Context]) -> CallToolResult:
        """The result for a model; raises `ToolError`, and `NeedsScopes` where the API wants more of the caller."""
        request, given = arguments["request"], arguments["given"]
        answer = await self.send(request, context())
        if self._drift is not None:
            self._drift.look(answer)
        asked = Asked(request.url, given, self.link(given))
        try:
            if answers.is_quick(answer):
                return answers.result(answer, self._expected, asked)
            async with (
                self._api.context.reading
            ):  # a large one would keep the loop, and everybody with it; many at once, the memory
                return await asyncio.to_thread(answers.result, answer, self._expected, asked)
        except RecursionError:
            raise ToolError("The API's answer is nested too deeply to be read.") from None

    async def send(self, request: WireRequest, context: Context) -> WireAnswer:
        """The API's answer, asked as the caller; raises `ToolError` and `NeedsScopes`."""
        facts = facts_of(context)
        identity = self._offer.manner.identity
        held = frozenset() if facts.principal is None else facts.principal.scopes
        upstream = BoundUpstream(self._api, facts)
        if self._exceeds_caller:  # of a fixed path, too: a document may spell two operations that its API takes for one
            upstream.require_same_operation(request, self._base, identity, self._offer.needs)
        return await upstream.send(request, self._identity_for(api_scopes(self._offer.needs, held)))

    def _identity_for(self, scopes: frozenset[str]) -> CallIdentity:
        """As whom it is called for these scopes, made once: there are no more than it has alternatives."""
        found = self._identities.get(scopes)
        if found is None:
            found = self._identities[scopes] = call_identity(self._offer.manner.identity, scopes, self._api)
        return found

    @functools.cached_property
    def _requests(self) -> Requests:
        return Requests(self._offer.operation, self._base, self._definitions)

    @functools.cached_property
    def _expected(self) -> Expected:
        """What is known of its answers, made at its first call: most tools of a large API have none."""
        offer, config = self._offer, self._config
        named = {one.wire: one.key for one in offer.arguments.asked if one.place == "query"}
        strict = config.answers.output == "strict" and offer.output_schema is not None
        return Expected(
            json=any(
                media.is_json(one.media_type.partition(";")[0].strip().lower()) for one in offer.operation.answers
            ),
            structured=_is_object(offer.output_schema),
            violation=_violation(offer.output_schema) if strict and offer.output_schema else None,
            max_bytes=cuts.budget(config.answers.max_tokens),
            paging=pages.paging(offer.operation, named) if self.reads else None,
            uri=f"{config.name}:{offer.name}",
        )


def tool(offer: Offer, runs: ImportedOperation, default_scopes: frozenset[str], *, listed: bool) -> Tool:
    """The tool of an offer; raises `ValueError` for what the registry does not take."""
    return Tool(
        runs,
        offer.name,
        title=offer.title or None,
        annotations=_hints(offer, runs),
        scopes=scopes_of(offer.needs, default_scopes),
        public=offer.needs.public,
        listed=listed,
        meta={GROUP: offer.manner.group} if offer.manner.group else None,
        audit_arguments=runs.audited,
        limits=offer.manner.limits,
    )


def _hints(offer: Offer, runs: ImportedOperation) -> ToolAnnotations | None:
    """The hints; a document may not say of what changes things by its method that it only reads."""
    hints, method = offer.annotations, offer.operation.method.lower()
    if hints is None or runs.reads or method == "post" or hints.read_only_hint is not True:
        return hints
    return msgspec.structs.replace(hints, read_only_hint=False)


def scopes_of(needs: Needs, default_scopes: frozenset[str]) -> Scopes:
    """What a caller must hold: any one of the alternatives; None for the server's default scopes."""
    alternatives = [one or default_scopes for one in needs.alternatives]
    if needs.public or not any(needs.alternatives):
        return None
    return alternatives[0] if len(alternatives) == 1 else any_of(*alternatives)


def _documented(operation: Operation, definitions: Mapping[str, Schema]) -> bytes | None:
    return documented(operation, Assembler(definitions, "output"))


def _is_object(output_schema: bytes | None) -> bool:
    return output_schema is not None and msgspec.json.decode(output_schema).get("type") == "object"


def _violation(output_schema: bytes) -> Callable[[bytes], str]:
    violations = schema.validator(msgspec.json.decode(output_schema))

    def violation(found: bytes) -> str:
        for one in violations(msgspec.json.decode(found)):
            place = "/".join(str(part) for part in one.instance_path)
            return f"/{place}: {one.message}"[:300]
        return ""

    return violation
