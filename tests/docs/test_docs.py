"""What the documents say is so."""

import re
from pathlib import Path

from dotenv import dotenv_values

from mcp_server import McpServer, settings
from mcp_server.cli import main

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    rows = [line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(MCP_[A-Z_]+)`", row.split("|")[1])}
    assert documented == set(settings.names())


def test_the_example_environment_is_usable() -> None:
    text = (ROOT / ".env.example").read_text()
    values = dotenv_values(ROOT / ".env.example")
    loaded = settings.load({name: value or "" for name, value in values.items()})
    assert loaded.resource == "https://mcp.example.com/mcp"
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
    assert set(server.tools) == {"find_order", "deliver", "describe"}


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operate.md").read_text()
    source = (ROOT / "mcp_server" / "observe" / "metrics.py").read_text()
    for name in re.findall(r'(?:Counter|Histogram)\(\s*"(\w+)"', source):
        assert name in text


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists()
