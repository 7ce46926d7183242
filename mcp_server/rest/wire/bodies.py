"""Request bodies: JSON, forms, multipart, text and bytes, with their media types, within a bound."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import REF, Body, Schema, Style, is_bytes
from mcp_server.rest.wire import encoding, values

MAX_BODY: Final = 4 * 1024 * 1024
"""The request limit of this server, after base64 and encoding."""
JSON_TYPE: Final = "application/json"
FILE_NAME: Final = "file"
"""Of a file that has none: without any, many servers take the part for a text field."""
_MEDIA_TYPE: Final = re.compile(
    r"[!#$&^_.+\-a-zA-Z0-9]+/[!#$&^_.+\-a-zA-Z0-9]+(;[ \t]*[\w.-]+=(\w|[.+:-])+)*", re.ASCII
)
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f/\\]")
Definitions = Mapping[str, Schema]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a multipart body."""

    name: str
    media_type: str
    content: bytes
    filename: str = ""


def encode(body: Body, value: Any, definitions: Definitions | None = None) -> tuple[str, bytes]:
    """The Content-Type and the bytes; `definitions` are the document's. Raises `BadArguments`."""
    try:
        made = _encoded(body, value, definitions or {})
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise BadArguments("body: is no valid Unicode text") from error
    if len(made[1]) > MAX_BODY:
        raise BadArguments(f"body: over {MAX_BODY} bytes")
    return made


def _encoded(body: Body, value: Any, definitions: Definitions) -> tuple[str, bytes]:
    match body.kind:
        case "json":
            return JSON_TYPE if "*" in body.media_type else body.media_type, _json(value)
        case "form":
            return body.media_type, _form(body, _object(value))
        case "multipart":
            return _multipart(body, list(_parts(body, _object(value), definitions)))
        case "text":
            return _text(body.media_type, value)
        case _:
            return "application/octet-stream" if "*" in body.media_type else body.media_type, _bytes(value, "body")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(_whole(value))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BadArguments("body: cannot be written as JSON") from error


def _whole(value: Any) -> Any:
    """5.0 as 5: models write both, JSON sees one number, and typed servers take only the second for an integer."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            return {name: _whole(part) for name, part in value.items()}
        case list():
            return [_whole(part) for part in value]
        case _:
            return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadArguments("body: must be an object")
    return {name: part for name, part in value.items() if part is not None}


def _text(media_type: str, value: Any) -> tuple[str, bytes]:
    plain = value if isinstance(value, str) else values.text(value, "body")
    content = plain.encode()
    media_type = "text/plain" if "*" in media_type else media_type
    named = plain.isascii() or "charset" in media_type.lower()
    return media_type if named else f"{media_type}; charset=utf-8", content


def _bytes(value: Any, name: str) -> bytes:
    """Base64 text, or a file's value, as bytes."""
    match value:
        case {"content": str(content)} | str(content):
            try:
                return base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError) as error:
                raise BadArguments(f"{name}: must be base64") from error
        case {"text": str(plain)}:
            return _text("text/plain", plain)[1]
        case _:
            raise BadArguments(f"{name}: must be base64, or an object with `content` (base64) or `text`")


def _form(body: Body, value: dict[str, Any]) -> bytes:
    """`application/x-www-form-urlencoded`: by the property's encoding, else as OAS 3.1 §4.15.3 has it without one."""
    pairs: list[str] = []
    for name, part in value.items():
        style = body.encoding.get(name)
        if style is None:
            pairs += filter(None, (encoding.form({name: part}, name),))
        elif style.name == "content":
            items = part if isinstance(part, list) else [part]
            pairs += (pair for one in items if one is not None for pair in encoding.pairs(name, style, one))
        else:
            pairs += encoding.pairs(name, style, part)
    return "&".join(pairs).encode()


def _multipart(body: Body, parts: list[Part]) -> tuple[str, bytes]:
    """The parts between lines that none of them has in it: the boundary is a hash of them all."""
    digest = hashlib.sha256()
    for part in parts:
        for field in (part.name.encode(), part.content):
            digest.update(len(field).to_bytes(8, "big") + field)
    boundary = digest.hexdigest()
    blocks = [b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), _head(part), part.content) for part in parts]
    media_type = "multipart/form-data" if "*" in body.media_type else body.media_type.partition(";")[0].strip()
    return f"{media_type}; boundary={boundary}", b"".join(blocks) + b"--%b--\r\n" % boundary.encode()


def _head(part: Part) -> bytes:
    filename = f'; filename="{_quoted(part.filename)}"' if part.filename else ""
    disposition = f'Content-Disposition: form-data; name="{_quoted(part.name)}"{filename}'
    return f"{disposition}\r\nContent-Type: {part.media_type}\r\n".encode()


