"""What an API would understand of a request, by its own document: a second reader that shares nothing with our encoder.

It knows the styles from the tables of Swagger 2.0 and OpenAPI 3.x alone, and reads the document as it stands. What was
sent is compared as the document means it: a number as a number, a list item by item, an object member by member.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import msgspec

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_NAME: Final = re.compile(r"\{([^{}]+)\}")
_JSON: Final = re.compile(r"application/([\w.-]+\+)?json|text/json")


class Unreadable(Exception):
    """The document says nothing usable here, so there is nothing to compare with."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it went out."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's value, where it was sent."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What should arrive, by place and name on the wire; `body` is UNSET where none was sent."""

    parameters: Mapping[tuple[str, str], Any]
    body: Any = msgspec.UNSET


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter as the document has it, brought to the words of 3.x."""

    name: str
    place: str
    style: str
    explode: bool
    schema: dict[str, Any]
    media_type: str = ""


class WireReader:
    """Reads requests for one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.is_swagger = "swagger" in document

    def problems(self, pointer: str, asked: Asked, sent: Sent, base: str) -> list[str]:
        """How the request differs from what was sent; empty where it arrives as meant. Raises `Unreadable`.

        `pointer` is where the operation stands in the document.
        """
        path, method = _place(pointer)
        item, operation = self._operation(path, method)
        declared = [*self._declared(item, operation)]
        declared += [
            one
            for one in _in_template(path)
            if ("query", one.name) not in {(known.place, known.name) for known in declared}
        ]
        found = [] if asked.method == method.upper() else [f"method {asked.method}"]
        if not asked.url.startswith(base):
            return [*found, "another address"]
        target = urlsplit(asked.url[len(base) :])
        found += _path(path, target.path, declared, sent)
        found += _query(target.query, declared, sent)
        found += _headers(asked, declared, sent)
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
            body = self.resolve(operation.get("requestBody") or {})
            return {name: self.resolve(one) or {} for name, one in (body.get("content") or {}).items()}
        consumes = operation.get("consumes") or self.document.get("consumes") or ["application/json"]
        parameters = [self.resolve(one) for one in operation.get("parameters") or ()]
        form = {one["name"]: one for one in parameters if one.get("in") == "formData"}
        if form:
            types = [one for one in consumes if "form" in one] or [
                "multipart/form-data",
                "application/x-www-form-urlencoded",
            ]
            return {one: {"schema": {"type": "object", "properties": form}} for one in types}
        body = next((one for one in parameters if one.get("in") == "body"), {})
        return {one: {"schema": body.get("schema") or {}} for one in consumes}

    def _body(self, operation: dict[str, Any], asked: Asked, sent: Any) -> list[str]:
        said = asked.header("content-type")
        if said is None:
            return ["a body without a content type"]
        media_type = said.partition(";")[0].strip().lower()
        contents = {name.partition(";")[0].strip().lower(): one for name, one in self._contents(operation).items()}
        held = contents.get(
            media_type, next((one for name, one in contents.items() if _covers(name, media_type)), None)
        )
        if held is None and _JSON.fullmatch(media_type) and self.is_swagger:
            held = {}  # of a document that says no type a body goes as JSON
        if held is None:
            return [f"content type {media_type}, of {', '.join(contents)}"]
        if _JSON.fullmatch(media_type):
            return _same(sent, _json(asked.body), "body")
        if media_type == "application/x-www-form-urlencoded":
            return self._form(held, asked.body, sent)
        if media_type == "multipart/form-data":
            return _multipart(said, asked.body, sent)
        if media_type.startswith("text/") or isinstance(sent, str):
            return [] if asked.body in _spellings(sent) else ["body: another text"]
        return [] if asked.body == json.dumps(sent).encode() else ["body: another value"]

    def _form(self, held: Mapping[str, Any], body: bytes, sent: Any) -> list[str]:
        if not isinstance(sent, dict):
            return ["a form of something that is no object"]
        schema = self.resolve(held.get("schema") or {})
        properties = (schema.get("properties") if isinstance(schema, dict) else None) or {}
        pairs = _pairs(body.decode("ascii").replace("+", "%20"))
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
        elif isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(item, dict | list) for item in value)
        ):
            one = Declared(
                name=name, place="query", style="content", explode=False, schema=raw, media_type="application/json"
            )
            if not any(unquote(found) == name for found, _ in pairs) and any(
                unquote(found).startswith(f"{name}[") for found, _ in pairs
            ):
                one = msgspec.structs.replace(one, style="deepObject", explode=True)
        else:
            one = Declared(name=name, place="query", style="form", explode=True, schema=raw)
        return _one_query(one, value, pairs)


def _covers(declared: str, media_type: str) -> bool:
    kind, _, sub = declared.partition("/")
    return declared == "*/*" or (sub == "*" and media_type.startswith(f"{kind}/"))


