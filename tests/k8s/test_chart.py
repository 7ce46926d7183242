"""The Helm chart: the same objects as kustomize's, values that are held to their schema, and what only Helm has."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import __version__
from mcp_server.settings import catalogue
from tests.kit.manifests import CHART, OVERLAYS, Manifest, charted, helm, is_hook, kustomized, normal, parts, template
from tests.kit.stack import running_stack

PRODUCTION = CHART / "ci" / "production-values.yaml"
COMPONENTS = {"valkey", "orders-api"}
"""What kustomize has for clusters that have no such thing; the chart does not."""


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(one["kind"], one["metadata"]["name"]): one for one in map(normal, manifests)}


def objects(folder: Path, values: dict[str, Any], **named: str) -> dict[tuple[str, str], Manifest]:
    """What the values of production and these render."""
    file = folder / "values.yaml"
    file.write_bytes(msgspec.yaml.encode(values))
    texts = {name: text for name, text in template(PRODUCTION, file, **named).items() if name.endswith(".yaml")}
    return by_name([one for text in texts.values() for one in parts(text)])


def pod_of(made: dict[tuple[str, str], Manifest]) -> Manifest:
    pod: Manifest = made["Deployment", "mcp-server"]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_renders_the_objects_of_the_overlay(overlay: str) -> None:
    wanted = by_name(kustomized(overlay))
    kept = {key: one for key, one in wanted.items() if key[0] != "Namespace" and key[1] not in COMPONENTS}
    assert by_name(charted(overlay)) == kept


@pytest.mark.parametrize("files", [(), (PRODUCTION,), (CHART / "ci" / "development-values.yaml",)])
def test_helm_finds_nothing_to_say(files: tuple[Path, ...]) -> None:
    done = helm("lint", CHART, "mcp", *files)
    assert (done.returncode, done.stdout) == (0, "[INFO] Chart.yaml: icon is recommended\n")


def test_the_chart_is_of_this_version() -> None:
    chart = msgspec.yaml.decode((CHART / "Chart.yaml").read_bytes())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "replicas"),
        ({"networkPolicy": {"egress": {"postgres": {"ports": [5432]}}}}, "postgres"),
        ({"networkPolicy": {"requestsFrom": []}}, "requestsFrom"),  # a rule without peers lets everybody in
        ({"networkPolicy": {"requestsFrom": [{}]}}, "requestsFrom"),
        ({"settings": {"MCP_CLIENT_SECRET": "s3cret"}}, "MCP_CLIENT_SECRET"),
        ({"settings": {"mcp_issuer": "https://sso.example.com"}}, "mcp_issuer"),
        ({"settings": {"MCP_RESOURCE": "mcp.example.com/mcp"}}, "MCP_RESOURCE"),
        ({"settings": {"MCP_AUDIENCES": ["one", "two"]}}, "MCP_AUDIENCES"),
        ({"image": {"digest": "sha256:abc"}}, "digest"),
        ({"server": "orders.py"}, "server"),
        ({"settings": {"MCP_ISSUER": None}}, "settings.MCP_ISSUER: the issuer of the tokens is needed"),
    ],
)
def test_values_that_are_wrong_are_refused(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_bytes(msgspec.yaml.encode(values))
    done = helm("template", CHART, "mcp-server", "mcp", "v1.34.0", PRODUCTION, file)
    assert done.returncode == 1
    assert said in done.stderr
    assert "s3cret" not in done.stderr


def test_no_secret_can_be_given_as_a_setting() -> None:
    """A release keeps its values where whoever lists Secrets reads them."""
    schema = msgspec.json.decode((CHART / "values.schema.json").read_bytes())
    refused = schema["properties"]["settings"]["propertyNames"]["not"]["enum"]
    assert set(refused) >= catalogue.secrets()


def test_an_older_kubernetes_is_refused() -> None:
    done = helm("template", CHART, "mcp-server", "mcp", "v1.29.0", PRODUCTION)
    assert (done.returncode, done.stderr) == (1, "the chart is for Kubernetes >=1.30.0-0, not v1.29.0\n")


def test_numbers_are_written_as_they_were(tmp_path: Path) -> None:
    given = {"MCP_MAX_BODY_BYTES": 67108864, "MCP_LEEWAY_S": 0.5, "MCP_RATELIMIT_HEADERS": True, "MCP_LOG_LEVEL": None}
    data = objects(tmp_path, {"settings": given})["ConfigMap", "mcp-server"]["data"]
    assert {name: data.get(name) for name in given} == {
        "MCP_MAX_BODY_BYTES": "67108864",
        "MCP_LEEWAY_S": "0.5",
        "MCP_RATELIMIT_HEADERS": "true",
        "MCP_LOG_LEVEL": None,
    }


def test_what_follows_from_the_settings_follows_them(tmp_path: Path) -> None:
    given = {"MCP_WORKERS": "2", "MCP_MAX_STREAMS": 1000, "MCP_STOP_S": "99.5", "MCP_CALL_TIMEOUT_S": 30}
    made = objects(tmp_path, {"settings": {**given, "MCP_PORT": 8080, "MCP_ADMIN_PORT": 9090}})
    pod = pod_of(made)
    assert pod["terminationGracePeriodSeconds"] == 5 + 5 + 100 + 9 + 6
    assert [port["containerPort"] for port in pod["containers"][0]["ports"]] == [8080, 9090]
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "896Mi"}
    processor, streams, _ = made["HorizontalPodAutoscaler", "mcp-server"]["spec"]["metrics"]
    assert processor["resource"]["target"]["averageValue"] == "1200m"
    assert streams["pods"]["target"]["averageValue"] == "1400"
    assert made["HTTPRoute", "mcp-server"]["spec"]["rules"][1]["timeouts"]["request"] == "50s"
    assert made["Service", "mcp-server-admin"]["spec"]["ports"][0]["port"] == 9090


def test_an_api_without_code_is_served(tmp_path: Path) -> None:
    """As docs/kubernetes.md has it; the Secret has no address of a store."""
    page = Path("docs/kubernetes.md").read_text("utf-8").partition("## An API without code")[2]
    values = msgspec.yaml.decode(page.partition("```yaml\n")[2].partition("```")[0])
    values["settings"]["MCP_REDIS_URL_FILE"] = None
    made = objects(tmp_path, values)
    (container,) = pod_of(made)["containers"]
    assert container["args"] == ["serve"]
    assert values["extraVolumeMounts"][0] in container["volumeMounts"]
    data = made["ConfigMap", "mcp-server"]["data"]
    assert (data["MCP_CONFIG"], "MCP_REDIS_URL_FILE" in data) == ("/api/mcp.toml", False)


def test_what_a_user_adds_is_added(tmp_path: Path) -> None:
    variable = {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}}
    volume, mount = {"name": "ca", "configMap": {"name": "ca"}}, {"name": "ca", "mountPath": "/ca", "readOnly": True}
    values = {
        "image": {"digest": f"sha256:{'a' * 64}"},
        "existingSecret": "other",
        "extraEnv": [variable],
        "extraVolumes": [volume],
        "extraVolumeMounts": [mount],
        "serviceAccount": {"create": False, "name": "orders"},
        "priorityClassName": "high",
        "resources": {"limits": {"memory": "2Gi"}},
        "imagePullSecrets": [{"name": "pull"}],
        "podLabels": {"team": "orders"},
    }
    made = objects(tmp_path, values)
    pod = pod_of(made)
    (container,) = pod["containers"]
    assert container["image"] == f"images.example.com/mcp-server@sha256:{'a' * 64}"
    assert container["env"] == [variable]
    assert (volume in pod["volumes"], mount in container["volumeMounts"]) == (True, True)
    assert pod["volumes"][0]["secret"]["secretName"] == "other"
    assert (pod["serviceAccountName"], ("ServiceAccount", "mcp-server") in made) == ("orders", False)
    assert (pod["priorityClassName"], pod["imagePullSecrets"]) == ("high", [{"name": "pull"}])
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "2Gi"}
    assert made["Deployment", "mcp-server"]["spec"]["template"]["metadata"]["labels"]["team"] == "orders"


@pytest.mark.parametrize(
    ("values", "gone", "there"),
    [
        ({"gateway": {"enabled": False}, "ingress": {"enabled": True}}, "HTTPRoute", "Ingress"),
        ({"autoscaling": {"enabled": False}}, "HorizontalPodAutoscaler", "Deployment"),
        ({"serviceMonitor": {"enabled": False}}, "ServiceMonitor", "Deployment"),
        ({"podDisruptionBudget": {"enabled": False}}, "PodDisruptionBudget", "Deployment"),
    ],
)
def test_what_is_switched_off_is_not_there(values: dict[str, Any], gone: str, there: str, tmp_path: Path) -> None:
    made = objects(tmp_path, values)
    kinds = {kind for kind, _ in made}
    assert (gone in kinds, there in kinds) == (False, True)
    replicas = made["Deployment", "mcp-server"]["spec"].get("replicas")
    assert replicas == (2 if gone == "HorizontalPodAutoscaler" else None)


def test_rules_that_are_narrowed_are_narrow(tmp_path: Path) -> None:
    to = [{"ipBlock": {"cidr": "10.1.2.3/32"}}]
    egress = {"issuerAndApis": {"ports": [443], "to": to}, "vault": {"ports": []}, "otlp": None}
    values = {"networkPolicy": {"egress": egress, "extraEgress": [{"ports": [{"protocol": "TCP", "port": 3128}]}]}}
    _, apis, redis, proxy = objects(tmp_path, values)["NetworkPolicy", "mcp-server"]["spec"]["egress"]
    assert apis == {"to": to, "ports": [{"protocol": "TCP", "port": 443}]}
    assert [port["port"] for port in redis["ports"]] == [6379, 6380]
    assert proxy == {"ports": [{"protocol": "TCP", "port": 3128}]}


def test_two_releases_share_nothing(tmp_path: Path) -> None:
    made = objects(tmp_path, {}, release="orders")
    assert {name for _, name in made} == {
        "orders-mcp-server", "orders-mcp-server-admin", "orders-mcp-server-test"
    }  # fmt: skip
    selector = made["Deployment", "orders-mcp-server"]["spec"]["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/instance"] == "orders"
    (route,) = [one for (kind, _), one in made.items() if kind == "HTTPRoute"]
    assert {rule["backendRefs"][0]["name"] for rule in route["spec"]["rules"]} == {"orders-mcp-server"}


def test_a_changed_setting_is_a_rollout() -> None:
    def checksum(*files: Path) -> str:
        (found,) = re.findall(r"checksum/settings: (\w{64})", template(*files)["deployment.yaml"])
        return str(found)

    assert checksum(PRODUCTION) != checksum(CHART / "ci" / "development-values.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "create secret generic mcp-server"),
        ({}, "curl -si https://mcp.example.com/mcp -H"),
        ({}, "pods/*/mcp_streams_open"),
        ({"gateway": {"enabled": False}}, "Nothing brings requests in"),
    ],
)
def test_the_notes_say_what_to_do_next(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_bytes(msgspec.yaml.encode(change))
    assert said in template(PRODUCTION, tmp_path / "values.yaml")["NOTES.txt"]


def hooks(match: Callable[[Manifest], bool]) -> list[Manifest]:
    return [one for one in parts(template(PRODUCTION)["tests/connection.yaml"]) if is_hook(one) and match(one)]


def test_the_test_pod_alone_is_let_in_while_it_runs() -> None:
    (pod,) = hooks(lambda one: one["kind"] == "Pod")
    (policy,) = hooks(lambda one: one["kind"] == "NetworkPolicy")
    ((peer,),) = [rule["from"] for rule in policy["spec"]["ingress"]]
    assert peer["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == ["http"]
    server = by_name(charted("production"))["Deployment", "mcp-server"]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= server.items()
    assert not pod["metadata"]["labels"].items() <= server.items()  # the Service must not lead to it


async def test_what_helm_tests_is_so_of_a_server(tmp_path: Path) -> None:
    (pod,) = hooks(lambda one: one["kind"] == "Pod")
    (container,) = pod["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == "python"
    async with running_stack(tmp_path) as stack:
        service = stack.resource.removesuffix("/mcp")
        for resource, code in ((stack.resource, 0), ("https://other.example.com/mcp", 1)):
            environment = {**os.environ, "SERVICE": service, "RESOURCE": resource}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *arguments),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await process.communicate()
            assert process.returncode == code
            assert (b"401 Bearer" in said) == (code == 0)
    assert {one["name"] for one in container["env"]} == {"SERVICE", "RESOURCE"}
