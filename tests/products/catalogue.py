"""The products that a registry serves, as values: how each meets its model, is given our server, logs in, is asked.

`{model}` in a text is the scripted model's address.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from tests.products.model import TOOL

NAME: Final = "orders"
ASK: Final = "List the orders."
ALONE: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "COPILOT_OFFLINE": "true",
    "COPILOT_AUTO_UPDATE": "false",
    "GEMINI_TELEMETRY_ENABLED": "false",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_SHARE": "1",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
    "TERM": "xterm-256color",
}
"""No telemetry, no update, nothing fetched: a run reaches loopback alone, and these say so to the products."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One product and how it is driven; a command's first word is its own name."""

    title: str
    client: str
    """Its name for `mcp-server client-config`."""
    package: str
    program: str
    environment: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    """What it needs in its home to find its model."""
    pasted_into: str | None = None
    """The file in its home that takes what `client-config` prints; None runs that as a script."""
    login: tuple[str, ...] | None = None
    """What logs in, where what was pasted does not do so by itself."""
    keys: Mapping[str, str] = {}
    """What a person types when the login shows these words."""
    ask: tuple[str, ...] = ()
    """The command that takes a prompt."""
    renews: bool = True
    """False of a product that spends one refresh token twice at once: rotation then ends its session (RFC 9700 §4.14.2)."""


CLAUDE: Final = {
    "ANTHROPIC_BASE_URL": "{model}",
    "ANTHROPIC_API_KEY": "sk-ant-none",
    "MCP_CONNECTION_NONBLOCKING": "false",  # with a slow start it would ask its model before it has the tools
    "MCP_CONNECT_TIMEOUT_MS": "60000",
}
CODEX: Final = """\
model = "gpt-5"
model_provider = "scripted"
check_for_update_on_startup = false
mcp_oauth_credentials_store = "file"
[model_providers.scripted]
name = "scripted"
base_url = "{model}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
stream_idle_timeout_ms = 900000
[analytics]
enabled = false
[otel]
exporter = "none"
"""
GEMINI: Final = """\
{"security": {"auth": {"selectedType": "gemini-api-key"}}, "telemetry": {"enabled": false},
 "privacy": {"usageStatisticsEnabled": false},
 "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false}}
"""
OPENCODE: Final = """\
{"autoupdate": false, "share": "disabled", "model": "scripted/m", "small_model": "scripted/m",
 "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible", "name": "scripted",
   "options": {"baseURL": "{model}/v1", "apiKey": "none", "timeout": false},
   "models": {"m": {"name": "m", "tool_call": true, "limit": {"context": 100000, "output": 4000}}}}}}
"""


def _claude(title: str, package: str) -> Product:
    return Product(
        title=title,
        client="claude",
        package=package,
        program="bin/claude.exe",
        environment=CLAUDE,
        ask=("claude", "--allowedTools", f"mcp__{NAME}__{TOOL}", "-p"),
    )


PRODUCTS: Final = (
    _claude("Claude Code, as npm gives it on Node < 22", "claude-code-node20"),
    _claude("Claude Code", "@anthropic-ai/claude-code"),
    Product(
        title="Codex",
        client="codex",
        package="@openai/codex",
        program="bin/codex.js",
        environment={"OPENAI_API_KEY": "none"},
        files={".codex/config.toml": CODEX},
        ask=("codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
    ),
    Product(
        title="Gemini CLI",
        client="gemini",
        package="@google/gemini-cli",
        program="bundle/gemini.js",
        environment={
            "GEMINI_API_KEY": "none",
            "GOOGLE_GEMINI_BASE_URL": "{model}",
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
        },
        files={".gemini/settings.json": GEMINI},
        pasted_into=".gemini/settings.json",
        login=("gemini", "-p", f"/mcp auth {NAME}"),
        keys={"[Y/n]": "y\r"},
        ask=("gemini", "--yolo", "-m", "gemini-2.5-flash", "-p"),
        renews=False,
    ),
    Product(
        title="Copilot CLI",
        client="copilot",
        package="@github/copilot",
        program="npm-loader.js",
        environment={
            "COPILOT_PROVIDER_BASE_URL": "{model}/v1",
            "COPILOT_PROVIDER_API_KEY": "none",
            "COPILOT_MODEL": "m",
        },
        pasted_into=".copilot/mcp-config.json",
        login=("copilot", "--allow-all-tools", "-i", f"/mcp auth {NAME}"),
        ask=("copilot", "--allow-all-tools", "-p"),
    ),
    Product(
        title="OpenCode",
        client="opencode",
        package="opencode-ai",
        program="bin/opencode.exe",
        files={".config/opencode/opencode.json": OPENCODE},
        pasted_into=".config/opencode/opencode.json",
        login=("opencode", "mcp", "auth", NAME),
        ask=("opencode", "run", "--auto"),
    ),
)