def _quoted(name: str) -> str:
    """A name as forms quote it (HTML §4.10.21.8): what would end the text or the line is percent-encoded.

    Some readers undo a backslash, so that the quotation mark behind it would end nothing: it is refused, as are control
    characters. Raises `BadArguments`.
    """
    if "\\" in name or any((ord(one) < 0x20 and one not in "\r\n") or ord(one) == 0x7F for one in name):
        raise BadArguments("a name of a part may have no backslash and no control character")
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _parts(body: Body, value: dict[str, Any], definitions: Definitions) -> Iterator[Part]:
    for name, whole in value.items():
        style, schema = body.encoding.get(name), _property(body.schema, name, definitions)
        # One part for each item of a list (RFC 7578 §4.3), its schema that of the items.
        items, inner = (whole, _items(schema, definitions)) if isinstance(whole, list) else ([whole], schema)
        if style is not None and style.name != "content" and not any(_is_file(inner, one) for one in items):
            yield from _styled(name, style, whole)
            continue
        stated = style.media_type if style else ""
        for one in items:
            if one is None:
                continue
            if _is_file(inner, one):
                yield _file(name, one, stated or str(inner.get("contentMediaType", "")))
            else:
                yield _part(name, one, stated)


def _styled(name: str, style: Style, whole: Any) -> Iterator[Part]:
    """A property with a style: the pairs that a query would have, each a part, not percent-encoded (RFC 7578 §2)."""
    for pair in encoding.pairs(name, style, whole):
        key, _, written = pair.partition("=")
        yield Part(name=unquote(key), media_type="text/plain", content=unquote(written).encode())


def _part(name: str, value: Any, stated: str) -> Part:
    plain = not isinstance(value, dict | list)
    media_type = _one_type(stated) or ("text/plain" if plain else JSON_TYPE)
    if media_type == JSON_TYPE or media_type.endswith("+json"):
        return Part(name=name, media_type=media_type, content=_json(value))
    media_type, content = _text(media_type, value)
    return Part(name=name, media_type=media_type, content=content)


def _file(name: str, value: Any, stated: str) -> Part:
    given = value if isinstance(value, dict) else {}
    filename, media_type = given.get("filename") or "", given.get("media_type") or ""
    if not isinstance(filename, str) or _NO_NAME.search(filename) or filename in (".", ".."):
        raise BadArguments(f"{name}.filename: must be a plain name, with no slashes or control characters")
    if not isinstance(media_type, str) or (media_type and not _MEDIA_TYPE.fullmatch(media_type)):
        raise BadArguments(f"{name}.media_type: must be a media type like image/png")
    usual = "text/plain" if "text" in given else "application/octet-stream"
    return Part(
        name=name,
        media_type=media_type or _one_type(stated) or usual,
        content=_bytes(value, name),
        filename=filename or FILE_NAME,
    )


def _one_type(stated: str) -> str:
    """The first media type of an encoding's list that is no range."""
    return next((one for one in (each.strip() for each in stated.split(",")) if one and "*" not in one), "")


def _resolved(schema: Schema, definitions: Definitions) -> dict[str, Any]:
    """A schema behind its references, as far as they lead; a circle ends where it began."""
    seen: set[str] = set()
    while isinstance(schema, dict) and (ref := schema.get("$ref")) not in (None, *seen):
        seen.add(str(ref))
        schema = definitions.get(str(ref).removeprefix(REF), {})
    return schema if isinstance(schema, dict) else {}


def _property(schema: Schema, name: str, definitions: Definitions) -> dict[str, Any]:
    """The schema of a property, looked for in the branches of compositions, too."""
    whole = _resolved(schema, definitions)
    if name in (properties := whole.get("properties") or {}):
        return _resolved(properties[name], definitions)
    for branch in (*whole.get("allOf", ()), *whole.get("oneOf", ()), *whole.get("anyOf", ())):
        if isinstance(branch, dict) and "$ref" not in branch and (found := _property(branch, name, definitions)):
            return found
    return {}


def _items(schema: dict[str, Any], definitions: Definitions) -> dict[str, Any]:
    return _resolved(schema.get("items") or {}, definitions)


def _is_file(schema: dict[str, Any], value: Any) -> bool:
    """Whether a property is a file: binary by its schema, or of no stated type and written as a file is."""
    if is_bytes(schema):
        return True
    untyped = "type" not in schema and "properties" not in schema
    return untyped and isinstance(value, dict) and bool(value.keys() & {"content", "text"}) and _only_file(value)


def _only_file(value: dict[str, Any]) -> bool:
    return value.keys() <= {"content", "text", "filename", "media_type"}