# -- values


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)


def _equal(sent: Any, text: str) -> bool:
    """Whether a text is this value, as the document's types read it."""
    if isinstance(sent, bool | str) or sent is None:
        return text == _text(sent) or (sent is None and text == "")
    if isinstance(sent, int | float):
        try:
            return "e" not in text.lower() and float(text) == float(sent)
        except ValueError:
            return False
    return bool(_json(text.encode()) == sent)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return msgspec.UNSET


def _same(sent: Any, arrived: Any, where: str) -> list[str]:
    return (
        []
        if arrived == sent and json.dumps(arrived, sort_keys=True) == json.dumps(sent, sort_keys=True)
        else [f"{where}: another value"]
    )


def _spellings(sent: Any) -> set[bytes]:
    """The bytes that a text, or bytes in base64, may be."""
    found = {_text(sent).encode()}
    if isinstance(sent, str):
        with contextlib.suppress(binascii.Error, ValueError):
            found.add(base64.b64decode(sent, validate=True))
    return found


def _listed(texts: Iterable[str], sent: list[Any], where: str) -> list[str]:
    arrived = [unquote(one) for one in texts]
    if not sent:
        return [] if arrived in ([], [""]) else [f"{where}: {arrived} for an empty list"]
    good = len(arrived) == len(sent) and all(_equal(one, text) for one, text in zip(sent, arrived, strict=True))
    return [] if good else [f"{where}: {arrived!r:.200} for {sent!r:.200}"]


def _members(pairs: Iterable[tuple[str, str]], sent: dict[str, Any], where: str) -> list[str]:
    arrived = {unquote(name): unquote(text) for name, text in pairs}
    wanted = {name: value for name, value in sent.items() if value is not None}
    good = arrived.keys() == wanted.keys() and all(_equal(value, arrived[name]) for name, value in wanted.items())
    return [] if good else [f"{where}: {arrived!r:.200} for {sent!r:.200}"]


def _twos(texts: list[str]) -> list[tuple[str, str]]:
    return list(zip(texts[::2], texts[1::2], strict=False))


def _cut(text: str, by: str = ",") -> list[str]:
    return text.split(by) if text else []


_JOINTS: Final = {
    "csv": ",",
    "ssv": "%20",
    "tsv": "%09",
    "pipes": "%7C|",
    "spaceDelimited": "%20",
    "pipeDelimited": "%7C|",
}


def _jointed(text: str, style: str) -> list[str]:
    joint = _JOINTS[style]
    if "|" in joint:
        return re.split(r"%7C|\|", text, flags=re.IGNORECASE) if text else []
    return _cut(text, joint)


# -- places


