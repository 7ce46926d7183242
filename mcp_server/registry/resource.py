"""A function → a resource or a family of them: address, scopes, how what it returns becomes contents."""

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from mcp_server.authoring import texts
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import ResourceNotFound, UnsupportedType
from mcp_server.protocol.types.content import Annotations, Icon, ResourceContents
from mcp_server.protocol.types.resources import ResourceEntry, TemplateEntry
from mcp_server.registry import encoding
from mcp_server.registry.function import Handler, effective_scopes
from mcp_server.registry.uri_template import UriTemplate, Value


class ResourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the decorator."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    scopes: frozenset[str] | None = None
    public: bool = False
    icons: list[Icon] | None = None
    annotations: Annotations | None = None
    meta: dict[str, Any] | None = None
    single_use: bool = False


class Resource:
    """A registered resource; with variables in its address it is a template."""

    def __init__(self, function: Callable[..., Any], options: ResourceOptions) -> None:
        label = f"resource {options.uri!r}"
        self.uri, self.name = options.uri, options.name
        self.public, self.single_use = options.public, options.single_use
        self.scopes = effective_scopes(label, options.scopes, public=options.public)
        self._mime_type = options.mime_type
        self._handler = Handler(function, label)
        self.same_for_all = options.public and self._handler.context is None
        """Whether what it holds cannot depend on who reads it."""
        self.template = self._template(label) if "{" in options.uri else None
        self._check_parameters(label)
        self._readers = {name: texts.reader(one.hint) for name, one in self._handler.parameters.items()}
        self.entry = _entry(options, options.description or self._handler.text or None)

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
        texts = self.template.match(uri)
        return None if texts is None else self._convert(texts)

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
        return arguments

    def _read(self, name: str, value: Value) -> Any:
        if isinstance(value, str):
            return self._readers[name](value)
        return msgspec.convert(value, self._handler.parameters[name].hint, strict=False)

    async def read(self, uri: str, arguments: dict[str, Any], context: Callable[[], Context]) -> list[ResourceContents]:
        """What the handler returns, as contents; raises what it raises, and `ResourceNotFound` for None."""
        value = await self._handler(arguments, context)
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
            return ResourceContents(uri, text=encoding.text(value), mime_type=self._mime_type or "text/plain")
        text = encoding.encode(value).decode()
        return ResourceContents(uri, text=text, mime_type=self._mime_type or "application/json")


def _entry(options: ResourceOptions, description: str | None) -> ResourceEntry | TemplateEntry:
    common: dict[str, Any] = {
        "name": options.name,
        "title": options.title,
        "description": description,
        "mime_type": options.mime_type,
        "icons": options.icons,
        "annotations": options.annotations,
        "meta": options.meta,
    }
    if "{" in options.uri:
        return TemplateEntry(options.uri, **common)
    return ResourceEntry(options.uri, size=options.size, **common)
