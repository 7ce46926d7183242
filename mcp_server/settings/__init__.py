"""Environment, .env and secret files → frozen values; every problem in one report (design §4).

The environment wins over `.env`, `MCP_X_FILE` gives the contents of a file for `MCP_X`, the files of `MCP_SECRETS_DIR`
stand for what neither names (every secret manager can mount them), and a name that starts with `MCP_` and is none of
ours is an error: a misspelt setting that is silently ignored is how a check gets lost. An empty value counts as none,
for a compose file cannot leave a variable out.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError

from mcp_server.settings.model import PREFIX, PROCESS_KEY, Settings, process_key
from mcp_server.settings.values import IssuerSetting, safe_url

__all__ = [
    "PREFIX",
    "PROCESS_KEY",
    "SECRETS_DIR",
    "IssuerSetting",
    "Settings",
    "SettingsError",
    "load",
    "names",
    "process_key",
    "safe_url",
]

SECRETS_DIR: Final = "MCP_SECRETS_DIR"


class SettingsError(Exception):
    """The configuration cannot be used; `problems` has a line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def names() -> list[str]:
    """The environment variables there are."""
    return [*(PREFIX + name.upper() for name in Settings.model_fields), SECRETS_DIR]


def load(environment: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; raises `SettingsError` with every problem at once.

    `defaults` stand where neither the environment nor `.env` says anything.
    """
    given = dict(os.environ if environment is None else environment)
    if environment is None and Settings.env_file.exists():
        in_file = dotenv_values(Settings.env_file)
        given = {**{name: value for name, value in in_file.items() if value is not None}, **given}
    given = {**(defaults or {}), **given}
    ours = {name: value for name, value in given.items() if name.startswith(PREFIX) and value}
    mounted, unreadable = _mounted(ours.pop(SECRETS_DIR, None))
    ours |= {name: value for name, value in mounted.items() if not {name, f"{name}_FILE"} & set(ours)}
    values, problems = _collect(ours)
    problems += unreadable
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [_problem(one) for one in error.errors()]
        raise SettingsError(problems) from error
    if problems:
        raise SettingsError(problems)
    return settings


def _mounted(folder: str | None) -> tuple[dict[str, str], list[str]]:
    """The settings that a folder holds, a file each, named like them; what else lies there is none of ours."""
    if folder is None:
        return {}, []
    try:
        files = [path for path in Path(folder).iterdir() if path.name.startswith(PREFIX) and path.is_file()]
        return {path.name: text for path in files if (text := path.read_text("utf-8").strip())}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{SECRETS_DIR}: cannot be read ({_why(error)})"]


def _why(error: OSError | UnicodeDecodeError) -> str:
    """What is wrong with a file, and nothing of what it holds."""
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _collect(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    known, values, problems = names(), {}, []
    for name, value in given.items():
        if name in known:
            values[name.removeprefix(PREFIX).lower()] = value
        elif name.endswith("_FILE") and name.removesuffix("_FILE") in known:
            try:
                values[name.removeprefix(PREFIX).removesuffix("_FILE").lower()] = Path(value).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name}: cannot be read ({_why(error)})")
        else:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name}: no such setting{hint}")
    return values, problems


def _problem(error: Any) -> str:
    if not error["loc"]:
        return str(error["msg"].removeprefix("Value error, "))
    first, *rest = error["loc"]
    place = f"{PREFIX}{str(first).upper()}" + "".join(f"[{part}]" for part in rest)
    text = "is required" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    return f"{place}: {text}"
