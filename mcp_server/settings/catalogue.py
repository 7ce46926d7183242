"""Every setting as a row, read from the groups themselves: the page, the tests and the CLI take theirs from here."""

from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from mcp_server.settings.group import Kind, Shown
from mcp_server.settings.model import GROUPS
from mcp_server.settings.report import variable

SECRET: Final = "secret"  # noqa: S105 - the word for one
NONE: Final = "none"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its variable, what it takes, what stands where nobody says anything, what it is for."""

    name: str
    group: str
    takes: str
    default: str
    text: str
    least: float | None = None
    above: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


def rows() -> list[Row]:
    """All of them, in the order of their groups."""
    return [_row(group, name, field) for group, model in GROUPS.items() for name, field in model.model_fields.items()]


def secrets() -> frozenset[str]:
    """The variables whose values nobody may see."""
    return frozenset(row.name for row in rows() if row.takes == SECRET)


def _row(group: str, name: str, field: FieldInfo) -> Row:
    parts = [*field.metadata, *_parts(field.annotation)]
    choices = next((get_args(part) for part in parts if get_origin(part) is Literal), ())
    return Row(
        name=variable(name),
        group=group,
        takes=_takes(parts, choices),
        default=next((part.default for part in parts if isinstance(part, Shown)), None) or _default(field.default),
        text=field.description or "",
        least=_bound(parts, "ge"),
        above=_bound(parts, "gt"),
        most=_bound(parts, "le"),
        choices=choices,
    )


def _parts(annotation: Any) -> Iterator[Any]:
    """A type, what is said of it, and what it is made of, outermost first."""
    yield annotation
    if isinstance(annotation, FieldInfo):
        yield from annotation.metadata
    elif get_origin(annotation) is not Literal:
        for part in reversed(get_args(annotation)):  # `Annotated` has its type first, and what is said of it behind
            yield from _parts(part)


def _bound(parts: list[Any], name: str) -> float | None:
    return next((float(getattr(part, name)) for part in parts if hasattr(part, name)), None)


def _takes(parts: list[Any], choices: tuple[str, ...]) -> str:
    if SecretStr in parts:
        return SECRET
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    if (kind := next((part.word for part in parts if isinstance(part, Kind)), None)) is not None:
        return kind
    if bool in parts:
        return "`true` or `false`"
    return "number" if float in parts or int in parts else "text"


def _default(value: Any) -> str:
    if isinstance(value, frozenset | tuple | dict):
        return f"`{' '.join(sorted(value))}`" if value else NONE
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str) else str(value)
