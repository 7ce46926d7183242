"""The Kubernetes manifests as kustomize and as the chart render them, and the schemas that they are held against."""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import msgspec
import pytest

ROOT = Path(__file__).parents[2]
K8S = ROOT / "devstack" / "k8s"
CHART = K8S / "chart"
TOOLS = ROOT / "tests" / "go" / "bin"
OVERLAYS = {"production": "mcp", "development": "mcp-dev"}
"""The overlays, and the namespaces that they are for."""
RENDERINGS = tuple((by, name) for by in ("kustomize", "chart") for name in OVERLAYS)
VERSIONS = ("1.31", "1.34", "1.37")
CUSTOM = {
    "HTTPRoute": ("httproutes-1.2.1.yaml", "httproutes-1.4.1.yaml", "httproutes-1.6.3.yaml"),
    "ServiceMonitor": ("servicemonitors-0.85.0.yaml",),
}
"""Kinds that Kubernetes does not have, and where their schemas are."""
CHARTS_OWN = ("app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "checksum/settings")

Manifest = dict[str, Any]


def tool(name: str) -> Path:
    """A program or a file that `make` has built."""
    path = TOOLS / name
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"{name} is missing: make {path.relative_to(ROOT)}")
    return path


def parts(text: str) -> list[Manifest]:
    """The objects of a file of several."""
    found = (msgspec.yaml.decode(part) for part in re.split(r"^---$", text, flags=re.MULTILINE) if part.strip())
    return [one for one in found if one]


@cache
def kustomized(overlay: str) -> list[Manifest]:
    """What `kubectl apply -k` applies."""
    done = subprocess.run(
        [tool("kustomize"), "build", K8S / "overlays" / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return parts(done.stdout)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm's engine, loader and lint, see tests/go/helm."""
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, check=False)


@cache
def template(*files: Path, release: str = "mcp-server", namespace: str = "mcp") -> dict[str, str]:
    """Each file of the chart as it is rendered, by its name."""
    done = helm("template", CHART, release, namespace, "v1.34.0", *files)
    assert done.returncode == 0, done.stderr
    read: dict[str, str] = msgspec.json.decode(done.stdout)
    return {name.partition("/templates/")[2]: text for name, text in read.items()}


@cache
def charted(overlay: str) -> list[Manifest]:
    """What `helm install` applies with the values of an overlay; hooks are no part of it."""
    files = template(CHART / "ci" / f"{overlay}-values.yaml", namespace=OVERLAYS[overlay])
    return [one for name, text in files.items() if name.endswith(".yaml") for one in parts(text) if not is_hook(one)]


def is_hook(one: Manifest) -> bool:
    """Whether Helm applies it at another time than the rest."""
    return "helm.sh/hook" in one["metadata"].get("annotations", {})


def rendered(by: str, overlay: str) -> list[Manifest]:
    """All objects, by either of the two."""
    return kustomized(overlay) if by == "kustomize" else charted(overlay)


def found(by: str, overlay: str, kind: str, name: str = "mcp-server") -> Manifest:
    """The one object of that kind and name; a generated name ends in a digest."""
    (one,) = [
        one for one in rendered(by, overlay)
        if one["kind"] == kind and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", one["metadata"]["name"])
    ]  # fmt: skip
    return one


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The name and the pod's spec of whatever makes pods."""
    for one in manifests:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def normal(one: Any) -> Any:
    """Without what only one of the two writes: the digest in a name, and the chart's labels and checksum."""
    if isinstance(one, dict):
        kept = {key: normal(value) for key, value in one.items() if key not in CHARTS_OWN}
        return {key: value for key, value in kept.items() if (key, value) != ("annotations", {})}
    if isinstance(one, list):
        return [normal(part) for part in one]
    return re.sub(r"^mcp-server-[a-z0-9]{10}$", "mcp-server", one) if isinstance(one, str) else one


def validate(one: Manifest, version: str) -> None:
    """Hold an object against that version of Kubernetes, or its kind's own schemas; raises for what is wrong."""
    if one["kind"] not in CUSTOM:
        kubernetes_validate.validate(one, version, strict=True)
        return
    for file in CUSTOM[one["kind"]]:
        _custom(file, one["apiVersion"].partition("/")[2]).validate(one)


@cache
def _custom(file: str, version: str) -> jsonschema_rs.Validator:
    definition = msgspec.yaml.decode(tool(f"crds/{file}").read_bytes())
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version]
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema_rs.validator_for({"$schema": "http://json-schema.org/draft-07/schema#", **_strict(schema)})


def _strict(schema: Any) -> Any:
    """As a server takes it: members that no schema names are pruned without a word, so here they are wrong."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {key: _strict(value) for key, value in schema.items() if key not in ("format", "properties")}
    if (members := schema.get("properties")) is not None:
        kept["properties"] = {name: _strict(member) for name, member in members.items()}
        kept.setdefault("additionalProperties", False)
    return kept
