"""Parameters on the wire: each style of OAS 3.2 §4.12.3 (3.0.4, 3.1.2), exploded or not, in each place.

Undefined by the specification, and done so here: lists inside of `deepObject` have indices (`a[b][0]`), nested values
in other styles are JSON, `spaceDelimited` and `pipeDelimited` exploded repeat the name, cookies of style `form` are
separated as cookies are. Null, and lists and objects with nothing in them, are not sent (RFC 6570 §2.3).
"""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import FORM_TYPE, Parameter, Style
from mcp_server.rest.wire import values
from mcp_server.rest.wire.values import encoded

Write = Callable[[Any], str]
DELIMITERS: Final = {"spaceDelimited": "%20", "pipeDelimited": "%7C", "tabDelimited": "%09"}
"""`tabDelimited` is Swagger 2.0's `tsv`."""
MAX_DEPTH: Final = 32


def in_path(parameter: Parameter, value: Any) -> str:
    """What stands for `{name}` in the template; raises `BadArguments`."""
    name, style = parameter.name, parameter.style
    if type(value) is int and style.name == "simple":  # most are: digits mean the same to everybody
        return values.text(value, name)
    safe = values.RESERVED_IN_PATH if style.allow_reserved else ""

    def write(part: Any) -> str:
        plain = values.text(part, name)
        values.checked_segment(plain, name)
        return encoded(plain, name, safe)

    if style.name == "content":
        return write(_content(style, value, name))
    value = _defined(value)
    if value is None:
        raise BadArguments(f"{name}: must not be empty, for it is a part of the path")
    match style.name:
        case "matrix":
            return _matrix(style, value, write, name)
        case "label":
            return "." + _listed(style, value, write, "." if style.explode else ",", name)
        case _:
            return _listed(style, value, write, ",", name)


def in_query(parameter: Parameter, value: Any) -> Iterator[str]:
    """The pairs `name=value` of it, encoded; raises `BadArguments`."""
    return pairs(parameter.name, parameter.style, value)


def pairs(name: str, style: Style, value: Any) -> Iterator[str]:
    """A query parameter's, or a form property's, pairs."""
    key = encoded(name, name)
    if style.name == "content":
        return iter((f"{key}={encoded(_content(style, value, name), name)}",))
    value = _defined(value)

    def write(part: Any) -> str:
        plain = values.text(part, name)
        return values.reserved_in_query(plain, name) if style.allow_reserved else encoded(plain, name)

    if style.name == "deepObject" and isinstance(value, list | dict):
        return _deep(key, value, write, name)
    return _exploded(key, style, value, write, name)


def whole_query(parameter: Parameter, value: Any) -> str:
    """The query of `in: querystring` (3.2), which its one parameter writes alone; raises `BadArguments`."""
    name, media_type = parameter.name, parameter.style.media_type
    if media_type != FORM_TYPE:
        return encoded(_content(parameter.style, value, name), name)
    if not isinstance(value, dict):
        raise BadArguments(f"{name}: must be an object")
    return form(value, name)


def form(value: dict[str, Any], name: str) -> str:
    """An object as `application/x-www-form-urlencoded`: lists repeat their name, objects in it are JSON."""
    found: list[str] = []
    for member, part in value.items():
        found += (
            f"{encoded(member, name)}={encoded(values.text(one, member), member)}"
            for one in (part if isinstance(part, list) else [part])
            if one is not None
        )
    return "&".join(found)


def in_header(parameter: Parameter, value: Any) -> str | None:
    """A header's value, None if none is sent; not percent-encoded (OAS 3.2 §4.12.2.2). Raises `BadArguments`."""
    name, style = parameter.name, parameter.style
    if style.name == "content":
        return values.checked_field(_content(style, value, name), name)
    value = _defined(value)
    if value is None:
        return None
    return _listed(style, value, lambda part: values.checked_field(values.text(part, name), name), ",", name)


