"""What the documents say is so."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types here
from click.testing import CliRunner
from dotenv import dotenv_values

from mcp_server import McpServer, settings
from mcp_server.cli import main
from mcp_server.cli.clients import CLIENTS
from mcp_server.engine.outcome import Denied
from mcp_server.settings import page
from tests.docs import errors_page
from tests.kit.calls import call, serving
from tests.kit.principals import principal

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SETTINGS = {"MCP_ISSUER": "https://sso.example.com/realms/mcp"}


def test_the_page_of_settings_is_what_the_groups_say() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    assert text == page.page(), "make docs"
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `") for row in rows} == set(settings.names())
    assert all(cell.strip(" `") for row in rows for cell in row[1:-1])
    assert not [row[1] for row in rows if row[2].strip() in ("True", "False")]


def test_the_example_environment_is_usable() -> None:
    text = (ROOT / ".env.example").read_text()
    values = dotenv_values(ROOT / ".env.example")
    loaded = settings.load({name: value or "" for name, value in values.items()})
    assert loaded.auth.resource == "https://mcp.example.com/mcp"
    for name in re.findall(r"^# (MCP_\w+)=", text, re.MULTILINE):
        assert name.removesuffix("_FILE") in settings.names()


def test_the_readme_names_every_command_and_its_python_runs() -> None:
    text = (ROOT / "README.md").read_text()
    for verb in main.commands:
        assert f"mcp-server {verb}" in text
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    space: dict[str, object] = {"__name__": "readme"}
    exec(block, space)
    server = space["server"]
    assert isinstance(server, McpServer)
    assert (
        server.tools["find_order"].entry.input_schema["properties"]["order_id"]["description"]
        == "The number of the order."
    )


def test_the_guide_for_authors_runs_as_it_stands() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "author.md").read_text(), re.DOTALL)
    space: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        exec(block, space)
    server = space["server"]
    assert isinstance(server, McpServer)
    assert set(server.tools) == {"deliver", "describe", "reopen", "refund", "discount", "cancel"}


async def test_what_the_guide_says_of_needs_is_so() -> None:
    text = (ROOT / "docs" / "author.md").read_text()
    space: dict[str, Any] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, space)
    rows = [
        ("reopen", {"order_id": 42}, [], {"mcp:admin"}),
        ("reopen", {"order_id": 42}, ["orders:read", "mcp:write"], None),
        ("refund", {"order_id": 42}, [], {"orders:refund:42"}),
        ("discount", {"order_id": 42, "percent": 10}, [], {"mcp:write"}),
        ("discount", {"order_id": 42, "percent": 30}, ["mcp:write"], {"mcp:write", "orders:discount:42"}),
        ("cancel", {"order_id": 42}, ["mcp:write"], None),
        ("cancel", {"order_id": 1001}, ["mcp:write"], {"orders:recall"}),
    ]
    async with serving(space["server"], parameterized_scopes=True) as (pipeline, _):
        for name, arguments, held, needed in rows:
            asked = call("tools/call", {"name": name, "arguments": arguments}, who=principal(scopes=held))
            outcome = await pipeline.serve(asked)
            assert (outcome.needed if isinstance(outcome, Denied) else None) == needed, name


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operate.md").read_text()
    source = (ROOT / "mcp_server" / "observe" / "metrics.py").read_text()
    for name in re.findall(r'(?:Counter|Histogram)\(\s*"(\w+)"', source):
        assert name in text


def test_every_event_of_the_log_is_documented() -> None:
    """In the table of docs/operate.md or, of the APIs' warnings, in docs/errors.md."""
    text = (ROOT / "docs" / "operate.md").read_text()
    pages = text + (ROOT / "docs" / "errors.md").read_text()
    events = errors_page.logged()
    assert len(events) > 60
    lacking = {one for one in events if one not in pages and f"{one.partition(':')[0]}: …" not in pages}
    assert lacking == set()
    table = text[text.index("| `event` |") : text.index("## Audit")]
    told = {
        one for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)[1:] for one in re.findall("`([^`]+)`", row)
    }
    assert {one for one in told if one.rstrip("…").rstrip(": ") not in "\n".join(events)} == {"stamina.retry_scheduled"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_what_the_page_of_clients_shows_is_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "clients.md").read_text()
    fenced = re.findall(r"```(json|toml|yaml)\n(.*?)```", text, re.DOTALL)
    read = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
    shown = [read[syntax](block) for syntax, block in fenced]
    shown += [json.loads(block) for block in re.findall(r'`(\{".*?\}\})`', text)]
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^\$ ((?:claude|codex) .*)$", text, re.MULTILINE)]
    for client, known in CLIENTS.items():
        assert f"`{client}`" in text
        more = [] if known.registered is None else ["--client-id", "mcp-public"]
        asked = ["client-config", client, "--name", "orders", "--url", "https://mcp.example.com/mcp", *more]
        printed = CliRunner().invoke(main, asked, env={**SETTINGS, "MCP_CHALLENGE_SCOPES": "mcp:read mcp:write"}).stdout
        if known.syntax == "shell":
            assert all(shlex.split(line) in lines for line in printed.splitlines())
        elif known.syntax != "json list":
            assert (yaml.safe_load if known.syntax == "yaml" else json.loads)(printed) in shown


TO_COME = (
    "rest/",
    "console/",
    "auth/binding/mtls.py",
    "auth/binding/replay_cache.py",
    "engine/pipeline",
    "observe/recorder",
)
"""Places that the page names for changes whose folder is not there yet."""


def test_every_place_that_the_page_of_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    folders = "|".join(
        path.name for path in [*(ROOT / "mcp_server").iterdir(), *(ROOT / "devstack").iterdir()] if path.is_dir()
    )
    named = set(re.findall(rf"`((?:mcp_server/|devstack/)?(?:{folders}|rest|console)/[\w./]*)`", text))
    roots = (ROOT, ROOT / "mcp_server", ROOT / "devstack")
    missing = {one for one in named if not any((at / one).exists() or (at / f"{one}.py").exists() for at in roots)}
    assert {one for one in missing if not one.startswith(TO_COME)} == set()
