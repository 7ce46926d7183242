"""The one report: a line for each setting that cannot be used, whatever else is wrong, and never what was given."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from mcp_server.settings.group import Conflict, Group
from mcp_server.settings.sources import PREFIX

AnyGroup = TypeVar("AnyGroup", bound=Group)
DEVSTACKS: Final[Mapping[str, str]] = {
    "MCP_RESOURCE_URL": "MCP_RESOURCE",
    "MCP_SERVER_SECRET": "MCP_CLIENT_SECRET",
    "MCP_AGENT_SECRET": "",
    "MCP_BACKCHANNEL_URL": "",
    "MCP_SSL_REQUIRED": "",
    "MCP_ALICE_PASSWORD": "",
    "MCP_BOB_PASSWORD": "",
    "MCP_CAROL_PASSWORD": "",
}
"""Variables of the development realm that begin as ours do, and the setting that means the same."""
_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int_parsing", "int_parsing_size", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    "finite_number": "must be a number that is not infinite",
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    **dict.fromkeys(("dict_type", "model_type"), "must be a JSON object"),
    **dict.fromkeys(("frozen_set_type", "list_type", "tuple_type"), "must be a list"),
    "string_type": "must be a text",
    "too_short": "must name one at least",
    "extra_forbidden": "is no member that is known here",
    "missing": "is required",
}
"""What is said in place of pydantic's own words, by its kinds of problems: an operator wrote a text, and no input."""
FOREIGN: Final = ("DEVSTACK_", "STACK_")


class SettingsError(Exception):
    """The configuration cannot be used; `problems` has a line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def checked(group: type[AnyGroup], texts: Mapping[str, str]) -> tuple[AnyGroup, frozenset[str], list[str]]:
    """The group, the fields that could not be read, which have their defaults in it, and a line for each problem."""
    values = {field: texts[variable(field)] for field in group.model_fields if variable(field) in texts}
    try:
        return group.model_validate(values), frozenset(), []
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    wrong = frozenset(str(problem["loc"][0]) for problem in problems)
    rest = group.model_validate({name: text for name, text in values.items() if name not in wrong})
    return rest, wrong, [_line(problem, values) for problem in problems]


def unknown(name: str, known: Iterable[str]) -> str:
    """What is said of a name that is none of ours: a misspelt setting, ignored, is how a check gets lost."""
    if name in DEVSTACKS:
        same = f"; the server's is {DEVSTACKS[name]}" if DEVSTACKS[name] else ""
        return f"{name}: no such setting: a variable of devstack's realm{same}"
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def conflicting(conflicts: Iterable[Conflict], wrong: frozenset[str]) -> list[str]:
    """A line for each conflict between settings that could be read: of the others only defaults are known."""
    return [f"{variable(one.fields[0])}: {one.text}" for one in conflicts if wrong.isdisjoint(one.fields)]


def as_stated(problem: str, former: Mapping[str, str]) -> str:
    """The line with the name that the operator wrote, where that is one of before: who looks for today's finds none."""
    name, colon, said = problem.partition(": ")
    return f"{former.get(name, name)}{colon}{said}"


def foreign(others: Iterable[str]) -> list[str]:
    """A hint for who gives the server what is for devstack or for docker compose."""
    theirs = sorted(name for name in others if name.startswith(FOREIGN))
    if not theirs:
        return []
    return [f"{', '.join(theirs)}: for devstack and docker compose; mcp-server reads MCP_... alone"]


def logged(problems: Iterable[str]) -> list[str]:
    """The lines for the log, with the setting last: behind `MCP_CLIENT_SECRET: ` redaction would take the reason away.

    Of no other name, for what stands behind it may be its value: an author's exception has any text.
    """
    parted = [(problem, *problem.partition(": ")) for problem in problems]
    return [
        f"{said} ({name})" if colon and name.startswith((PREFIX, *FOREIGN)) else line
        for line, name, colon, said in parted
    ]


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def _line(problem: Any, texts: Mapping[str, str]) -> str:
    """Its line; a place in the value is told of JSON and lists: who wrote a single text has no `[0]` in it."""
    first, *rest = problem["loc"]
    text = texts.get(str(first), "").strip()
    if not text.startswith(("[", "{")) and len(text.replace(",", " ").split()) == 1:
        rest = []
    place = variable(str(first)) + "".join(f"[{part}]" for part in rest)
    words = _WORDS.get(problem["type"])
    bounds = {
        name: f"{bound:.12g}" if isinstance(bound, float) else bound for name, bound in problem.get("ctx", {}).items()
    }
    said = problem["msg"].removeprefix("Value error, ") if words is None else words.format(**bounds)
    return f"{place}: {said}"