def in_cookie(parameter: Parameter, value: Any) -> Iterator[str]:
    """The pairs of it for the header `Cookie`; raises `BadArguments`."""
    name, style = parameter.name, parameter.style
    if style.name == "content":
        plain = _content(style, value, name)
        as_it_is = style.media_type == "text/plain"
        return iter(
            (f"{encoded(name, name)}={values.checked_cookie(plain, name) if as_it_is else encoded(plain, name)}",)
        )

    def write(part: Any) -> str:
        plain = values.text(part, name)
        if style.name == "cookie":
            return values.checked_cookie(plain, name)
        return encoded(plain, name, values.RESERVED_IN_COOKIE if style.allow_reserved else "")

    return _exploded(encoded(name, name), style, _defined(value), write, name)


def _defined(value: Any) -> Any:
    """The value without its nulls, or None where nothing is left of it."""
    if isinstance(value, list):
        return [part for part in value if part is not None] or None
    if isinstance(value, dict):
        return {member: part for member, part in value.items() if part is not None} or None
    return value


def _content(style: Style, value: Any, name: str) -> str:
    """A value in the media type of its `content`: text as it is, forms, and JSON for all that is not text."""
    if style.media_type == FORM_TYPE and isinstance(value, dict):
        return form(value, name)
    is_json = style.media_type == "application/json" or style.media_type.endswith("+json")
    return values.json(value, name) if is_json else values.text(value, name)


def _exploded(key: str, style: Style, value: Any, write: Write, name: str) -> Iterator[str]:
    """`form` and what is like it: a pair for each item or member, or one pair for all."""
    if value is None:
        return iter(())
    if not isinstance(value, list | dict):
        return iter((f"{key}={write(value)}",))
    if style.explode and isinstance(value, dict):
        return (f"{encoded(member, name)}={write(part)}" for member, part in value.items())
    if style.explode and isinstance(value, list):
        return (f"{key}={write(part)}" for part in value)
    return iter((f"{key}={_listed(style, value, write, DELIMITERS.get(style.name, ','), name)}",))


def _members(value: dict[str, Any], write: Write, between: str) -> list[str]:
    return [f"{write(member)}{between}{write(part)}" for member, part in value.items()]


def _listed(style: Style, value: Any, write: Write, delimiter: str, name: str) -> str:
    """One text for all of a value; of what is exploded, an object's members have an equals sign: `R=100,G=200`.

    Raises `BadArguments` for an item that holds what separates items, encoded as it would be: the API would read two.
    """
    if not isinstance(value, list | dict):
        return write(value)

    def item(part: Any) -> str:
        written = write(part)
        if delimiter in written and delimiter != ".":  # of labels it is a usual character, of numbers for one
            raise BadArguments(f"{name}: no item may hold {unquote(delimiter)!r}, which stands between items")
        return written

    if isinstance(value, dict):
        return delimiter.join(_members(value, item, "=" if style.explode else delimiter))
    return delimiter.join(map(item, value))


def _matrix(style: Style, value: Any, write: Write, name: str) -> str:
    key = encoded(name, name)
    if style.explode and isinstance(value, dict):
        return "".join(f";{member}" for member in _members(value, write, "="))
    if style.explode and isinstance(value, list):
        return "".join(f";{key}={write(part)}" for part in value)
    return f";{key}={_listed(style, value, write, ',', name)}"


def _deep(key: str, value: Any, write: Write, name: str, depth: int = 0) -> Iterator[str]:
    """`deepObject`: `color%5BR%5D=100`, to any depth that a text may have."""
    if depth > MAX_DEPTH:
        raise BadArguments(f"{name}: nested too deeply")
    if not isinstance(value, list | dict):
        yield f"{key}={write(value)}"
        return
    for member, part in value.items() if isinstance(value, dict) else enumerate(value):
        if part is not None:
            yield from _deep(f"{key}%5B{encoded(str(member), name)}%5D", part, write, name, depth + 1)
