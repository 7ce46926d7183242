"""Keywords of OpenAPI 3.0 and of JSON Schema before draft 6 that mean something else in 2020-12."""

from typing import Any, Final

from mcp_server.rest.document.schemas.keywords import DROP, number

_NOTES: Final = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")


def exclusive(made: dict[str, Any], bound: str, plain: str) -> None:
    """Before draft 6 the bound is a truth that says how `minimum` is meant."""
    held = made[bound]
    if held in (True, "true") and type(held) in (bool, str) and plain in made:
        made[bound] = made.pop(plain)
    elif type(held) is bool or (held := number(held)) is DROP:
        del made[bound]
    else:
        made[bound] = held


def nullable(made: dict[str, Any]) -> dict[str, Any]:
    """A schema that admits null as well: in its types, or beside it where it is composed or refers."""
    if made.keys() & {"allOf", "anyOf", "oneOf", "not", "const"}:
        notes: dict[str, Any] = {key: made.pop(key) for key in (*_NOTES, "discriminator") if key in made}
        return {"anyOf": [made, {"type": "null"}], **notes}
    kind = made.get("type")
    if kind is not None:
        listed = [kind] if type(kind) is str else list(kind)
        made["type"] = listed if "null" in listed else [*listed, "null"]
    if type(made.get("enum")) is list and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    return made
