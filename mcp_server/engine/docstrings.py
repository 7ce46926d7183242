"""A handler's docstring → what the model reads: the text before the sections, and a description per argument."""

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

_SECTION: Final = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Examples?|Notes?):\s*$")
_ARGUMENT: Final = re.compile(r"^(\s+)\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


def read(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """(description, {argument: description}) of a Google-style docstring; empty where there is none."""
    lines = (inspect.getdoc(function) or "").splitlines()
    starts = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    text = "\n".join(lines[: starts[0]] if starts else lines).strip()
    for start in starts:
        if lines[start].startswith("Arg"):
            following = [other for other in starts if other > start]
            return text, _arguments(lines[start + 1 : following[0] if following else None])
    return text, {}


def _arguments(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name, indent = "", 0
    for line in lines:
        match = _ARGUMENT.match(line)
        if match and (not name or len(match[1]) <= indent):
            name, indent = match[2], len(match[1])
            found[name] = match[3].strip()
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
