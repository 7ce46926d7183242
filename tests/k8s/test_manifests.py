"""The Kubernetes manifests: rendered by kustomize, held against the schemas, and wired as they should be."""

import itertools
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from mcp_server import settings

ROOT = Path(__file__).parents[2]
OVERLAYS = ("production", "development")
VERSIONS = ("1.31", "1.34", "1.37")
POD_KINDS = ("Deployment",)
OLD = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The library's own way to find its schemas."""


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    program = ROOT / "tests" / "go" / "bin" / "kustomize"
    if not program.exists() and not os.environ.get("CI"):
        pytest.skip("kustomize is missing: make tests/go/bin/kustomize")
    done = subprocess.run(
        [program, "build", ROOT / "devstack" / "k8s" / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [msgspec.yaml.decode(part) for part in done.stdout.split("\n---\n")]


def found(overlay: str, kind: str, name: str = "mcp-server") -> dict[str, Any]:
    """The one resource of that kind and name; a generated name ends in a digest."""
    (one,) = [
        one for one in rendered(overlay)
        if one["kind"] == kind and (one["metadata"]["name"] == name or one["metadata"]["name"].startswith(f"{name}-"))
    ]  # fmt: skip
    return one


@OLD
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_resource_is_what_kubernetes_takes(overlay: str, version: str) -> None:
    kinds = []
    for one in rendered(overlay):
        kubernetes_validate.validate(one, version, strict=True)
        kinds.append(one["kind"])
    assert set(kinds) == {
        "Namespace", "ServiceAccount", "ConfigMap", "Service", "Deployment", "Ingress",
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
    } | ({"PersistentVolumeClaim"} if overlay == "development" else set())  # fmt: skip


def test_a_store_of_ours_keeps_what_it_holds() -> None:
    """Over a restart, and where its memory is short: quotas, tasks and claims are lost else, and proofs good again."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    (pod,) = [one["spec"]["template"]["spec"] for one in rendered("development") if _is_store(one)]
    service = compose["services"]["valkey"]
    for arguments in (service["command"], pod["containers"][0]["args"]):
        said = dict(itertools.pairwise(arguments))
        assert (said["--appendonly"], said["--appendfsync"]) == ("yes", "everysec")
        assert said["--maxmemory-policy"] == "noeviction"
    assert service["volumes"] == ["valkey:/data"]
    assert "valkey" in compose["volumes"]
    assert pod["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "valkey"}}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == ("data", "/data")


def _is_store(one: dict[str, Any]) -> bool:
    return (one["kind"], one["metadata"]["name"]) == ("Deployment", "valkey")


@OLD
def test_a_wrong_manifest_is_found() -> None:
    wrong = msgspec.json.decode(msgspec.json.encode(found("production", "Deployment")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_can_do_little(overlay: str) -> None:
    """The Pod Security Standard `restricted`, and a read-only root."""
    for one in rendered(overlay):
        if one["kind"] not in POD_KINDS:
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            may = container["securityContext"]
            assert (may["allowPrivilegeEscalation"], may["readOnlyRootFilesystem"]) == (False, True)
            assert may["capabilities"] == {"drop": ["ALL"]}
            for amount in ("requests", "limits"):
                assert set(container["resources"][amount]) == {"cpu", "memory"}
            assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pod_is_found_by_all_who_look_for_it(overlay: str) -> None:
    labels = found(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found(overlay, "Service")["spec"]["selector"],
        found(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        found(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        found(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    target = found(overlay, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "mcp-server")
    backend = found(overlay, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "mcp-server", "port": {"name": "http"}}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_can_be_used(overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the secret's keys where they are mounted, the ConfigMap is a configuration that the server takes."""
    pod = found(overlay, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": found(overlay, "ConfigMap")["metadata"]["name"]}}]
    (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == "secrets"]
    (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "secrets"]
    assert (volume["secretName"], volume["defaultMode"]) == ("mcp-server", 0o440)
    secrets = {"client-secret": "s3cret", "state-keys": "k" * 40, "redis-url": "redis://valkey:6379/0"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    data = {name: value.replace(mount, str(tmp_path)) for name, value in found(overlay, "ConfigMap")["data"].items()}
    loaded = settings.load({name: value for name, value in data.items() if name.startswith("MCP_")})
    assert loaded.auth.client_secret
    assert loaded.store.redis_url
    assert loaded.coordinated
    assert {port["containerPort"] for port in container["ports"]} == {loaded.http.port, loaded.observe.admin_port}
    assert loaded.observe.admin_host == "0.0.0.0"  # the network policy says who reaches it
    host = found(overlay, "Ingress")["spec"]["rules"][0]["host"]
    assert loaded.auth.resource == f"https://{host}/mcp"
    assert found(overlay, "Ingress")["spec"]["tls"][0]["hosts"] == [host]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_else_gets_in(overlay: str) -> None:
    policy = found(overlay, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert all(rule["ports"] for rule in policy["egress"])
    (names,) = [rule["to"][0] for rule in policy["egress"] if "to" in rule]
    assert names["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}  # and no label of ours beside it
