"""What a real kube-apiserver says to the manifests: `make kube`, which is no part of `make test`.

Its defaults of admission and validation are on, and the rules of the custom resources in CEL. There is no controller and
no node: what a Deployment's controller would make, its pods, is made here in a dry run.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.apiserver import Cluster, running
from tests.kit.manifests import (
    CHART,
    CUSTOM,
    OVERLAYS,
    RENDERINGS,
    Manifest,
    found,
    is_hook,
    normal,
    parts,
    rendered,
    template,
    tool,
)
from tests.kit.pod_security import BREAKS, breaking

PRODUCTION = CHART / "ci" / "production-values.yaml"
either = pytest.mark.parametrize(("by", "overlay"), RENDERINGS)
RESTRICTED = "pod-security.kubernetes.io/"
VALUES: dict[str, dict[str, Any]] = {
    "the chart's own": {},
    "an Ingress instead": {"gateway": {"enabled": False}, "ingress": {"enabled": True, "className": "nginx"}},
    "no autoscaler": {"autoscaling": {"enabled": False}, "replicaCount": 3},
    "four workers, other ports": {"settings": {"MCP_WORKERS": 4, "MCP_PORT": 8080, "MCP_ADMIN_PORT": 9090}},
    "OTLP and Vault at one address": {
        "networkPolicy": {
            "egress": {
                "otlp": {"ports": [4317], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]},
                "vault": {"ports": [8200], "to": [{"namespaceSelector": {"matchLabels": {"name": "vault"}}}]},
            }
        },
        "settings": {"MCP_SECRETS": "vault:secret/mcp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
    },
    "nothing that can be left out": {
        "gateway": {"enabled": False},
        "autoscaling": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceMonitor": {"enabled": False},
        "serviceAccount": {"create": False, "name": "default"},
    },
    "what a user adds": {
        "image": {"digest": f"sha256:{'a' * 64}"},
        "imagePullSecrets": [{"name": "pull"}],
        "extraEnv": [{"name": "PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        "podLabels": {"team": "orders"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "serviceAccount": {"annotations": {"iam.example.com/role": "orders"}},
        "resources": {"limits": {"memory": "2Gi"}},
    },
}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("apiserver")) as server:
        for files in CUSTOM.values():
            server.define(definition(files[-1]))
        yield server


def definition(file: str) -> Manifest:
    read: Manifest = msgspec.yaml.decode(tool(f"crds/{file}").read_bytes())
    return read


def space(cluster: Cluster, name: str) -> str:
    """A namespace that refuses pods which may do more than they need, and warns of what would make them."""
    labels = {RESTRICTED + mode: "restricted" for mode in ("enforce", "warn", "audit")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}, "tests")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
    cluster.apply(account, "tests")  # a controller's, else
    return name


def installed(folder: Path, namespace: str, values: dict[str, Any]) -> list[Manifest]:
    """What Helm applies with the values of production and these."""
    file = folder / f"{namespace}-{len(list(folder.iterdir()))}.yaml"
    file.write_bytes(msgspec.yaml.encode(values))
    files = template(PRODUCTION, file, namespace=namespace)
    made = [one for name, text in files.items() if name.endswith(".yaml") for one in parts(text)]
    return [one for one in made if not is_hook(one)]


def taken(cluster: Cluster, manifests: list[Manifest]) -> list[str]:
    """Apply each of them thrice: the server has nothing to say, and nothing to change after the first time.

    The second may be written, for a new claim of a volume is kept without the defaults of its status; the third is not.
    """
    said = []
    for one in sorted(manifests, key=lambda one: one["kind"] != "Namespace"):
        first, second, third = [cluster.apply(one) for _ in range(3)]
        name = f"{one['kind']} {one['metadata']['name']}"
        if first.status >= 300:
            said.append(f"{name}: {first.status} {first.object['message']}")
        elif (unversioned(first.object), second.version) != (unversioned(third.object), third.version):
            said.append(f"{name}: applied again it changes")
        said += [f"{name}: {warning}" for warning in first.warnings + second.warnings]
    return said


def unversioned(one: Manifest) -> Manifest:
    return one | {"metadata": {key: value for key, value in one["metadata"].items() if key != "resourceVersion"}}


def pod_of(deployment: Manifest) -> Manifest:
    """What its controllers would make."""
    pod = copy.deepcopy(deployment["spec"]["template"])
    pod["metadata"] |= {"name": "one", "namespace": deployment["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def kept(cluster: Cluster, manifests: list[Manifest]) -> dict[tuple[str, str], Any]:
    """What the server has of each, without what it writes itself and where it is."""
    return {(one["kind"], one["metadata"]["name"]): stored(cluster.read(one)) for one in manifests}


def stored(one: Manifest) -> Manifest:
    meta = {key: one["metadata"].get(key) or {} for key in ("labels", "annotations")}
    rest = {key: value for key, value in one.items() if key not in ("metadata", "status")}
    if one["kind"] == "Service":
        rest["spec"] = {key: value for key, value in rest["spec"].items() if not key.startswith("clusterIP")}
    return {**rest, "metadata": meta}


@either
def test_every_object_is_taken_without_a_word(cluster: Cluster, by: str, overlay: str) -> None:
    if by == "chart":
        space(cluster, OVERLAYS[overlay])
    assert taken(cluster, rendered(by, overlay)) == []


@pytest.mark.parametrize("name", VALUES)
def test_the_charts_values_are_taken_without_a_word(cluster: Cluster, name: str, tmp_path: Path) -> None:
    namespace = space(cluster, f"values-{list(VALUES).index(name)}")
    made = installed(tmp_path, namespace, VALUES[name])
    assert taken(cluster, made) == []
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    admitted = cluster.create(pod_of(deployment), dry=True)
    assert (admitted.status, admitted.warnings) == (201, []), admitted.object


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_from_one_to_the_other_nothing_changes_but_names(cluster: Cluster, overlay: str) -> None:
    """Who moves from kustomize to Helm gets the same pods, routes and rules."""
    space(cluster, OVERLAYS[overlay])
    ours, chart = [rendered(by, overlay) for by in ("kustomize", "chart")]
    have: list[dict[tuple[str, str], Any]] = []
    for manifests in (ours, chart):
        assert taken(cluster, manifests) == []
        have.append({(kind, normal(name)): normal(one) for (kind, name), one in kept(cluster, manifests).items()})
    before, after = have
    assert after.keys() <= before.keys()
    assert after == {key: before[key] for key in after}


@either
def test_every_pod_is_admitted(cluster: Cluster, by: str, overlay: str) -> None:
    """The controllers' pods, and the one of `helm test`, where `restricted` is enforced."""
    namespace = space(cluster, OVERLAYS[overlay])
    assert taken(cluster, rendered(by, overlay)) == []
    hooks = parts(template(CHART / "ci" / f"{overlay}-values.yaml", namespace=namespace)["tests/connection.yaml"])
    made = [pod_of(one) for one in rendered(by, overlay) if one["kind"] == "Deployment"]
    for pod in made + [one for one in hooks if one["kind"] == "Pod"]:
        answer = cluster.create(pod, dry=True)
        assert (answer.status, answer.warnings) == (201, []), answer.object
    (policy,) = [one for one in hooks if one["kind"] == "NetworkPolicy"]
    assert cluster.create(policy, dry=True).status == 201


