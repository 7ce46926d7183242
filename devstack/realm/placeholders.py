"""Keycloak's placeholders `${NAME:default}`, filled as its import fills them: in keys too, defaults may hold colons."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::([^{}]*))?\}")
"""Only upper-case names: texts of Keycloak's own, as `${client_id}`, stay what they are."""
DEVELOPMENT: Final = "dev-only-"
"""How every secret of the file begins whose default nobody replaced."""


def placeholder(name: str, default: str) -> str:
    """The text that an import replaces by the variable `name`, or by `default`."""
    return f"${{{name}:{default}}}"


def resolve(document: Any, environment: Mapping[str, str]) -> Any:
    """The document with every placeholder filled; one without value and default stays as it is."""

    def value(found: re.Match[str]) -> str:
        known = environment.get(found[1], found[2])
        return found[0] if known is None else known

    return _mapped(document, lambda text: _PLACEHOLDER.sub(value, text))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _mapped(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, change) for inner in value]
    return value
