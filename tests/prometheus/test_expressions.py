"""The alerts and the dashboard, evaluated by Prometheus' own tool over the counters that this server really has."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types here
from prometheus_client import REGISTRY

from mcp_server.observe import metrics

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "devstack" / "observability"
PROMTOOL = HERE / "bin" / "promtool"
LABELS = {
    "mcp_calls": [{"method": "tools/call", "tool": "t", "outcome": one} for one in ("ok", "tool_error", "failed")],
    "mcp_call_seconds": [{"method": "tools/call", "tool": "t"}],
    "mcp_refusals": [{"reason": "expired"}],
    "mcp_key_fetches": [{"issuer": "https://i", "outcome": one} for one in ("ok", "failed")],
    "mcp_token_cache": [{"outcome": one} for one in ("hit", "miss")],
    "mcp_answers_not_as_documented": [{"tool": "t"}],
    "mcp_audit_queue_bytes": [{"file": "audit"}],
    "mcp_limited": [{"scope": "principal"}],
    "mcp_telemetry_lost": [{"signal": "traces", "reason": "queue_full"}],
}
"""Labels that the counters have: their names are held against the counters themselves."""


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False, timeout=60)


def series() -> list[dict[str, str]]:
    """Each counter that grows, as a scrape would bring it."""
    found = []
    collectors: set[Any] = {one for one in REGISTRY._names_to_collectors.values() if hasattr(one, "_labelnames")}
    for collector in collectors:
        name, labelnames, kind = collector._name, collector._labelnames, type(collector).__name__
        if not name.startswith("mcp_"):
            continue
        for labels in LABELS.get(name, [{}]):
            assert labels.keys() == set(labelnames), name
            said = "".join(f', {key}="{value}"' for key, value in labels.items())
            if kind == "_Latencies":
                bounds = [*map(str, metrics._BUCKETS), "+Inf"]
                found += [
                    _growing(f'{name}_bucket{{job="j"{said}, le="{bound}"}}', place)
                    for place, bound in enumerate(bounds, 1)
                ]
            else:
                found.append(_growing(f'{name}{"" if kind == "Gauge" else "_total"}{{job="j"{said}}}', 1))
    return found


def _growing(named: str, step: int) -> dict[str, str]:
    return {"series": named, "values": f"0+{step * 60}x30"}


def expressions() -> list[str]:
    """Of the dashboard, with what Grafana would put for its variables."""
    document: Any = json.loads((FILES / "dashboard.json").read_text())
    found = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    return [one.replace("$__rate_interval", "5m").replace("$job", ".*") for one in found]


def test_the_alerts_fire_on_what_they_are_for() -> None:
    checked = promtool("check", "rules", str(FILES / "alerts.yaml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", str(HERE / "alerts_test.yaml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_is_tried_both_ways() -> None:
    rules: Any = yaml.safe_load((FILES / "alerts.yaml").read_text())
    named = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    well, wrong = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    assert {one["alertname"] for one in well["alert_rule_test"]} == named
    fired = {re.findall(r'"(\w+)"', one["labels"])[0] for one in wrong["promql_expr_test"][0]["exp_samples"]}
    assert fired == named


def test_each_expression_of_the_dashboard_finds_something(tmp_path: Path) -> None:
    """A tool that expects nothing tells what it got instead."""
    asked = expressions()
    assert len(asked) > 15
    tests = [{"expr": f"count({expression})", "eval_time": "20m", "exp_samples": []} for expression in asked]
    document = {"tests": [{"interval": "1m", "input_series": series(), "promql_expr_test": tests}]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    told = promtool("test", "rules", str(tmp_path / "tests.yaml")).stderr
    found = [float(one) for one in re.findall(r"got: \{\} (\S+)", told)]
    assert len(found) == len(asked), told
    assert min(found) >= 1


def test_the_dashboard_is_one() -> None:
    document: Any = json.loads((FILES / "dashboard.json").read_text())
    panels = document["panels"]
    assert len({one["id"] for one in panels}) == len({one["title"] for one in panels}) == len(panels)
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}
    assert len(places) == len(panels)
    assert {one["name"] for one in document["templating"]["list"]} == {"datasource", "job"}
    assert {target["datasource"]["uid"] for one in panels for target in one["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("file", ["alerts.yaml", "dashboard.json"])
def test_every_counter_is_looked_at(file: str) -> None:
    text = (FILES / file).read_text()
    known = {name for one in REGISTRY._names_to_collectors.values() if (name := getattr(one, "_name", ""))}
    named = {re.sub(r"_(total|bucket)$", "", one) for one in re.findall(r"mcp_[a-z_]+", text)}
    assert named <= known
    if file == "dashboard.json":
        assert {one for one in known if one.startswith("mcp_")} == named
