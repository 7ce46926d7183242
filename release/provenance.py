"""The provenance of a release: an in-toto statement with SLSA's predicate, of what was built from what, and by whom.

Made by the build itself, signed by whoever holds the key: SLSA Build Level 1. The attestation of the hosted release
workflow, which the platform signs and the build cannot forge, is Build Level 2. Level 3, a builder that keeps its keys
from the project's own steps, is not claimed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from release.lock import Locked

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:mcp-server:build:hatchling:1"
LOCAL: Final = "urn:mcp-server:builder:local"


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statement(
    files: Iterable[Path], *, commit: str, epoch: int, locked: Iterable[Locked], builder: str = LOCAL
) -> dict[str, Any]:
    """What is said of these files. It has no clock in it: two builds of one commit say the same."""
    sources = [{"uri": "git+urn:mcp-server", "digest": {"gitCommit": commit}}]
    packages = [
        {"uri": f"pkg:pypi/{one.name}@{one.version}", "annotations": {"sha256": sorted(one.hashes)}} for one in locked
    ]
    return {
        "_type": STATEMENT,
        "subject": [{"name": path.name, "digest": {"sha256": digest(path)}} for path in sorted(files)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit},
                "internalParameters": {"SOURCE_DATE_EPOCH": epoch},
                "resolvedDependencies": [*sources, *packages],
            },
            "runDetails": {"builder": {"id": builder}, "metadata": {"invocationId": f"{builder}:{commit}"}},
        },
    }


def unlike(statement: Mapping[str, Any], files: Iterable[Path]) -> list[str]:
    """The files that are not the subjects of a statement, and the subjects that are not there."""
    said = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    have = {path.name: digest(path) for path in files}
    return sorted(name for name in said.keys() | have.keys() if said.get(name) != have.get(name))
