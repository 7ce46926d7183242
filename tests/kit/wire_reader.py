"""What an API would understand of a request, by its own document: a second reader that shares nothing with our encoder.

It reads the document as it stands and knows nothing of how we did; `wire_styles` has the tables.
"""

import json
from collections.abc import Mapping
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from tests.kit.wire_styles import (
    JSON,
    Asked,
    Declared,
    Sent,
    Unreadable,
    as_json,
    covers,
    equal,
    in_template,
    one_query,
    place_of,
    read_headers,
    read_path,
    read_query,
    same,
    spellings,
    split_pairs,
)


class WireReader:
    """Reads requests for one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.is_swagger = "swagger" in document

    def problems(self, pointer: str, asked: Asked, sent: Sent, base: str) -> list[str]:
        """How the request differs from what was sent; empty where it arrives as meant. Raises `Unreadable`.

        `pointer` is where the operation stands in the document.
        """
        path, method = place_of(pointer)
        item, operation = self._operation(path, method)
        declared = [*self._declared(item, operation)]
        declared += [
            one
            for one in in_template(path)
            if ("query", one.name) not in {(known.place, known.name) for known in declared}
        ]
        found = [] if asked.method == method.upper() else [f"method {asked.method}"]
        if not asked.url.startswith(base):
            return [*found, "another address"]
        target = urlsplit(asked.url[len(base) :])
        found += read_path(path, target.path, declared, sent)
        found += read_query(target.query, declared, sent)
        found += read_headers(asked, declared, sent)
        if sent.body is not msgspec.UNSET:
            found += self._body(operation, asked, sent.body)
        elif asked.body:
            found.append("a body that nobody sent")
        known = {(one.place, one.name) for one in declared}
        return found + [
            f"{place} {name} is not in the document" for place, name in sent.parameters if (place, name) not in known
        ]

    def resolve(self, node: Any) -> Any:
        """What a chain of references leads to, in this document."""
        for _ in range(20):
            if not (isinstance(node, dict) and isinstance(node.get("$ref"), str)):
                return node
            node = self._at(node["$ref"])
        raise Unreadable("references go round")

    def _at(self, ref: str) -> Any:
        if not ref.startswith("#/"):
            raise Unreadable(f"elsewhere: {ref}")
        node: Any = self.document
        for part in ref[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise Unreadable(f"nowhere: {ref}") from error
        return node

    def _operation(self, path: str, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
        item = self.resolve(self.document["paths"][path])
        more = {name.lower(): one for name, one in (item.get("additionalOperations") or {}).items()}
        operation = item.get(method.lower()) or more.get(method.lower())
        if not isinstance(operation, dict):
            raise Unreadable(f"no {method}")
        return item, operation

    def _declared(self, item: dict[str, Any], operation: dict[str, Any]) -> list[Declared]:
        found: dict[tuple[str, str], Declared] = {}
        for raw in (*(item.get("parameters") or ()), *(operation.get("parameters") or ())):
            parameter = self.resolve(raw)
            if not isinstance(parameter, dict) or parameter.get("in") in ("body", "formData"):
                continue
            one = self._one(parameter)
            found[one.place, one.name.lower() if one.place == "header" else one.name] = one
        return list(found.values())

    def _one(self, parameter: dict[str, Any]) -> Declared:
        name, place = parameter["name"], parameter["in"]
        if self.is_swagger:
            joint = parameter.get("collectionFormat", "csv")
            many = parameter.get("type") == "array"
            return Declared(name=name, place=place, style=joint if many else "plain", explode=False, schema=parameter)
        if "content" in parameter:
            media_type, held = next(iter(parameter["content"].items()))
            held = self.resolve(held) or {}
            schema = self.resolve(held.get("schema") or {})
            return Declared(
                name=name, place=place, style="content", explode=False, schema=schema, media_type=media_type
            )
        usual = {"query": "form", "cookie": "form", "path": "simple", "header": "simple"}
        style = parameter.get("style") or usual[place]
        schema = self.resolve(parameter.get("schema") or {})
        explode = parameter.get("explode", style in ("form", "cookie"))
        return Declared(
            name=name, place=place, style=style, explode=explode, schema=schema if isinstance(schema, dict) else {}
        )

    # -- bodies

    def _contents(self, operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Media type → media type object."""
        if not self.is_swagger:
            requested = self.resolve(operation.get("requestBody") or {})
            return {name: self.resolve(one) or {} for name, one in (requested.get("content") or {}).items()}
        consumes = operation.get("consumes") or self.document.get("consumes") or ["application/json"]
        parameters = [self.resolve(one) for one in operation.get("parameters") or ()]
        form = {one["name"]: one for one in parameters if one.get("in") == "formData"}
        if form:
            types = [one for one in consumes if "form" in one] or [
                "multipart/form-data",
                "application/x-www-form-urlencoded",
            ]
            return {one: {"schema": {"type": "object", "properties": form}} for one in types}
        whole: Any = next((one for one in parameters if one.get("in") == "body"), {})
        return {one: {"schema": whole.get("schema") or {}} for one in consumes}

    def _body(self, operation: dict[str, Any], asked: Asked, sent: Any) -> list[str]:
        said = asked.header("content-type")
        if said is None:
            return ["a body without a content type"]
        media_type = said.partition(";")[0].strip().lower()
        contents = {name.partition(";")[0].strip().lower(): one for name, one in self._contents(operation).items()}
        held: Any = contents.get(media_type) if media_type in contents else None
        if media_type not in contents:
            held = next((one for name, one in contents.items() if covers(name, media_type)), None)
        if held is None and JSON.fullmatch(media_type) and self.is_swagger:
            held = {}  # of a document that says no type a body goes as JSON
        if held is None:
            return [f"content type {media_type}, of {', '.join(contents)}"]
        if JSON.fullmatch(media_type):
            return same(sent, as_json(asked.body), "body")
        if media_type == "application/x-www-form-urlencoded":
            return self._form(held, asked.body, sent)
        if media_type == "multipart/form-data":
            if any(one.get("style") == "deepObject" for one in (held.get("encoding") or {}).values()):
                raise Unreadable("what a style means for parts 3.0 does not say")
            return read_multipart(said, asked.body, sent)
        if media_type.startswith("text/") or isinstance(sent, str):
            return [] if asked.body in spellings(sent) else ["body: another text"]
        return [] if asked.body == json.dumps(sent).encode() else ["body: another value"]

    def _form(self, held: Mapping[str, Any], body: bytes, sent: Any) -> list[str]:
        if not isinstance(sent, dict):
            return ["a form of something that is no object"]
        schema = self.resolve(held.get("schema") or {})
        properties = (schema.get("properties") if isinstance(schema, dict) else None) or {}
        pairs = split_pairs(body.decode("ascii").replace("+", "%20"))
        found: list[str] = []
        for name, value in sent.items():
            encoding = (held.get("encoding") or {}).get(name) or {}
            raw = self.resolve(properties.get(name) or {})
            found += self._field(name, value, encoding, raw if isinstance(raw, dict) else {}, pairs)
        return found + [f"form {unquote(name)}: nobody sent it" for name, _ in pairs]

    def _field(
        self, name: str, value: Any, encoding: Mapping[str, Any], raw: dict[str, Any], pairs: list[tuple[str, str]]
    ) -> list[str]:
        if self.is_swagger:
            joint = raw.get("collectionFormat", "csv") if isinstance(value, list) else "plain"
            one = Declared(name=name, place="query", style=joint, explode=False, schema=raw)
        elif {"style", "explode", "allowReserved"} & encoding.keys():
            style = encoding.get("style", "form")
            explode = encoding.get("explode", style == "form")
            one = Declared(name=name, place="query", style=style, explode=explode, schema=raw)
        elif isinstance(value, dict | list):  # a list item by item, objects in it as texts (OAS 3.0.4 §4.7.13.2)
            style, explode = ("form", True) if isinstance(value, list) else ("content", False)
            one = Declared(
                name=name, place="query", style=style, explode=explode, schema=raw, media_type="application/json"
            )
            if not any(unquote(found) == name for found, _ in pairs) and any(
                unquote(found).startswith(f"{name}[") for found, _ in pairs
            ):
                one = msgspec.structs.replace(one, style="deepObject", explode=True)
        else:
            one = Declared(name=name, place="query", style="form", explode=True, schema=raw)
        return one_query(one, value, pairs)


def read_multipart(content_type: str, body: bytes, sent: Any) -> list[str]:
    if not isinstance(sent, dict):
        return ["a form of something that is no object"]
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=policy.HTTP)
    parts: dict[str, list[Any]] = {}
    for part in message.iter_parts():
        name = part["content-disposition"].params["name"]
        parts.setdefault(name, []).append(part)
    found: list[str] = []
    for name, value in sent.items():
        mine = [_payload(one) for one in parts.pop(name, [])]
        many = value if isinstance(value, list) and len(mine) == len(value) else [value]
        if not mine and value in ([], None):
            continue
        if len(mine) != len(many) or not all(_is_part(one, data) for one, data in zip(many, mine, strict=True)):
            found.append(f"part {name}: {mine!r:.200} for {value!r:.200}")
    return found + [f"part {name}: nobody sent it" for name in parts]


def _payload(part: Any) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _is_part(sent: Any, data: bytes) -> bool:
    if isinstance(sent, dict) and ("content" in sent or "text" in sent) and as_json(data) != sent:
        held = sent.get("content", sent.get("text"))
        return data in spellings(held)
    if isinstance(sent, str):
        return data in spellings(sent)
    return equal(sent, data.decode(errors="replace"))
