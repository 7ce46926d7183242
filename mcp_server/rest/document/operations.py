"""Operations: a method on a path with all that belongs to it. Read this first, then what it calls.

A fault of an operation leaves out that operation, or less: the rest is imported.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from mcp_server.rest.document import media, parameters, surroundings, swagger2
from mcp_server.rest.document.context import Context, Unusable
from mcp_server.rest.document.values import escaped, text_in
from mcp_server.rest.model import Alternative, Operation, OperationDocs, Parameter, Style, Surroundings

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}\Z")
_TEMPLATE: Final = re.compile(r"\{([^{}]*)\}")
_TEXT: Final[dict[str, Any]] = {"type": "string"}

Found = dict[tuple[str, str], tuple[dict[str, Any], str]]


def operations(context: Context, location: str) -> Iterator[Operation]:
    """All that can be imported of `paths`; what cannot is among the context's faults."""
    paths = context.main.get("paths")
    for path, held in paths.items() if type(paths) is dict else ():
        if path[:2] == "x-":
            continue
        pointer = f"/paths/{escaped(path)}"
        try:
            item = _item(context, held, pointer)
        except Unusable as refused:
            context.faults.add(refused.pointer, refused.text)
            continue
        for method, operation, at in _methods(context, item, pointer):
            try:
                yield _operation(context, (path, method, at), operation, item, location)
            except Unusable as refused:
                context.faults.add(refused.pointer if refused.pointer.startswith(at) else at, _told(refused, at))


def _told(refused: Unusable, at: str) -> str:
    return refused.text if refused.pointer.startswith(at) else f"{refused.text} (at {refused.pointer})"


def _item(context: Context, held: Any, pointer: str) -> dict[str, Any]:
    """A path item, the one that its `$ref` names filled in by what stands beside that."""
    item, _ = context.followed(held, pointer)
    if type(item) is not dict:
        raise Unusable(pointer, "is no path item")
    if item is not held and len(held) > 1:
        return {**item, **{key: value for key, value in held.items() if key != "$ref"}}
    return item


