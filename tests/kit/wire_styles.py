"""How values stand in a request, from the tables of Swagger 2.0 and OpenAPI 3.x alone: read back and compared.

What was sent is compared as the document means it: a number as a number, a list item by item, an object by its members.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

import msgspec

_NAME: Final = re.compile(r"\{([^{}]+)\}")
_SEGMENT: Final = r"(?:%[0-9A-Fa-f]{2}|[^/%])*"
"""What stands for a name: the F of `%2F` is none that a template has between two names (RFC 3986 §2.1)."""
JSON: Final = re.compile(r"application/([\w.-]+\+)?json|text/json")


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

    parameters: Mapping[Any, Any]
    body: Any = msgspec.UNSET


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter as the document has it, brought to the words of 3.x."""

    name: str
    place: str
    style: str
    explode: bool
    schema: dict[str, Any]
    media_type: str = ""


def covers(declared: str, media_type: str) -> bool:
    kind, _, sub = declared.partition("/")
    return declared == "*/*" or (sub == "*" and media_type.startswith(f"{kind}/"))


# -- values


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)


def equal(sent: Any, text: str) -> bool:
    """Whether a text is this value, as the document's types read it."""
    if isinstance(sent, bool | str) or sent is None:
        return text == _text(sent) or (sent is None and text == "")
    if isinstance(sent, int | float):
        try:
            return "e" not in text.lower() and float(text) == float(sent)
        except ValueError:
            return False
    return bool(as_json(text.encode()) == sent)


def as_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return msgspec.UNSET


def same(sent: Any, arrived: Any, where: str) -> list[str]:
    return (
        []
        if arrived == sent and json.dumps(arrived, sort_keys=True) == json.dumps(sent, sort_keys=True)
        else [f"{where}: another value"]
    )


def spellings(sent: Any) -> set[bytes]:
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
    good = len(arrived) == len(sent) and all(equal(one, text) for one, text in zip(sent, arrived, strict=True))
    return [] if good else [f"{where}: {arrived!r:.200} for {sent!r:.200}"]


def _members(pairs: Iterable[tuple[str, str]], sent: dict[str, Any], where: str) -> list[str]:
    arrived = {unquote(name): unquote(text) for name, text in pairs}
    wanted = {name: value for name, value in sent.items() if value is not None}
    good = arrived.keys() == wanted.keys() and all(equal(value, arrived[name]) for name, value in wanted.items())
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


