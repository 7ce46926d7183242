"""What each MCP client's user pastes, as values: one entry a product, filled in by `client_config`.

In every text `{name}`, `{url}`, `{client_id}`, `{issuer}` and `{port}` stand for what was asked. A value that is
`{scopes}` becomes the list of them, `{scope_words}` one text, a word that is `{registered}` the words for a
pre-registered client; each may be nothing.
`docs/clients.md` has a row for each product, with what was seen and when.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Syntax = Literal["shell", "json", "json list", "yaml"]
CALLBACK_PORT: Final = 8733
"""Where a pre-registered Claude Code waits for its redirect: no product's own port (33418 is VS Code's), and the realm
allows any of loopback."""
OWN_REDIRECT: Final = (
    "its redirect is on its own host, {}: let it in with 'devstack realm apply --allow {}=HOST/{{name}}"
)
"""Then it is a redirect of mcp-public. A product registers it only in a realm that believes no metadata documents: with
them Keycloak 26.7.4 judges redirects by their hosts alone."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A product's configuration: where it goes and in what syntax; `registered` is added for a pre-registered client.

    In JSON and YAML the entry stands under its name in `inside`; in a shell each entry is a command of words.
    """

    place: str
    syntax: Syntax = "json"
    inside: str = ""
    entry: Mapping[str, Any] = {}
    registered: Mapping[str, Any] | None = {}
    """None where it can have no pre-registered client."""
    asks_issuer: bool = False
    """Whether a pre-registered client goes with the issuer's endpoints and scopes, which it then does not look up."""
    commands: tuple[tuple[str, ...], ...] = ()
    registered_words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


CLIENTS: Final[Mapping[str, Client]] = {
    "claude": Client(
        place="a shell",
        syntax="shell",
        commands=(
            ("claude", "mcp", "add", "--transport", "http", "{registered}", "{name}", "{url}"),
            ("claude", "mcp", "login", "{name}"),
        ),
        registered_words=("--client-id", "{client_id}", "--callback-port", "{port}"),
    ),
    "vscode": Client(
        place=".vscode/mcp.json",
        inside="servers",
        entry={"type": "http", "url": "{url}"},
        registered={"oauth": {"clientId": "{client_id}"}},
    ),
    "cursor": Client(
        place=".cursor/mcp.json or ~/.cursor/mcp.json, then Settings, MCP, Connect",
        inside="mcpServers",
        entry={"url": "{url}"},
        registered={"auth": {"CLIENT_ID": "{client_id}"}},
    ),
    "codex": Client(
        place="a shell; it logs in at once, and 'codex mcp login {name}' does so again",
        syntax="shell",
        commands=(("codex", "mcp", "add", "{name}", "--url", "{url}", "{registered}"),),
        registered_words=("--oauth-client-id", "{client_id}"),
    ),
    "gemini": Client(
        place="~/.gemini/settings.json, then /mcp auth {name}",
        inside="mcpServers",
        entry={"httpUrl": "{url}"},
        # without scopes of its own it asks for everything that the issuer's metadata lists
        registered={"oauth": {"enabled": True, "clientId": "{client_id}", "scopes": "{scopes}"}},
    ),
    "copilot": Client(
        place="~/.copilot/mcp-config.json; it logs in when a session starts, or by /mcp auth {name}",
        inside="mcpServers",
        entry={"type": "http", "url": "{url}", "tools": ["*"]},
        registered={"oauthClientId": "{client_id}", "oauthPublicClient": True},
    ),
    "opencode": Client(
        place="opencode.json or ~/.config/opencode/opencode.json, then opencode mcp auth {name}",
        inside="mcp",
        entry={"type": "remote", "url": "{url}"},
        registered={"oauth": {"clientId": "{client_id}"}},
    ),
    "windsurf": Client(
        place="~/.codeium/windsurf/mcp_config.json",
        inside="mcpServers",
        entry={"serverUrl": "{url}"},
        registered=None,
        notes=("its makers name no setting for a client id: it registers by itself",),
    ),
    "zed": Client(
        place="Zed's settings.json (zed: open settings file)",
        inside="context_servers",
        entry={"url": "{url}"},
        registered=None,
        notes=(
            "it comes with its metadata document alone, zed.dev's: the issuer must fetch it (Keycloak with 'cimd')",
        ),
    ),
    "cline": Client(
        place="cline_mcp_settings.json (MCP Servers, Configure)",
        inside="mcpServers",
        entry={"type": "streamableHttp", "url": "{url}"},
        registered=None,
        notes=("its makers name no setting for a client id: it registers by itself",),
    ),
    "librechat": Client(
        place="librechat.yaml",
        syntax="yaml",
        inside="mcpServers",
        entry={"type": "streamable-http", "url": "{url}"},
        # it goes by these only where all three are told, and registers otherwise
        registered={
            "oauth": {
                "client_id": "{client_id}",
                "authorization_url": "{issuer}/protocol/openid-connect/auth",
                "token_url": "{issuer}/protocol/openid-connect/token",
                "scope": "{scope_words}",
            }
        },
        asks_issuer=True,
        notes=(
            OWN_REDIRECT.format("https://HOST/api/mcp/{name}/oauth/callback", "librechat")
            + "' and give it --client-id mcp-public; without one it registers, which needs a realm with --no-documents",
        ),
    ),
    "open-webui": Client(
        place="Admin Settings, External Tools, Add Connection, Import; then Register Client",
        syntax="json list",
        entry={
            "type": "mcp",
            "url": "{url}",
            "path": "",
            "auth_type": "oauth_2.1",
            "key": "",
            "config": {"enable": True},
            "info": {"id": "{name}", "name": "{name}", "description": ""},
        },
        registered=None,
        notes=(
            OWN_REDIRECT.format("https://HOST/oauth/clients/mcp:{name}/callback", "open-webui")
            + " --no-documents'; it takes no client id without a secret, so it registers, and mcp-public is not for it",
        ),
    ),
}
