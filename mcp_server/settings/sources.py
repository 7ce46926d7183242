"""Where settings stand: the environment, `.env`, files that `MCP_X_FILE` names, a folder of secrets; read once, whole.

A layer further up wins: environment, `.env`, `MCP_SECRETS_DIR` (every secret manager can mount files). An empty value
counts as none, for a compose file cannot leave a variable out; an empty file is one that is not written yet. Nothing
that is read is put into the environment: each process that a handler starts would inherit it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from dotenv.parser import Binding, Original, parse_stream

PREFIX: Final = "MCP_"
SECRETS_DIR: Final = "MCP_SECRETS_DIR"
ENV_FILE: Final = Path(".env")
_IN_FILE: Final = "_FILE"
_OURS: Final = re.compile(r"\bMCP_[A-Z0-9_]+")


class Found(NamedTuple):
    """The settings that are stated, by their names, unknown ones among them; and what could not be read."""

    texts: dict[str, str]
    problems: list[str]
    unread: frozenset[str]
    """Settings whose file could not be used: a problem of theirs is told already."""
    others: frozenset[str]
    """Names of variables that are not for us at all."""

    def __repr__(self) -> str:
        return f"Found({sorted(self.texts)}, {self.problems})"


def read(
    known: Iterable[str],
    environment: Mapping[str, str] | None = None,
    env_file: Path = ENV_FILE,
) -> Found:
    """All layers as one; only without an `environment` are the process's own and `.env` read."""
    names, problems, unread = frozenset(known) - {SECRETS_DIR}, list[str](), set[str]()
    layers = [dict(os.environ if environment is None else environment)]
    if environment is None:
        layers.append(_dotenv(env_file, problems, unread))
    folder = next((layer[SECRETS_DIR] for layer in layers if layer.get(SECRETS_DIR)), None)
    layers.append(mounted := _mounted(folder, problems))
    stated: dict[str, str] = {}
    for layer in reversed(layers):
        stated |= _stated(layer, names, problems)
    texts = {}
    for setting, name in stated.items():
        value = next(layer[name] for layer in layers if layer.get(name))
        text = value if name == setting else _content(name, value, problems)
        if text is not None:
            texts[setting] = text
    empty = sorted(name for name, text in mounted.items() if not text and name in names and name not in stated)
    problems += [f"{name}: its file in {SECRETS_DIR} is empty" for name in empty]
    unread |= {*empty, *(stated.keys() - texts.keys())}
    others = frozenset(name for layer in layers for name in layer if not name.startswith(PREFIX))
    return Found(texts, list(dict.fromkeys(problems)), frozenset(unread - texts.keys()), others)


def _stated(layer: Mapping[str, str], known: frozenset[str], problems: list[str]) -> dict[str, str]:
    """Which settings a layer states, and under which name: `MCP_X` or `MCP_X_FILE`."""
    found: dict[str, str] = {}
    for name in (one for one, value in layer.items() if one.startswith(PREFIX) and value and one != SECRETS_DIR):
        setting = name.removesuffix(_IN_FILE) if name not in known and name.removesuffix(_IN_FILE) in known else name
        if setting in found:  # whichever was taken, somebody would look for their value in vain
            problems.append(f"{setting}: is set, and so is {setting}{_IN_FILE}: leave one out")
        found[setting] = name
    return found


def _dotenv(path: Path, problems: list[str], unread: set[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({_why(error)})")
        return {}
    # Of a line that it cannot read the library says something to a log that nobody has set up, and goes on without it.
    lines = list(parse_stream(StringIO(text)))
    broken = [one.original for one in lines if _is_broken(one)]
    problems += [f"{path}: line {_line(one)} is no NAME=value, or a quotation mark is missing" for one in broken]
    unread.update(name for one in broken for name in _OURS.findall(one.string))
    # As they stand: `dotenv_values` would put other variables in the place of `${...}`, and a secret may hold that.
    return {one.key: one.value for one in lines if not one.error and one.key is not None and one.value is not None}


def _is_broken(line: Binding) -> bool:
    """Whether it may be meant for us and has no value; behind another's name a comment may speak of ours."""
    if line.error:
        return _OURS.search(line.original.string) is not None
    return line.key is not None and line.value is None and _OURS.search(line.key) is not None


def _line(unfit: Original) -> int:
    """Where it stands: the library counts what is empty before a line to that line."""
    text = unfit.string
    return unfit.line + text[: len(text) - len(text.lstrip())].count("\n")


def _mounted(folder: str | None, problems: list[str]) -> dict[str, str]:
    """The settings that a folder holds, a file each, named like them; what else lies there is none of ours."""
    if folder is None:
        return {}
    try:
        files = [path for path in Path(folder).iterdir() if path.name.startswith(PREFIX) and path.is_file()]
        return {path.name: _text(path) for path in files}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{SECRETS_DIR}: cannot be read ({_why(error)})")
        return {}


def _content(name: str, path: str, problems: list[str]) -> str | None:
    """What a named file holds. An empty one is a secret that was not written, and no wish to do without it."""
    try:
        text = _text(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: cannot be read ({_why(error)})")
        return None
    if not text:
        problems.append(f"{name}: the file is empty")
    return text or None


def _text(path: Path) -> str:
    return path.read_text("utf-8-sig").strip()


def _why(error: OSError | UnicodeDecodeError) -> str:
    """What is wrong with a file, and nothing of what it holds."""
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