def place_of(pointer: str) -> tuple[str, str]:
    """The path and the method of `/paths/~1a/get`, or `/paths/~1a/additionalOperations/COPY`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    return parts[2], parts[-1]


def in_template(path: str) -> list[Declared]:
    """What some documents write behind the path: `?action=list`, `?of={user}`."""
    return [
        Declared(name=unquote(name), place="query", style="plain", explode=False, schema={})
        for name, _ in split_pairs(path.partition("#")[0].partition("?")[2])
    ]


def split_pairs(query: str) -> list[tuple[str, str]]:
    found = (one.partition("=") for one in query.split("&") if one)
    return [(name, value) for name, _, value in found]


def read_path(template: str, path: str, declared: list[Declared], sent: Sent) -> list[str]:
    """Each name of the template, as much of the path as stands for it."""
    template = template.partition("#")[0].partition("?")[0]
    pieces = _NAME.split("/" + template.lstrip("/"))
    if "" in pieces[2:-1:2]:
        raise Unreadable("two names of the path with nothing between them")
    pattern = "".join(f"(?P<p{n}>{_SEGMENT})" if n % 2 else _literal(piece) for n, piece in enumerate(pieces))
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
        return _content(one, sent, text, where)
    if isinstance(sent, dict):
        return _path_members(one, sent, text, where)
    if isinstance(sent, list):
        return _path_items(one, sent, text, where)
    if one.style == "matrix":
        name, _, text = text.partition("=")
        if unquote(name) != one.name:
            return [f"{where}: named {name}"]
    return [] if equal(sent, unquote(text)) else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]


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


def read_query(query: str, declared: list[Declared], sent: Sent) -> list[str]:
    whole = next((one for one in declared if one.place == "querystring"), None)
    if whole is not None and ("querystring", whole.name) in sent.parameters:
        return _whole(whole, query, sent.parameters["querystring", whole.name])
    pairs = split_pairs(query)
    found: list[str] = []
    for one in declared:
        if one.place == "query" and ("query", one.name) in sent.parameters:
            found += one_query(one, sent.parameters["query", one.name], pairs)
    return found + [f"query {unquote(name)}: nobody sent it" for name, _ in pairs]


def _whole(one: Declared, query: str, sent: Any) -> list[str]:
    if one.media_type == "application/x-www-form-urlencoded":
        pairs = split_pairs(query.replace("+", "%20"))
        return [problem for name, value in sent.items() for problem in one_query(
            Declared(name=name, place="query", style="form", explode=True, schema={}), value, pairs)]  # fmt: skip
    return same(sent, as_json(unquote_to_bytes(query)), "querystring")


def _taken(pairs: list[tuple[str, str]], name: str) -> list[str]:
    """The values under a name, which are then accounted for."""
    found = [value for key, value in pairs if unquote(key) == name]
    pairs[:] = [pair for pair in pairs if unquote(pair[0]) != name]
    return found


def one_query(one: Declared, sent: Any, pairs: list[tuple[str, str]]) -> list[str]:
    where = f"query {one.name}"
    if one.style == "deepObject" and isinstance(sent, dict | list):
        mine = [(name, value) for name, value in pairs if unquote(name).startswith(f"{one.name}[")]
        pairs[:] = [pair for pair in pairs if pair not in mine]
        texts = [(unquote(name), unquote(value)) for name, value in mine]
        if isinstance(sent, list):  # which no table has; by number, as servers take it
            sent = {str(number): value for number, value in enumerate(sent)}
        return _deep(one.name, sent, texts, where)
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
        return _content(one, sent, text, where)
    if isinstance(sent, list):
        return _listed(_jointed(text, one.style) if one.style in _JOINTS else _cut(text), sent, where)
    if isinstance(sent, dict):
        cut = _jointed(text, one.style) if one.style in _JOINTS else _cut(text)
        problems = _members(_twos(cut), sent, where)
        return [] if problems and as_json(unquote_to_bytes(text)) == sent else problems
    return [] if equal(sent, unquote(text)) else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]


def _content(one: Declared, sent: Any, text: str, where: str) -> list[str]:
    """A value in the media type that the document has for it: as JSON, or a text as it is, where that is another one."""
    if JSON.fullmatch(one.media_type):
        return same(sent, as_json(unquote_to_bytes(text)), where)
    return [] if equal(sent, unquote(text)) else [f"{where}: {unquote(text)!r:.200} for {sent!r:.200}"]


def _members_or_lists(pairs: list[tuple[str, str]], sent: dict[str, Any], where: str) -> list[str]:
    """An exploded object: its members stand as parameters; what one of them that is a list looks like nobody says."""
    plain = {name: value for name, value in sent.items() if not isinstance(value, list)}
    found = _members([(name, text) for name, text in pairs if name in plain], plain, where)
    for name, value in sent.items():
        if isinstance(value, list):
            texts = [text for found_name, text in pairs if found_name == name]
            one = Declared(name=name, place="query", style="form", explode=False, schema={})
            if _listed(texts, value, where) and (len(texts) != 1 or (
                _one_value(one, value, texts[0], where) and not equal(value, unquote(texts[0])))):  # fmt: skip
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
        if isinstance(value, list) and any(isinstance(item, dict | list) for item in value) and not mine:
            value = {str(number): item for number, item in enumerate(value)}  # noqa: PLW2901 - the same, by number
        if isinstance(value, dict) and not mine:
            found += _deep(own, value, [pair for pair in pairs if pair[0].startswith(f"{own}[")], where)
        elif isinstance(value, list) and not (len(mine) == 1 and equal(value, mine[0])):
            if not mine:  # by number
                mine = [text for found_name, text in pairs if re.fullmatch(re.escape(own) + r"\[\d+\]", found_name)]
            found += _listed([_quoted(one) for one in mine], value, where)
        elif not isinstance(value, list) and not (len(mine) == 1 and equal(value, mine[0])):
            found.append(f"{own}: {mine!r:.200} for {value!r:.200}")
    return found


def _quoted(text: str) -> str:
    return text.replace("%", "%25")


def read_headers(asked: Asked, declared: list[Declared], sent: Sent) -> list[str]:
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
    if one.style == "content" or (isinstance(sent, dict | list) and as_json(unquote_to_bytes(text)) == sent):
        return _content(one, sent, text, where)
    if isinstance(sent, list):
        joint = {"ssv": " ", "tsv": "\t", "pipes": "|"}.get(one.style, ",")
        return _listed([part.strip() for part in text.split(joint)], sent, where)
    if isinstance(sent, dict):
        if any(isinstance(value, dict | list) for value in sent.values()):
            raise Unreadable("what a list in a member of a header looks like nobody says")
        parts = _cut(text)
        return _members([part.partition("=")[::2] for part in parts] if one.explode else _twos(parts), sent, where)
    return [] if equal(sent, unquote(text)) else [f"{where}: {text!r:.200} for {sent!r:.200}"]


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
