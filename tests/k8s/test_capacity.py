"""The memory of a pod is what its settings let it hold, and the autoscaler brings another before that."""

import re
from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.auth.tokens import cache
from mcp_server.observe.writing import writer
from tests.kit.manifests import RENDERINGS, ROOT, found

MIB = 1024 * 1024
STEP_MIB = 64
PAGE = ROOT / "docs" / "kubernetes.md"
either = pytest.mark.parametrize(("by", "overlay"), RENDERINGS)


def numbers() -> dict[str, float]:
    """The terms of the formula, from the page that explains it."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) (MiB|KiB|times) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: float(number) / (1024 if unit == "KiB" else 1) for name, number, unit in rows}


def memory_mib(found: settings.Settings) -> int:
    """What a pod may come to hold, in steps."""
    term = numbers()
    worker = (
        term["worker"]
        + term["stream"] * found.limits.max_streams
        + term["in_flight"] * found.http.max_bytes_in_flight / MIB
    )
    whole = term["server"] + found.http.workers * worker
    return STEP_MIB * -(-int(whole) // STEP_MIB)


def loaded(by: str, overlay: str) -> settings.Settings:
    data = found(by, overlay, "ConfigMap")["data"]
    return settings.load({name: text for name, text in data.items() if name[:4] == "MCP_" and name[-5:] != "_FILE"})


@either
def test_the_limit_of_memory_is_what_the_settings_let_a_pod_hold(by: str, overlay: str) -> None:
    (container,) = found(by, overlay, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == f"{memory_mib(loaded(by, overlay))}Mi"


def test_what_a_worker_keeps_besides_is_in_its_term() -> None:
    """Verified tokens, and lines that wait to be written: two files of the audit, and the log."""
    bounded = (cache.MAX_BYTES + 3 * writer.MAX_KEPT) / MIB
    assert numbers()["worker"] - bounded >= 80  # the code, and what handlers do: measured


@either
def test_the_autoscaler_adds_a_pod_before_calls_wait_or_streams_are_refused(by: str, overlay: str) -> None:
    metrics = found(by, overlay, "HorizontalPodAutoscaler")["spec"]["metrics"]
    said = loaded(by, overlay)
    assert metrics[0]["resource"]["target"] == {
        "type": "AverageValue",
        "averageValue": f"{600 * said.http.workers}m",
    }
    targets = {one["pods"]["metric"]["name"]: int(one["pods"]["target"]["averageValue"]) for one in metrics[1:]}
    assert targets == (
        {} if overlay == "development"
        else {"mcp_streams_open": said.limits.max_streams * said.http.workers * 7 // 10, "mcp_calls_running": 100}
    )  # fmt: skip


def test_what_the_autoscaler_asks_for_is_what_a_server_counts() -> None:
    source = (ROOT / "mcp_server/observe/load.py").read_text("utf-8")
    adapter = (ROOT / "devstack/k8s/components/scale-by-load/prometheus-adapter.yaml").read_text("utf-8")
    for name in ("mcp_streams_open", "mcp_calls_running"):
        assert f'Gauge("{name}"' in source
        assert name in adapter


def test_the_page_names_the_limit_of_the_base() -> None:
    base = Path(ROOT / "devstack/k8s/base/deployment.yaml").read_text("utf-8")
    (limit,) = re.findall(r'limits: \{ cpu: "2", memory: (\w+) \}', base)
    assert f"{limit}" in PAGE.read_text("utf-8")
