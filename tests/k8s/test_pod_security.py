"""Every pod keeps each rule of the Pod Security Standard `restricted`, and a read-only root besides."""

import copy

import pytest

from tests.kit.manifests import CHART, RENDERINGS, found, parts, pods, rendered, template
from tests.kit.pod_security import BREAKS, RULES, breaking, broken, containers

either = pytest.mark.parametrize(("by", "overlay"), RENDERINGS)


@either
def test_every_pod_can_do_little(by: str, overlay: str) -> None:
    made = list(pods(rendered(by, overlay)))
    hook = list(pods(parts(template(CHART / "ci" / f"{overlay}-values.yaml")["tests/connection.yaml"])))
    beside = {"valkey", "orders-api"} if (by, overlay) == ("kustomize", "development") else set()
    assert {name for name, _ in made + hook} == {"mcp-server", "mcp-server-test"} | beside
    for name, pod in made + hook:
        assert (name, broken(pod)) == (name, set())
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            for amount in ("requests", "limits"):
                assert set(container["resources"][amount]) == {"cpu", "memory"}
    for name, pod in made:
        for container in containers(pod):
            assert {"livenessProbe", "readinessProbe", "startupProbe"} <= set(container), name


def test_each_rule_is_one_that_can_be_broken() -> None:
    assert set(BREAKS) == set(RULES)
    for rule in BREAKS:
        assert rule in broken(
            breaking(found("kustomize", "production", "Deployment")["spec"]["template"]["spec"], rule)
        )


@pytest.mark.parametrize("rule", ["Running as non-root", "Seccomp"])
def test_a_rule_of_the_pod_is_one_of_a_container_that_is_beside_it(rule: str) -> None:
    pod = copy.deepcopy(found("kustomize", "production", "Deployment")["spec"]["template"]["spec"])
    del pod["securityContext"]
    assert {"Running as non-root", "Seccomp"} <= broken(pod)
    own = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["containers"][0]["securityContext"] |= own
    assert broken(pod) == set()
    pod["initContainers"] = [{"name": "first", "securityContext": {**pod["containers"][0]["securityContext"]}}]
    del pod["initContainers"][0]["securityContext"]["runAsNonRoot" if "root" in rule else "seccompProfile"]
    assert broken(pod) == {rule}


@pytest.mark.parametrize("overlay", ["production", "development"])
def test_the_namespace_enforces_it(overlay: str) -> None:
    (space,) = [one for one in rendered("kustomize", overlay) if one["kind"] == "Namespace"]
    labels = space["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
