"""Media types: the one that a request body is sent in, and the documented answers.

JSON, then `+json`, form, multipart, text, bytes: the first that the body's schema fits. What fits none is told, and its
operation is left out: a tool whose body cannot be written would only fail later, and dearer.
"""

from collections.abc import Iterator
from typing import Any, Final

from mcp_server.rest.document.context import Context, Unusable
from mcp_server.rest.document.values import escaped, text_in
from mcp_server.rest.model import FORM_TYPE, Answer, Body, BodyKind, Style

_BYTES: Final = "application/octet-stream"
_ORDER: Final = ("json", "+json", "form", "multipart", "text", "bytes")
_STREAMS: Final = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
     "application/json-seq", "application/geo+json-seq", "application/stream+json"}
)  # fmt: skip
_BYTES_LIKE: Final = ("image/", "audio/", "video/", "font/")
_TEXT_LIKE: Final = ("xml", "yaml", "csv", "html", "javascript", "graphql", "sql", "ndjson", "jsonl", "toml")
_SENT: Final = {
    "json": "application/json", "+json": "application/json", "form": FORM_TYPE, "multipart": "multipart/form-data",
    "text": "text/plain", "bytes": _BYTES,
}  # fmt: skip
_STRUCTURED: Final = {"object", "array"}


def essence(media_type: str) -> str:
    """A media type without its parameters, in small letters."""
    return media_type.partition(";")[0].strip().lower()


def body(context: Context, held: Any, pointer: str) -> Body | None:
    """The request body; raises `Unusable` where there is one that cannot be sent."""
    if held is None:
        return None
    held, at = context.followed(held, pointer)
    return context.alike(held, "body", lambda: _body(context, held, at))


def _body(context: Context, held: Any, at: str) -> Body | None:
    content = held.get("content") if type(held) is dict else None
    if type(content) is not dict or not content:
        if type(held) is dict and held.get("required") is True:
            raise Unusable(at, "the body is required, and no media type of it is named")
        return None
    offered = sorted(_offers(context, content, f"{at}/content"), key=lambda one: _ORDER.index(one[0]))
    if not offered:
        raise Unusable(f"{at}/content", f"no body can be written as {', '.join(map(str, content))}"[:200])
    rank, media_type, media, place = offered[0]
    kind: BodyKind = "json" if rank == "+json" else rank  # type: ignore[assignment]
    return Body(
        kind=kind,
        media_type=media_type,
        required=held.get("required") in (True, "true"),
        schema=context.definitions.schema(media.get("schema", True), f"{place}/schema"),
        encoding=_encoding(media.get("encoding")) if kind in ("form", "multipart") else {},
        description=text_in(held, "description"),
    )


def _offers(context: Context, content: dict[str, Any], pointer: str) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    for media_type, held in content.items():
        media, at = context.followed(held, f"{pointer}/{escaped(media_type)}")
        media = media if type(media) is dict else {}
        rank = _rank(context, essence(media_type), media, at)
        if rank:
            yield rank, _sent(media_type, rank), media, at


def _sent(media_type: str, rank: str) -> str:
    return _SENT[rank] if "*" in media_type else media_type.strip()


def _rank(context: Context, name: str, media: dict[str, Any], pointer: str) -> str:
    if name.endswith("/json") or name in ("*/*", "application/*"):
        return "json"
    if name.endswith("+json"):
        return "+json"
    if name == FORM_TYPE:
        return "form"
    if name in ("multipart/form-data", "multipart/*"):
        return "multipart"
    if name.startswith("multipart/"):
        return ""
    schema = context.definitions.schema(media.get("schema", True), f"{pointer}/schema")
    kinds = context.kinds(schema)
    if kinds & _STRUCTURED:
        return ""
    if name.startswith("text/") or name.endswith(_TEXT_LIKE) or (kinds == {"string"} and not _binary(name, media)):
        return "text"
    return "bytes"


def _binary(name: str, media: dict[str, Any]) -> bool:
    schema = media.get("schema")
    return name == _BYTES or name.startswith(_BYTES_LIKE) or (type(schema) is dict and schema.get("format") == "binary")


def _encoding(held: Any) -> dict[str, Style]:
    """Encoding Objects by property; `content` where only a media type is named."""
    made: dict[str, Style] = {}
    for name, one in held.items() if type(held) is dict else ():
        if type(one) is not dict:
            continue
        style, media_type = text_in(one, "style"), text_in(one, "contentType")
        if style or "explode" in one or "allowReserved" in one:
            explode = one.get("explode")
            made[name] = Style(
                name=style or "form",
                explode=explode if type(explode) is bool else style in ("", "form", "deepObject"),
                allow_reserved=one.get("allowReserved") is True,
                media_type=media_type,
            )
        elif media_type:
            made[name] = Style(name="content", explode=False, media_type=media_type)
    return made


def answers(context: Context, held: Any, pointer: str) -> tuple[Answer, ...]:
    """The good answers: 2xx and 2XX, or `default` where neither is there; JSON comes first for each status."""
    if type(held) is not dict:
        return ()
    good = [status for status in held if str(status)[:1] == "2"]
    if not good:
        good = [status for status in held if status == "default"]
    found: list[Answer] = []
    for status in good:
        try:
            one, at = context.followed(held[status], f"{pointer}/{status}")
            found += _of_status(context, status, one, at)
        except Unusable as refused:
            context.faults.add(refused.pointer, f"{refused.text}; the answer is taken as undocumented")
    return tuple(found)


def _of_status(context: Context, status: str, held: Any, pointer: str) -> list[Answer]:
    name = "default" if status == "default" else status.upper()
    return context.alike(held, name, lambda: _answers(context, name, held, pointer))


def _answers(context: Context, status: str, held: Any, pointer: str) -> list[Answer]:
    held = held if type(held) is dict else {}
    content = held.get("content")
    described = text_in(held, "description")
    if type(content) is not dict or not content:
        return [Answer(status=status, media_type="", schema=True, description=described)]
    found = []
    for media_type, one in content.items():
        media, at = context.followed(one, f"{pointer}/content/{escaped(media_type)}")
        media = media if type(media) is dict else {}
        key = "itemSchema" if "itemSchema" in media else "schema"
        found.append(
            Answer(
                status=status,
                media_type=media_type,
                schema=context.definitions.schema(media.get(key, True), f"{at}/{key}"),
                description=described,
                stream=key == "itemSchema" or essence(media_type) in _STREAMS,
            )
        )
    return sorted(found, key=_json_first)


def _json_first(answer: Answer) -> int:
    name = essence(answer.media_type)
    return 0 if name.endswith("/json") else 1 if name.endswith("+json") else 2
