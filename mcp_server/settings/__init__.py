"""Environment, .env and secret files → frozen values; every problem in one report (design §4)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_server.observe.telemetry import environment
from mcp_server.settings import catalogue, report, sources
from mcp_server.settings.model import GROUPS, Settings
from mcp_server.settings.report import SettingsError
from mcp_server.settings.sources import ENV_FILE, SECRETS_DIR

MAX_PORT = 65535
RENAMED: Final = {"MCP_METRICS_PORT": "MCP_ADMIN_PORT", "MCP_METRICS_HOST": "MCP_ADMIN_HOST"}
"""Names of before, and what they are called now, which counts where both are there."""
__all__ = ["Judged", "Settings", "SettingsError", "judged", "load", "names", "withdraw_secrets"]


class Judged(NamedTuple):
    """Settings, a line for each problem of theirs, and the fields that could not be read, which have their defaults."""

    settings: Settings
    problems: list[str]
    wrong: frozenset[str]


def names() -> list[str]:
    """The environment variables there are."""
    return [*(report.variable(field) for group in GROUPS.values() for field in group.model_fields), SECRETS_DIR]


def load(
    environment: Mapping[str, str] | None = None,
    presumed: Mapping[str, str] | None = None,
    *,
    env_file: Path = ENV_FILE,
) -> Settings:
    """The settings of this process; raises `SettingsError` with every problem at once.

    `presumed` stand where nothing else says anything. The error has no cause: pydantic's would bring what was given,
    secrets among it, into the traceback of an application that does not catch it.
    """
    found = judged(environment, presumed, env_file=env_file)
    if found.problems:
        raise SettingsError(found.problems)
    return found.settings


def judged(
    environment: Mapping[str, str] | None = None,
    presumed: Mapping[str, str] | None = None,
    *,
    env_file: Path = ENV_FILE,
) -> Judged:
    """The same for who wants to say what else is wrong, whatever is wrong here."""
    known = names()
    found = sources.read([*known, *RENAMED], environment, presumed, env_file)
    for old, new in RENAMED.items():
        if (text := found.texts.pop(old, None)) is not None:
            found.texts.setdefault(new, text)
    _presume_resource(found.texts)
    problems = [*found.problems, *(report.unknown(name, known) for name in found.texts if name not in known)]
    groups: dict[str, Any] = {}
    wrong = frozenset(name.removeprefix(sources.PREFIX).lower() for name in found.unread)
    for name, group in GROUPS.items():
        stated = {field: report.variable(field) for field in group.model_fields}
        values = {field: found.texts[variable] for field, variable in stated.items() if variable in found.texts}
        groups[name], failed, lines = report.checked(group, values)
        problems += lines
        wrong |= failed
    settings = Settings(**groups)
    problems += report.conflicting(settings.conflicts(), wrong)
    if problems and not settings.auth.issuer:
        problems += report.foreign(found.others)
    return Judged(settings, problems, wrong)


def _presume_resource(texts: dict[str, str]) -> None:
    """Who names a port or a path and no public URL means this machine: the default's would be another server's."""
    port, path = texts.get("MCP_PORT", "8000"), texts.get("MCP_PATH", "/mcp")
    if port.isdecimal() and 0 < int(port) <= MAX_PORT:  # what is no port is told as that alone
        texts.setdefault("MCP_RESOURCE", f"http://localhost:{port}{path}")


def withdraw_secrets() -> None:
    """Take the secrets out of this process's environment, which each process that a handler starts inherits."""
    for name in (*catalogue.secrets(), *environment.SECRETS):
        os.environ.pop(name, None)
