"""The images that ours are built on or run beside: each by its digest, which no registry can put others under."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]  # it has no types here

from release.lock import ROOT

DIGEST: Final = re.compile(r"\S+:[\w.-]+@sha256:[0-9a-f]{64}")
_DEFAULT: Final = re.compile(r"\$\{\w+:-([^}]*)\}")
OURS: Final = frozenset({"mcp-server", "mcp-server-demo", "mcp-keycloak"})
"""Built here."""


def dockerfile(path: Path) -> Iterator[str]:
    """The images that a Dockerfile begins with; an argument stands for its default."""
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    for line in path.read_text("utf-8").splitlines():
        words = line.split()
        if words[:1] == ["ARG"] and "=" in line:
            name, _, default = words[1].partition("=")
            arguments.setdefault(name, default)
        elif words[:1] == ["FROM"]:
            image = re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], ""), words[1])
            if image not in stages and image != "scratch":
                yield image
            stages.update(words[3:4])


def manifests(text: str) -> Iterator[str]:
    """The images that a compose file or a manifest of Kubernetes names; a variable stands for its default."""
    for document in yaml.safe_load_all(text):
        for image in _images(document):
            yield _DEFAULT.sub(r"\1", image)


def used(root: Path = ROOT) -> dict[str, list[str]]:
    """Every image that is not ours, and the files that name it."""
    found: dict[str, list[str]] = {}
    paths = {
        *root.glob("devstack/docker/*Dockerfile"),
        *root.glob("devstack/k8s/**/*.yaml"),
        root / "docker-compose.yml",
    }
    for path in sorted(paths):
        if "templates" in path.parts:  # of Helm, no YAML yet; their images are those of `values.yaml`
            continue
        images = dockerfile(path) if path.name.endswith("Dockerfile") else manifests(path.read_text("utf-8"))
        for image in images:
            if image.partition(":")[0] not in OURS:
                found.setdefault(image, []).append(str(path.relative_to(root)))
    return found


def floating(root: Path = ROOT) -> dict[str, list[str]]:
    """Those without a digest."""
    return {image: places for image, places in used(root).items() if not DIGEST.fullmatch(image)}


def python_packages(image: str) -> dict[str, str]:
    """Names and versions of what is installed in an image that is here; needs docker."""
    listing = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    found: dict[str, str] = json.loads(_inside(image, "python", "-c", listing))
    return found


def debian_packages(image: str) -> list[str]:
    """Its Debian packages: name, version and architecture, by tabs."""
    return _inside(image, "dpkg-query", "-W", "-f", "${Package}\\t${Version}\\t${Architecture}\\n").splitlines()


def _inside(image: str, program: str, *arguments: str) -> str:
    whole = ["docker", "run", "--rm", "--network", "none", "--entrypoint", program, image, *arguments]
    done = subprocess.run(whole, check=True, capture_output=True, text=True)  # nosec B603 # noqa: S603 - ours
    return done.stdout


def _images(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if (name == "image" or name.endswith("_IMAGE")) and isinstance(inner, str):
                yield inner
            else:
                yield from _images(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _images(inner)
