"""A lock of requirements as values: names, versions, hashes."""

import re
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
RUNTIME: Final = ROOT / "requirements" / "runtime.lock"
_PIN: Final = re.compile(
    r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)\s*(?:;[^\\]*)?((?:\\\s+--hash=sha256:[0-9a-f]{64}\s*)+)"
)
_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Locked(msgspec.Struct, frozen=True):
    """One package; `hashes` are those of its files, any of which may be installed."""

    name: str
    version: str
    hashes: frozenset[str]


def read(path: Path = RUNTIME) -> list[Locked]:
    """The packages, some in two versions for different machines; raises `ValueError` for a line without hashes."""
    text = path.read_text("utf-8")
    found = [
        Locked(canonicalize_name(name), version, frozenset(_HASH.findall(hashes)))
        for name, version, hashes in _PIN.findall(text)
    ]
    rest = re.sub(r"#.*", "", _PIN.sub("", text)).strip()
    if rest:
        raise ValueError(f"{path.name}: not a version with hashes: {rest.splitlines()[0]}")
    return found