def _place(pointer: str) -> tuple[str, str]:
    """The path and the method of `/paths/~1a/get`, or `/paths/~1a/additionalOperations/COPY`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    return parts[2], parts[-1]


def _in_template(path: str) -> list[Declared]:
    """What some documents write behind the path: `?action=list`, `?of={user}`."""
    return [
        Declared(name=unquote(name), place="query", style="plain", explode=False, schema={})
        for name, _ in _pairs(path.partition("#")[0].partition("?")[2])
    ]


def _pairs(query: str) -> list[tuple[str, str]]:
    found = (one.partition("=") for one in query.split("&") if one)
    return [(name, value) for name, _, value in found]


def _path(template: str, path: str, declared: list[Declared], sent: Sent) -> list[str]:
    """Each name of the template, as much of the path as stands for it."""
    template = template.partition("#")[0].partition("?")[0]
    pieces = _NAME.split("/" + template.lstrip("/"))
    if "" in pieces[2:-1:2]:
        raise Unreadable("two names of the path with nothing between them")
    pattern = "".join(f"(?P<p{n}>[^/]*)" if n % 2 else _literal(piece) for n, piece in enumerate(pieces))
    found = re.fullmatch(pattern, path)
    if found is None:
        return [f"path {path!r:.200} is none of {template}"]
    by_name = {one.name: one for one in declared if one.place == "path"}
    problems: list[str] = []
    for n, name in enumerate(pieces):
        if n % 2 and name in by_name:
            if ("path", name) not in sent.parameters:
                problems.append(f"path {name}: not sent")
            else:
                problems += _one_path(by_name[name], sent.parameters["path", name], found[f"p{n}"])
    return problems


def _literal(piece: str) -> str:
    """A fixed part: as it stands, or with what stands there percent-encoded."""
    return "".join(
        re.escape(char) if char.isalnum() or char == "/" else f"(?:{re.escape(char)}|{_encoded(char)})"
        for char in piece
    )


def _encoded(char: str) -> str:
    return "".join(f"%(?:{byte:02X}|{byte:02x})" for byte in char.encode())


def _one_path(one: Declared, sent: Any, text: str) -> list[str]:
    where = f"path {one.name}"
    prefix = {"label": ".", "matrix": ";"}.get(one.style, "")
    if not text.startswith(prefix):
        return [f"{where}: no {prefix} in front of {text!r}"]
    text = text[len(prefix) :]
    if one.style == "content":
        return _same(sent, _json(unquote_to_bytes(text)), where)
    if isinstance(sent, dict):
        return _path_members(one, sent, text, where)
    if isinstance(sent, list):
        return _path_items(one, sent, text, where)
    if one.style == "matrix":
        name, _, text = text.partition("=")
        if unquote(name) != one.name:
            return [f"{where}: named {name}"]
    return [] if _equal(sent, unquote(text)) else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]


def _path_items(one: Declared, sent: list[Any], text: str, where: str) -> list[str]:
    if one.style == "matrix" and one.explode:
        return _listed([part.partition("=")[2] for part in text.split(";")], sent, where)
    if one.style == "matrix":
        return _listed(_cut(text.partition("=")[2]), sent, where)
    if one.style == "label" and one.explode:
        return _listed(_cut(text, "."), sent, where)
    return _listed(_jointed(text, one.style) if one.style in _JOINTS else _cut(text), sent, where)


def _path_members(one: Declared, sent: dict[str, Any], text: str, where: str) -> list[str]:
    if one.explode:
        joint = {"label": ".", "matrix": ";"}.get(one.style, ",")
        return _members([(n, v) for n, _, v in (part.partition("=") for part in _cut(text, joint))], sent, where)
    return _members(_twos(_cut(text.partition("=")[2] if one.style == "matrix" else text)), sent, where)


def _query(query: str, declared: list[Declared], sent: Sent) -> list[str]:
    whole = next((one for one in declared if one.place == "querystring"), None)
    if whole is not None and ("querystring", whole.name) in sent.parameters:
        return _whole(whole, query, sent.parameters["querystring", whole.name])
    pairs = _pairs(query)
    found: list[str] = []
    for one in declared:
        if one.place == "query" and ("query", one.name) in sent.parameters:
            found += _one_query(one, sent.parameters["query", one.name], pairs)
    return found + [f"query {unquote(name)}: nobody sent it" for name, _ in pairs]


def _whole(one: Declared, query: str, sent: Any) -> list[str]:
    if one.media_type == "application/x-www-form-urlencoded":
        pairs = _pairs(query.replace("+", "%20"))
        return [problem for name, value in sent.items() for problem in _one_query(
            Declared(name=name, place="query", style="form", explode=True, schema={}), value, pairs)]  # fmt: skip
    return _same(sent, _json(unquote_to_bytes(query)), "querystring")


def _taken(pairs: list[tuple[str, str]], name: str) -> list[str]:
    """The values under a name, which are then accounted for."""
    found = [value for key, value in pairs if unquote(key) == name]
    pairs[:] = [pair for pair in pairs if unquote(pair[0]) != name]
    return found


def _one_query(one: Declared, sent: Any, pairs: list[tuple[str, str]]) -> list[str]:
    where = f"query {one.name}"
    if one.style == "deepObject" and isinstance(sent, dict):
        mine = [(name, value) for name, value in pairs if unquote(name).startswith(f"{one.name}[")]
        pairs[:] = [pair for pair in pairs if pair not in mine]
        return _deep(one.name, sent, [(unquote(name), unquote(value)) for name, value in mine], where)
    if one.style == "form" and one.explode and isinstance(sent, dict):
        mine = [(name, text) for name in sent if sent[name] is not None for text in _taken(pairs, name)]
        return _members_or_lists(mine, sent, where)
    values = _taken(pairs, one.name)
    if isinstance(sent, list) and (one.style == "multi" or (one.style in ("form", "deepObject") and one.explode)):
        return _listed(values, sent, where)
    if isinstance(sent, list | dict) and not sent and not values:
        return []
    if len(values) != 1:
        return [f"{where}: {len(values)} times"]
    return _one_value(one, sent, values[0], where)


def _one_value(one: Declared, sent: Any, text: str, where: str) -> list[str]:
    if one.style == "content":
        good = _equal(sent, unquote(text)) if isinstance(sent, str) else _json(unquote_to_bytes(text)) == sent
        return (
            []
            if good or _json(unquote_to_bytes(text)) == sent
            else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]
        )
    if isinstance(sent, list):
        return _listed(_jointed(text, one.style) if one.style in _JOINTS else _cut(text), sent, where)
    if isinstance(sent, dict):
        cut = _jointed(text, one.style) if one.style in _JOINTS else _cut(text)
        problems = _members(_twos(cut), sent, where)
        return [] if problems and _json(unquote_to_bytes(text)) == sent else problems
    return [] if _equal(sent, unquote(text)) else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]


def _members_or_lists(pairs: list[tuple[str, str]], sent: dict[str, Any], where: str) -> list[str]:
    """An exploded object: its members stand as parameters; what one of them that is a list looks like nobody says."""
    plain = {name: value for name, value in sent.items() if not isinstance(value, list)}
    found = _members([(name, text) for name, text in pairs if name in plain], plain, where)
    for name, value in sent.items():
        if isinstance(value, list):
            texts = [text for found_name, text in pairs if found_name == name]
            one = Declared(name=name, place="query", style="form", explode=False, schema={})
            if _listed(texts, value, where) and (len(texts) != 1 or (
                _one_value(one, value, texts[0], where) and not _equal(value, unquote(texts[0])))):  # fmt: skip
                found.append(f"{where}.{name}: {texts!r:.200} for {value!r:.200}")
    return found


def _deep(name: str, sent: Any, pairs: list[tuple[str, str]], where: str) -> list[str]:
    """`name[a]=1`; how deeper values are written nobody says: by more brackets, or as JSON."""
    found: list[str] = []
    for key, value in sent.items():
        own = f"{name}[{key}]"
        mine = [text for found_name, text in pairs if found_name in (own, f"{own}[]")]
        if value is None and not mine:
            continue
        if isinstance(value, dict) and not mine:
            found += _deep(own, value, [pair for pair in pairs if pair[0].startswith(f"{own}[")], where)
        elif isinstance(value, list) and not (len(mine) == 1 and _equal(value, mine[0])):
            if not mine:  # by number
                mine = [text for found_name, text in pairs if re.fullmatch(re.escape(own) + r"\[\d+\]", found_name)]
            found += _listed([_quoted(one) for one in mine], value, where)
        elif not isinstance(value, list) and not (len(mine) == 1 and _equal(value, mine[0])):
            found.append(f"{own}: {mine!r:.200} for {value!r:.200}")
    return found


def _quoted(text: str) -> str:
    return text.replace("%", "%25")


def _headers(asked: Asked, declared: list[Declared], sent: Sent) -> list[str]:
    found: list[str] = []
    cookies = dict(
        part.strip().partition("=")[::2] for part in (asked.header("cookie") or "").split(";") if part.strip()
    )
    by_header = {name.lower(): value for (place, name), value in sent.parameters.items() if place == "header"}
    for one in declared:
        if one.place == "header" and one.name.lower() in by_header:
            found += _one_header(one, by_header[one.name.lower()], asked.header(one.name))
        elif one.place == "cookie" and ("cookie", one.name) in sent.parameters:
            found += _one_cookie(one, sent.parameters["cookie", one.name], cookies)
    return found


def _one_header(one: Declared, sent: Any, text: str | None) -> list[str]:
    where = f"header {one.name}"
    if text is None:
        return [] if sent in ([], {}) else [f"{where}: not there"]
    text = text.replace("%", "%25")  # headers are not percent-encoded
    if one.style == "content" or (isinstance(sent, dict | list) and _json(unquote_to_bytes(text)) == sent):
        return _same(sent, _json(unquote_to_bytes(text)), where)
    if isinstance(sent, list):
        joint = {"ssv": " ", "tsv": "\t", "pipes": "|"}.get(one.style, ",")
        return _listed([part.strip() for part in text.split(joint)], sent, where)
    if isinstance(sent, dict):
        if any(isinstance(value, dict | list) for value in sent.values()):
            raise Unreadable("what a list in a member of a header looks like nobody says")
        parts = _cut(text)
        return _members([part.partition("=")[::2] for part in parts] if one.explode else _twos(parts), sent, where)  # type: ignore[misc]
    return [] if _equal(sent, unquote(text)) else [f"{where}: {text!r:.200} for {sent!r:.200}"]


def _one_cookie(one: Declared, sent: Any, cookies: dict[str, str]) -> list[str]:
    where = f"cookie {one.name}"
    if isinstance(sent, dict) and one.explode:
        return _members([(name, cookies.get(name, "")) for name in sent], sent, where)
    text = cookies.get(one.name)
    if text is None:
        return [f"{where}: not there"]
    if isinstance(sent, list):
        return [] if one.explode else _listed(_cut(text), sent, where)
    return _one_value(one, sent, text, where)


def _multipart(content_type: str, body: bytes, sent: Any) -> list[str]:
    if not isinstance(sent, dict):
        return ["a form of something that is no object"]
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=policy.HTTP)
    parts: dict[str, list[EmailMessage]] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
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


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _is_part(sent: Any, data: bytes) -> bool:
    if isinstance(sent, dict) and ("content" in sent or "text" in sent) and _json(data) != sent:
        held = sent.get("content", sent.get("text"))
        return data in _spellings(held)
    if isinstance(sent, str):
        return data in _spellings(sent)
    return _equal(sent, data.decode(errors="replace"))
