"""The Kubernetes manifests: by kustomize and by the chart, held against the schemas, and wired as they should be."""

import itertools
import math
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from mcp_server import settings
from mcp_server.cli.serve import CLOSING_S
from mcp_server.settings import Settings
from tests.kit.manifests import OVERLAYS, RENDERINGS, ROOT, VERSIONS, Manifest, found, rendered, validate

OLD = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""The library's own way to find its schemas."""
either = pytest.mark.parametrize(("by", "overlay"), RENDERINGS)
SECRETS = {"client-secret": "s3cret", "state-keys": "k" * 40, "redis-url": "redis://valkey:6379/0"}


def pod_of(by: str, overlay: str) -> Manifest:
    pod: Manifest = found(by, overlay, "Deployment")["spec"]["template"]["spec"]
    return pod


def loaded(by: str, overlay: str, folder: Path) -> Settings:
    """What the server makes of the ConfigMap, with the secret's keys where they are mounted."""
    (mount,) = [
        one["mountPath"]
        for one in pod_of(by, overlay)["containers"][0]["volumeMounts"]
        if one["name"] == "secrets"
    ]  # fmt: skip
    for name, value in SECRETS.items():
        (folder / name).write_text(value)
    data = {name: text.replace(mount, str(folder)) for name, text in found(by, overlay, "ConfigMap")["data"].items()}
    return settings.load({name: text for name, text in data.items() if name.startswith("MCP_")})


@OLD
@either
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_a_cluster_takes(by: str, overlay: str, version: str) -> None:
    kinds = []
    for one in rendered(by, overlay):
        validate(one, version)
        kinds.append(one["kind"])
    ways = {"production": {"HTTPRoute", "ServiceMonitor"}, "development": {"Ingress"}}
    beside = {"Namespace"} | ({"PersistentVolumeClaim"} if overlay == "development" else set())
    assert set(kinds) == {
        "ServiceAccount", "ConfigMap", "Service", "Deployment",
        "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
    } | ways[overlay] | (beside if by == "kustomize" else set())  # fmt: skip


@OLD
@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinesProbe"), {}),
        ("HTTPRoute", ("spec", "rules", 0, "timeouts", "requests"), "0s"),
        ("HTTPRoute", ("spec", "rules", 0, "timeouts", "request"), "forever"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "ports"), "admin"),
    ],
)
def test_a_wrong_manifest_is_found(kind: str, path: tuple[Any, ...], value: Any) -> None:
    wrong = msgspec.json.decode(msgspec.json.encode(found("kustomize", "production", kind)))
    *way, last = path
    place = wrong
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema_rs.ValidationError)):
        validate(wrong, VERSIONS[-1])


def test_a_store_of_ours_keeps_what_it_holds() -> None:
    """Over a restart, and where its memory is short: quotas, tasks and claims are lost else, and proofs good again."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    pod = found("kustomize", "development", "Deployment", "valkey")["spec"]["template"]["spec"]
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


@either
def test_the_pod_is_found_by_all_who_look_for_it(by: str, overlay: str) -> None:
    deployment = found(by, overlay, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        found(by, overlay, "Service")["spec"]["selector"],
        found(by, overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        found(by, overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        deployment["selector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in deployment["template"]["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    target = found(by, overlay, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "mcp-server")
    port = {"name": "http", "port": 80, "targetPort": "http"}
    assert found(by, overlay, "Service")["spec"]["ports"] == [port]  # and not the admin port, which needs no token


@either
def test_the_settings_can_be_used(by: str, overlay: str, tmp_path: Path) -> None:
    """With the secret's keys where they are mounted, the ConfigMap is a configuration that the server takes."""
    pod = pod_of(by, overlay)
    (container,) = pod["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": found(by, overlay, "ConfigMap")["metadata"]["name"]}}]
    (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "secrets"]
    assert (volume["secretName"], volume["defaultMode"]) == ("mcp-server", 0o440)
    said = loaded(by, overlay, tmp_path)
    assert said.auth.client_secret
    assert said.store.redis_url
    assert said.coordinated
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": said.http.port, "admin": said.observe.admin_port}
    assert said.observe.admin_host == "0.0.0.0"  # the network policy says who reaches it
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "admin"


@either
def test_requests_come_to_the_resource_and_to_nothing_else(by: str, overlay: str, tmp_path: Path) -> None:
    said = loaded(by, overlay, tmp_path)
    if overlay == "production":
        route = found(by, overlay, "HTTPRoute")["spec"]
        (host,) = route["hostnames"]
        for rule in route["rules"]:
            assert rule["backendRefs"] == [{"name": "mcp-server", "port": 80}]
    else:
        ingress = found(by, overlay, "Ingress")["spec"]
        host = ingress["rules"][0]["host"]
        assert ingress["tls"][0]["hosts"] == [host]
        assert "ingressClassName" not in ingress
        backend = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "mcp-server", "port": {"name": "http"}}
    assert said.auth.resource == f"https://{host}/mcp"


@pytest.mark.parametrize("by", ["kustomize", "chart"])
def test_the_gateway_cuts_no_stream_and_waits_for_calls(by: str, tmp_path: Path) -> None:
    streams, calls = found(by, "production", "HTTPRoute")["spec"]["rules"]
    listen = [{"name": "Mcp-Method", "value": "subscriptions/listen"}]
    assert [(one["method"], one.get("headers")) for one in streams["matches"]] == [("GET", None), ("POST", listen)]
    assert streams["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    longest = f"{loaded(by, 'production', tmp_path).engine.call_timeout_s + 20:.0f}s"
    assert calls["timeouts"] == {"request": longest, "backendRequest": longest}


@either
def test_a_pod_has_the_time_that_its_server_takes_to_stop(by: str, overlay: str, tmp_path: Path) -> None:
    pod, http = pod_of(by, overlay), loaded(by, overlay, tmp_path).http
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    least = pause + math.ceil(http.drain_s + http.stop_s + CLOSING_S)
    assert least < pod["terminationGracePeriodSeconds"] <= least + 10


@either
def test_pods_come_and_go_one_by_one(by: str, overlay: str) -> None:
    deployment = found(by, overlay, "Deployment")["spec"]
    assert deployment["minReadySeconds"] >= 10
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    spread = [one["topologyKey"] for one in deployment["template"]["spec"]["topologySpreadConstraints"]]
    assert spread == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert found(by, overlay, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    down = found(by, overlay, "HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    (policy,) = down["policies"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)


@either
def test_nothing_else_gets_in_or_out(by: str, overlay: str) -> None:
    policy = found(by, overlay, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    requests, scrapes = policy["ingress"]
    spaces = {"production": "gateway-system", "development": "ingress"}
    for rule, space, port in ((requests, spaces[overlay], "http"), (scrapes, "monitoring", "admin")):
        labels = {"kubernetes.io/metadata.name": space}
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": labels}}]
        assert [one["port"] for one in rule["ports"]] == [port]
    (names,) = [rule["to"][0] for rule in policy["egress"] if "to" in rule]
    assert names["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}  # and no label of ours beside it
    issuer_and_apis, redis, otlp, vault = {443, 8080, 8443}, {6379, 6380}, {4317, 4318}, {8200}
    out = [{one["port"] for one in rule["ports"]} for rule in policy["egress"]]
    assert out == [{53}, issuer_and_apis, redis, otlp, vault]


def test_there_is_an_overlay_for_each_kind_of_cluster() -> None:
    assert set(OVERLAYS) == {path.name for path in (ROOT / "devstack/k8s/overlays").iterdir()}
