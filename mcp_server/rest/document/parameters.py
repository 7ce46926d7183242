"""Parameters: of a path and of an operation, styles with their defaults, forbidden combinations told.

A parameter that cannot be sent takes its operation with it if it is required, and only itself if it is not.
"""

from typing import Any, Final, get_args

from mcp_server.rest.document.context import Context, Unusable
from mcp_server.rest.document.values import escaped, text_in
from mcp_server.rest.model import Parameter, Place, Schema, Style

PLACES: Final = frozenset(get_args(Place))
_DEFAULT: Final[dict[str, str]] = {"query": "form", "cookie": "form", "path": "simple", "header": "simple"}
_PERMITTED: Final[dict[str, frozenset[str]]] = {
    "path": frozenset({"matrix", "label", "simple"}),
    "query": frozenset({"form", "spaceDelimited", "pipeDelimited", "tabDelimited", "deepObject"}),
    "header": frozenset({"simple"}),
    "cookie": frozenset({"form", "cookie"}),
}
_OF_2_0: Final = ("type", "format", "items", "enum", "default", "minimum", "maximum", "pattern")
_DELIMITED: Final = frozenset({"spaceDelimited", "pipeDelimited", "tabDelimited"})
_EXPLODED: Final = frozenset({"form", "cookie", "deepObject"})


def listed(context: Context, held: Any, pointer: str) -> dict[tuple[str, str], tuple[dict[str, Any], str]]:
    """The parameter objects of a path or an operation by name and place, each with its pointer."""
    found: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
    several = list(held.values()) if type(held) is dict else held  # a map of them is a known slip
    for index, one in enumerate(several if type(several) is list else ()):
        place = f"{pointer}/{index}"
        try:
            parameter, at = context.resolver.follow(one, place)
        except LookupError as error:  # one of the path is taken as a text then, any other is left out
            context.faults.add(place, f"{error.args[0]}; the parameter is left out")
            continue
        name = parameter.get("name") if type(parameter) is dict else None
        if type(name) is not str or not name:
            context.faults.add(at, "is no parameter: it has no name")
            continue
        found[name, text_in(parameter, "in")] = (parameter, at)
    return found


def parameter(context: Context, held: dict[str, Any], pointer: str) -> Parameter | None:
    """One parameter; None, and a fault, where it is optional and cannot be sent."""
    return context.alike(held, "parameter", lambda: _parameter(context, held, pointer))


def _parameter(context: Context, held: dict[str, Any], pointer: str) -> Parameter | None:
    required = held.get("required") in (True, "true") or held.get("in") == "path"
    try:
        return _read(context, held, pointer, required=required)
    except Unusable as refused:
        if required:
            raise
        context.faults.add(refused.pointer, f"{refused.text}; the parameter is left out")
        return None


def _read(context: Context, held: dict[str, Any], pointer: str, *, required: bool) -> Parameter:
    place: Any = text_in(held, "in")
    if place not in PLACES:
        raise Unusable(f"{pointer}/in", f"{place!r} is no place for a parameter")
    content = held.get("content")
    if type(content) is dict and content and "schema" not in held:
        schema, style, inner = _content(context, content, pointer)
    elif place == "querystring":
        raise Unusable(pointer, "a whole query string is written by its `content`, and there is none")
    else:
        inner = held
        bare = {key: held[key] for key in _OF_2_0 if key in held}  # written as in 2.0, in documents of any version
        schema = context.definitions.schema(held.get("schema", bare), f"{pointer}/schema")
        style = _style(context, held, place, schema, pointer)
    return Parameter(
        name=held["name"],
        place=place,
        required=required,
        schema=schema,
        style=style,
        description=text_in(held, "description"),
        deprecated=held.get("deprecated") is True,
        example=_example(held, inner),
    )


def _content(context: Context, content: dict[str, Any], pointer: str) -> tuple[Schema, Style, dict[str, Any]]:
    media_type, media = next(iter(content.items()))
    at = f"{pointer}/content/{escaped(media_type)}"
    media, at = context.followed(media, at)
    media = media if type(media) is dict else {}
    schema = context.definitions.schema(media.get("schema", True), f"{at}/schema")
    return schema, Style(name="content", explode=False, media_type=media_type), media


def _style(context: Context, held: dict[str, Any], place: str, schema: Schema, pointer: str) -> Style:
    name = text_in(held, "style") or _DEFAULT[place]
    if name not in _PERMITTED[place]:
        raise Unusable(f"{pointer}/style", f"style {name!r} is not for the {place}")
    explode = held.get("explode")
    if type(explode) is not bool:
        explode = name in _EXPLODED
    if name == "deepObject":
        explode = True  # its only form, though the general default is false: nobody writes it out
    _check_kinds(context, name, schema, pointer)
    return Style(name=name, explode=explode, allow_reserved=held.get("allowReserved") is True)


def _check_kinds(context: Context, name: str, schema: Schema, pointer: str) -> None:
    """The rows of the table of styles (OAS 3.2 §4.12.2.2) that are not applicable.

    A delimited style that is exploded is none of them here: it can only mean that the name is repeated.
    """
    if name not in _DELIMITED and name != "deepObject":
        return
    kinds = context.kinds(schema)
    fitting = {"object"} if name == "deepObject" else {"array", "object"}
    if kinds and not kinds & fitting:
        raise Unusable(f"{pointer}/style", f"style {name!r} is not for a value of type {' or '.join(sorted(kinds))}")


def _example(held: dict[str, Any], inner: dict[str, Any]) -> Any:
    """The first example of a parameter: its own, else its schema's."""
    for one in (held, inner):
        if "example" in one:
            return one["example"]
        examples = one.get("examples")
        if type(examples) is dict:
            for example in examples.values():
                if type(example) is dict and "value" in example:
                    return example["value"]
    return None