@pytest.mark.parametrize("rule", BREAKS)
def test_a_pod_that_breaks_a_rule_is_refused(cluster: Cluster, rule: str) -> None:
    """The rules of `tests/kit/pod_security.py`, held against those that a cluster has."""
    space(cluster, "mcp")
    assert taken(cluster, [found("kustomize", "production", "ServiceAccount")]) == []
    pod = pod_of(found("kustomize", "production", "Deployment"))
    answer = cluster.create({**pod, "spec": breaking(pod["spec"], rule)}, dry=True)
    assert (answer.status, "violates PodSecurity" in answer.object["message"]) == (403, True), answer.object


@pytest.mark.parametrize("file", CUSTOM["HTTPRoute"])
def test_each_gateway_api_takes_the_route_and_refuses_a_wrong_one(cluster: Cluster, file: str) -> None:
    cluster.undefine(definition(file))
    cluster.define(definition(file))
    space(cluster, "mcp")
    route = found("kustomize", "production", "HTTPRoute")
    assert taken(cluster, [route]) == []
    wrong = copy.deepcopy(route)
    wrong["spec"]["rules"][1]["timeouts"]["backendRequest"] = "2h"
    answer = cluster.apply(wrong)
    assert answer.status == 422
    assert "backendRequest timeout cannot be longer than request timeout" in answer.object["message"]


def test_how_many_pods_there_are_is_the_autoscalers(cluster: Cluster) -> None:
    space(cluster, "mcp")
    deployment = found("chart", "production", "Deployment")
    assert taken(cluster, [deployment]) == []
    cluster.scale(deployment, 5)
    assert taken(cluster, [deployment]) == []
    assert cluster.read(deployment)["spec"]["replicas"] == 5


def test_an_autoscaler_that_is_switched_on_begins_with_one_pod(cluster: Cluster, tmp_path: Path) -> None:
    """The server's doing, which docs/kubernetes.md says."""
    for values, replicas in ((VALUES["no autoscaler"], 3), ({}, 1)):
        made = installed(tmp_path, space(cluster, "switched"), values)
        assert taken(cluster, made) == []
        (deployment,) = [one for one in made if one["kind"] == "Deployment"]
        assert cluster.read(deployment)["spec"]["replicas"] == replicas


def test_an_upgrade_leaves_what_a_new_release_has(cluster: Cluster, tmp_path: Path) -> None:
    """From all values to all others, one after the other: nothing stays of the last ones."""
    old: list[Manifest] = []
    for number, (name, values) in enumerate(VALUES.items()):
        new = installed(tmp_path, space(cluster, "upgraded"), values)
        assert taken(cluster, new) == [], name
        names = {(one["kind"], one["metadata"]["name"]) for one in new}
        for one in old:
            if (one["kind"], one["metadata"]["name"]) not in names:
                cluster.delete(one)
        fresh = installed(tmp_path, space(cluster, f"fresh-{number}"), values)
        assert taken(cluster, fresh) == [], name
        assert kept(cluster, new) == kept(cluster, fresh), name
        old = new
