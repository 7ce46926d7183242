"""Bills of materials in CycloneDX: of the wheel from the lock, of an image from what is installed in it."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mcp_server.version import __version__
from release.lock import ROOT, RUNTIME, Locked

Json = dict[str, Any]


class Differs(Exception):
    """What is installed is not what is locked; has a line for each package."""


def of_lock(lock: Path = RUNTIME, *, validate: bool = False) -> Json:
    """What the wheel needs, each package with its version and the hashes of its files.

    `validate` holds it against the schema of CycloneDX, which takes some seconds.
    """
    command = [
        sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(lock),
        "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library", "--output-reproducible",
        "--validate" if validate else "--no-validate",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # nosec B603 # noqa: S603 - our own tools
    found: Json = json.loads(said)
    return _named(found)


def packages(bill: Mapping[str, Any]) -> set[tuple[str, str, frozenset[str]]]:
    """Names, versions and hashes of the Python packages of a bill."""
    return {
        (
            canonicalize_name(one["name"]),
            one["version"],
            frozenset(
                hashed["content"]
                for reference in one.get("externalReferences", ())
                for hashed in reference.get("hashes", ())
            ),
        )
        for one in bill["components"]
        if one.get("purl", "").startswith("pkg:pypi/")
    }


def unlike(bill: Mapping[str, Any], locked: Iterable[Locked]) -> list[str]:
    """The packages of which bill and lock do not say the same."""
    return sorted({name for name, *_ in packages(bill) ^ {(one.name, one.version, one.hashes) for one in locked}})


def of_image(
    bill: Mapping[str, Any], base: str, installed: Mapping[str, str], debian: Iterable[str], locked: Iterable[Locked]
) -> Json:
    """What is in an image: the base by its digest, its Debian packages, and of the wheel's bill what is installed.

    `installed` are the Python packages as they were found, `debian` lines of `dpkg-query` (name, version,
    architecture, by tabs). Raises `Differs` where another version is there, or what nobody locked.
    """
    known = {(one.name, one.version) for one in locked}
    found = {(canonicalize_name(name), version) for name, version in installed.items()}
    wrong = [f"{name} {version}" for name, version in sorted(found - known)]
    if wrong:
        raise Differs(", ".join(wrong))
    image, _, hashed = base.partition("@sha256:")
    below = {"type": "container", "name": image, "bom-ref": base, "hashes": [{"alg": "SHA-256", "content": hashed}]}
    system = [_debian(line) for line in debian if line]
    python = [one for one in bill["components"] if (canonicalize_name(one["name"]), one["version"]) in found]
    subject = {**bill["metadata"]["component"], "type": "container"}
    return {
        **bill,
        "metadata": {**bill["metadata"], "component": subject},
        "components": [below, *system, *python],
        "dependencies": [],
    }


def _debian(line: str) -> Json:
    name, version, architecture = line.split("\t")
    purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
    return {"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl}


def _named(bill: Json) -> Json:
    """Components by their package URLs and not by lines of the lock; the wheel's own version, and what it asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    direct = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    for one in bill["components"]:
        one["bom-ref"] = one["purl"]
        one.pop("description", None)  # the line of the lock again
    subject = bill["metadata"]["component"]
    subject["version"] = __version__
    subject["bom-ref"] = subject["purl"] = f"pkg:pypi/{subject['name']}@{__version__}"
    needed = [one["purl"] for one in bill["components"] if canonicalize_name(one["name"]) in direct]
    bill["dependencies"] = [{"ref": subject["purl"], "dependsOn": sorted(needed)}]
    return bill