def _methods(context: Context, item: dict[str, Any], pointer: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    found = [(method.upper(), item[method], f"{pointer}/{method}") for method in METHODS if method in item]
    more = item.get("additionalOperations")
    for method, held in more.items() if type(more) is dict else ():
        found.append((method, held, f"{pointer}/additionalOperations/{escaped(method)}"))
    for method, held, at in found:
        if type(held) is not dict:
            context.faults.add(at, "is no operation")
        elif not _TOKEN.match(method):
            context.faults.add(at, "its method is no token of HTTP")
        else:
            yield method, held, at


def _operation(
    context: Context, place: tuple[str, str, str], held: dict[str, Any], item: dict[str, Any], location: str
) -> Operation:
    path, method, pointer = place
    found = dict(_of_path(context, item, f"{pointer.rpartition('/')[0]}/parameters"))
    found.update(parameters.listed(context, held.get("parameters"), f"{pointer}/parameters"))
    context.spend(1 + len(found))
    request, answers = held.get("requestBody"), held.get("responses")
    if context.swagger:
        found, request = swagger2.split(context, held, found)
        answers = swagger2.answers(context, held, f"{pointer}/responses")
    callbacks = held.get("callbacks")
    context.callbacks += len(callbacks) if type(callbacks) is dict else 0
    sent, read = _parameters(context, path, pointer, found)
    answered = media.answers(context, answers, f"{pointer}/responses")
    context.spend(len(answered))
    return Operation(
        method=method,
        path=sent,
        pointer=pointer,
        about=_about(context, held, item, answers),
        parameters=read,
        body=media.body(context, request, f"{pointer}/requestBody"),
        answers=answered,
        security=_security(context, held),
        surroundings=Surroundings(
            servers=_servers(context, held.get("servers") or item.get("servers"), location),
            extensions=surroundings.extensions(held),
            path_extensions=surroundings.extensions(item),
        ),
    )


def _of_path(context: Context, item: dict[str, Any], pointer: str) -> Found:
    held = item.get("parameters")
    return context.once(held, "path", lambda: parameters.listed(context, held, pointer))


def _security(context: Context, operation: dict[str, Any]) -> tuple[Alternative, ...] | None:
    """Of the operation or else of the document; None where neither says anything."""
    holder = next((one for one in (operation, context.main) if "security" in one), None)
    if holder is None:
        return None
    held = holder["security"]
    return context.once(held, "security", lambda: surroundings.security(held))


def _servers(context: Context, held: Any, location: str) -> tuple[str, ...]:
    return context.once(held, "servers", lambda: surroundings.servers(held, location))


def _parameters(context: Context, path: str, pointer: str, found: Found) -> tuple[str, tuple[Parameter, ...]]:
    """The path that is requested and the parameters, each of the path's own among them.

    Some documents tell operations of one path apart by a fragment: it stays in the path, and is never sent.
    """
    bare, _, fragment = path.partition("#")
    bare, _, query = bare.partition("?")
    if bare[:1] != "/":
        bare = f"/{bare}"
    names = _TEMPLATE.findall(bare)
    if "{" in _TEMPLATE.sub("", bare) or "}" in _TEMPLATE.sub("", bare) or "" in names:
        raise Unusable(pointer, "its path has braces that enclose no name")
    read = []
    for (name, place), (held, at) in found.items():
        if place == "path" and name not in names:
            if name in _TEMPLATE.findall(query + fragment):
                continue
            context.faults.add(at, f"the path has no {{{name}}}; the parameter is left out")
            continue
        if (one := parameters.parameter(context, held, at)) is not None:
            read.append(one)
    known = {one.name for one in read if one.place == "path"}
    for name in dict.fromkeys(names):
        if name not in known:
            context.faults.add(pointer, f"the path's {{{name}}} is no parameter; it is taken as a text")
            read.append(_plain(name, "path", _TEXT))
    return (f"{bare}#{fragment}" if fragment else bare), (
        *read,
        *_of_query(context, query, found, {one.name for one in read if one.place == "query"}),
    )


def _plain(name: str, place: Any, schema: Any) -> Parameter:
    style = Style(name="simple" if place == "path" else "form", explode=place != "path")
    return Parameter(name=name, place=place, required=True, schema=schema, style=style)


def _of_query(context: Context, query: str, found: Found, known: set[str]) -> Iterator[Parameter]:
    """`/orders?action=list&of={user}`: what a path should not have is sent where it belongs, fixed or asked for."""
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if not name or name in known or "{" in name:
            continue
        variable = _TEMPLATE.fullmatch(value)
        if variable is None:
            yield _plain(name, "query", {"type": "string", "const": value})
            continue
        held, at = found.get((variable[1], "path"), ({}, ""))
        schema = context.definitions.schema(held.get("schema", _TEXT), f"{at}/schema")
        yield _plain(name, "query", schema)


def _about(context: Context, held: dict[str, Any], item: dict[str, Any], answers: Any) -> OperationDocs:
    tags = held.get("tags")
    return OperationDocs(
        operation_id=text_in(held, "operationId"),
        summary=text_in(held, "summary") or text_in(item, "summary"),
        description=text_in(held, "description") or text_in(item, "description"),
        tags=tuple(tag for tag in tags if type(tag) is str) if type(tags) is list else (),
        deprecated=held.get("deprecated") is True,
        links=tuple(dict.fromkeys(_links(context, answers))),
    )


def _links(context: Context, answers: Any) -> Iterator[str]:
    for status, answer in answers.items() if type(answers) is dict else ():
        if status[:1] not in ("2", "d") or type(answer) is not dict:
            continue
        try:
            held, at = context.followed(answer, "")
            links = held.get("links") if type(held) is dict else None
            for link in links.values() if type(links) is dict else ():
                yield from _target(context, *context.followed(link, at))
        except Unusable:
            continue  # only a hint to the model is lost


def _target(context: Context, link: Any, _pointer: str) -> Iterator[str]:
    if type(link) is not dict:
        return
    name, ref = link.get("operationId"), link.get("operationRef")
    if type(ref) is str and type(name) is not str:
        target, _ = context.followed({"$ref": context.resolver.absolute(ref)}, "")
        name = target.get("operationId") if type(target) is dict else None
    if type(name) is str:
        yield name
