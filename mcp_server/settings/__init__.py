"""Environment, .env, secret files and managers → frozen values; every problem in one report (design §4)."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_server.observe.telemetry import environment
from mcp_server.secrets import stores
from mcp_server.secrets.source import Address
from mcp_server.settings import addresses, catalogue, managers, report, sources
from mcp_server.settings.model import GROUPS, Settings
from mcp_server.settings.report import SettingsError
from mcp_server.settings.sources import ENV_FILE, SECRETS_DIR, Found
from mcp_server.web.incoming.authority import MAX_PORT

RENAMED: Final = {"MCP_METRICS_PORT": "MCP_ADMIN_PORT", "MCP_METRICS_HOST": "MCP_ADMIN_HOST"}
"""Names of before, and what they are called now, which counts where both are there."""
__all__ = [
    "Found",
    "Settings",
    "SettingsError",
    "ValidatedSettings",
    "from_texts",
    "load",
    "names",
    "read",
    "validate",
    "withdraw_secrets",
]


class ValidatedSettings(NamedTuple):
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
    secrets among it, into the traceback of an application that does not catch it. It blocks while managers are asked.
    """
    return _good(validate(read(environment, env_file=env_file), presumed))


def from_texts(texts: Mapping[str, str], presumed: Mapping[str, str] | None = None) -> Settings:
    """The settings of texts that somebody has read already; raises `SettingsError`."""
    return _good(validate(Found(dict(texts), [], frozenset(), frozenset()), presumed))


def read(environment: Mapping[str, str] | None = None, *, env_file: Path = ENV_FILE, asks: bool = True) -> Found:
    """The texts of all places; with `asks` those of secret managers, too."""
    local = sources.read([*names(), *RENAMED], environment, env_file)
    return managers.with_managed(local, names()) if asks else local


def validate(found: Found, presumed: Mapping[str, str] | None = None) -> ValidatedSettings:
    """The settings that texts amount to, as far as they do, with every problem."""
    known, texts = names(), {**(presumed or {}), **found.texts}
    former = _take_former_names(texts)
    _presume_resource(texts)
    problems = [*found.problems, *(report.unknown(name, known) for name in texts if name not in known)]
    groups: dict[str, Any] = {}
    wrong = frozenset(RENAMED.get(name, name).removeprefix(sources.PREFIX).lower() for name in found.unread)
    for name, group in GROUPS.items():
        groups[name], failed, lines = report.checked(group, texts)
        problems += lines
        wrong |= failed
    settings = Settings(**groups)
    problems += report.conflicting(settings.conflicts(), wrong)
    if problems and not settings.auth.issuer:
        problems += report.foreign(found.others)
    return ValidatedSettings(settings, [report.as_stated(one, former) for one in problems], wrong)


def _good(found: ValidatedSettings) -> Settings:
    if found.problems:
        raise SettingsError(found.problems)
    return found.settings


def _take_former_names(texts: dict[str, str]) -> Mapping[str, str]:
    """Have each text under its setting's name of today; by that name the one of before, where its text counts."""
    former = {new: old for old, new in RENAMED.items() if old in texts and new not in texts}
    texts |= {new: texts[old] for new, old in former.items()}
    for old in RENAMED:
        texts.pop(old, None)
    return former


def _presume_resource(texts: dict[str, str]) -> None:
    """Who names a port or a path and no public URL means this machine: the default's would be another server's."""
    port, path = texts.get("MCP_PORT", "8000"), texts.get("MCP_PATH", "/mcp")
    if port.isdecimal() and 0 < int(port) <= MAX_PORT and addresses.is_url_path(path):  # else that alone is told
        texts.setdefault("MCP_RESOURCE", f"http://localhost:{port}{path}")


def withdraw_secrets(managers: Iterable[Address] = ()) -> None:
    """Take the secrets out of this process's environment, which each process that a handler starts inherits.

    And what opens these managers: with it a child could fetch all of them.
    """
    for name in (*catalogue.secrets(), *stores.credentials(managers), *environment.SECRETS):
        os.environ.pop(name, None)
