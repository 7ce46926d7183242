"""A function → a resource or a family of them: address, scopes, how what it returns becomes contents."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import msgspec

from mcp_server.authoring import texts
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, ResourceNotFound, UnsupportedType
from mcp_server.observe.log import logger
from mcp_server.protocol.types.content import Annotations, ResourceContents
from mcp_server.protocol.types.resources import ResourceEntry, TemplateEntry
from mcp_server.registry import results
from mcp_server.registry.access import EntryOptions, ProtectedEntry
from mcp_server.registry.addresses import path_safety
from mcp_server.registry.addresses.uri_template import UriTemplate, Value
from mcp_server.registry.function import Handler, readable, settled
from mcp_server.registry.requirement import check_variables
from mcp_server.registry.signature import check_options, name_of


class ResourceOptions(EntryOptions, total=False):
    """What `server.resource` may be told beside the address."""

    name: str | None
    mime_type: str | None
    size: int | None
    annotations: Annotations | None


class Resource(ProtectedEntry):
    """A registered resource; with variables in its address it is a template."""

    def __init__(self, function: Callable[..., Any], uri: str, **options: Unpack[ResourceOptions]) -> None:
        label = f"resource {uri!r}"
        check_options(label, options, ResourceOptions)
        super().__init__(label, options)
        self.uri = uri
        self.name = options.get("name") or name_of(function, "@server.resource(uri, name='a_name')")
        self._mime_type = options.get("mime_type")
        self._handler = Handler(function, label)
        self.values = self._handler.values
        self.same_for_all = self.public and self._handler.context is None
        """Whether what it holds cannot depend on who reads it."""
        self.template = self._template(label) if "{" in uri else None
        self._relative = self.template.relative if self.template else frozenset[str]()
        self._check_parameters(label)
        check_variables(label, self.scopes, lambda: settled(self._handler.parameters))
        self._readers = {name: texts.reader(one.hint) for name, one in self._handler.parameters.items()}
        self.entry = _entry(uri, self.name, self._handler.text, options)

    def _template(self, label: str) -> UriTemplate:
        """The template, compiled with its list variables; raises `UnsupportedType` for one that no text is."""
        lists = []
        for name, parameter in self._handler.parameters.items():
            try:
                if texts.is_list(parameter.hint):
                    lists.append(name)
            except UnsupportedType as error:
                raise UnsupportedType(f"{label}: parameter {name!r}: {error}") from error
        return UriTemplate(self.uri, lists)

    def _check_parameters(self, label: str) -> None:
        names = set(self.template.names) if self.template else set()
        if ":" not in self.uri:
            raise ValueError(f"{label}: an absolute URI has a scheme (RFC 3986 §4.3)")
        wanted = self._handler.parameters
        if unknown := set(wanted) - names:
            raise UnsupportedType(f"{label}: {', '.join(sorted(unknown))} is no variable of the template")
        if unused := names - set(wanted):
            raise UnsupportedType(f"{label}: no parameter for {', '.join(sorted(unused))}")

    def match(self, uri: str) -> dict[str, Any] | None:
        """The handler's arguments when this is the resource that `uri` names, else None."""
        if self.template is None:
            return {} if uri == self.uri else None
        found = self.template.match(uri)
        if found is None:
            return None
        if reason := self._unsafe(found):
            logger.debug("an address is refused", resource=self.uri, reason=reason)
            return None
        return self._convert(found)

    def settled(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Those of the handler's arguments that are given as texts, by who completes another; raises `BadArguments`."""
        found: dict[str, Any] = {}
        for name in self._readers.keys() & given.keys():
            try:
                found[name] = self._readers[name](given[name])
            except msgspec.ValidationError as error:
                raise BadArguments(f"{name}: {readable(str(error))}") from error
        return found

    def canonical(self, uri: str) -> str:
        """The spelling of an address that fits which a client gets by expanding the template with the same values."""
        found = self.template.match(uri) if self.template else None
        return uri if self.template is None or found is None else self.template.expand(found)

    def _unsafe(self, found: dict[str, Value]) -> str:
        for name, value in found.items():
            for text in [value] if isinstance(value, str) else value:
                if reason := path_safety.why_unsafe(text, relative=name in self._relative):
                    return reason
        return ""

    def _convert(self, found: dict[str, Value]) -> dict[str, Any] | None:
        arguments: dict[str, Any] = {}
        for name, parameter in self._handler.parameters.items():
            value = found.get(name)
            if value is None:
                if parameter.required:
                    return None
                continue
            try:
                arguments[name] = self._read(name, value)
            except msgspec.ValidationError:
                return None
        return self._handler.filled(arguments)

    def _read(self, name: str, value: Value) -> Any:
        if isinstance(value, str):
            return self._readers[name](value)
        return msgspec.convert(value, self._handler.parameters[name].hint, strict=False)

    async def read(self, uri: str, arguments: dict[str, Any], context: Callable[[], Context]) -> list[ResourceContents]:
        """What the handler returns, as contents; raises what it raises, and `ResourceNotFound` for None."""
        value = await self._handler.run(arguments, context)
        if value is None:
            raise ResourceNotFound(uri)
        several = isinstance(value, list | tuple) and value and isinstance(value[0], ResourceContents)
        values = value if several else [value]
        return [self._contents(uri, one) for one in values]

    def _contents(self, uri: str, value: Any) -> ResourceContents:
        if isinstance(value, ResourceContents):
            return value
        if isinstance(value, bytes):
            blob = base64.b64encode(value).decode("ascii")
            return ResourceContents(uri, blob=blob, mime_type=self._mime_type or "application/octet-stream")
        if isinstance(value, str):
            return ResourceContents(uri, text=results.text(value), mime_type=self._mime_type or "text/plain")
        text = results.encode(value).decode()
        return ResourceContents(uri, text=text, mime_type=self._mime_type or "application/json")


def _entry(uri: str, name: str, text: str, options: ResourceOptions) -> ResourceEntry | TemplateEntry:
    common: dict[str, Any] = {
        "name": name,
        "title": options.get("title"),
        "description": options.get("description") or text or None,
        "mime_type": options.get("mime_type"),
        "icons": options.get("icons"),
        "annotations": options.get("annotations"),
        "meta": options.get("meta"),
    }
    if "{" in uri:
        return TemplateEntry(uri, **common)
    return ResourceEntry(uri, size=options.get("size"), **common)
