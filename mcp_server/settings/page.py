"""`docs/settings.md` out of the groups: `python -m mcp_server.settings.page > docs/settings.md`."""

import sys
from typing import Final

from mcp_server.settings.catalogue import Row, rows
from mcp_server.settings.model import GROUPS

INTRODUCTION: Final = """# Settings

Generated from `mcp_server/settings/groups` by `make docs`; a test compares.

`mcp-server check` reports every problem at once, a line each, and never what was given.

- A setting comes from the environment, or else from `.env` in the working directory, or else from a folder of secrets,
  or else from a secret manager (`MCP_SECRETS`).
- A line of `.env` is `NAME=value`. Without quotes a value ends before ` #`, a comment, and loses the blanks around
  it; in double quotes `\\n`, `\\t`, `\\"` and `\\\\` are escapes, in single quotes `\\'` and `\\\\` alone. What is
  quoted may have several lines. `${NAME}` is replaced nowhere. A secret is best in single quotes.
- `MCP_X_FILE` names a file with the value of `MCP_X`; both in one place are an error, and so is an empty file
  (who writes a file in place empties it first).
- `MCP_SECRETS_DIR` is a folder of such files, each named like its setting (`/run/secrets/MCP_CLIENT_SECRET`), as
  Docker, Kubernetes and the agents of AWS, GCP, Azure and Vault mount them.
- An empty value of a variable counts as not set. A name that begins with `MCP_` and is not below is an error.
- Lists are words between blanks or commas, or JSON. Scopes are scope-tokens (RFC 6749 §3.3).

**Secrets** belong into files, or into a manager ([secrets.md](secrets.md), with what is rotated without a restart): the
environment of a process can be read by its user for as long as it lives. `serve` and `stdio` take the secrets below out
of their own environment once the server is loaded, so that what a handler starts does not inherit them; nothing that is
read from elsewhere is put there.

**Whose `.env`?** It is read where the command runs, and modules are found there too (after all that is installed, so
that nothing there takes the name of an installed one). An editor that starts `mcp-server stdio` in a checkout of
somebody else's would run what lies there: give it `--directory` with the folder of your server, which is then the
working directory. `serve` and `stdio` log the folder, the file of the server and whether there is a `.env`.
"""
LAST: Final = """
## Files

| name | default | takes | what for |
|---|---|---|---|
| `MCP_SECRETS_DIR` | none | folder | a folder with a file for each secret, see above |
"""


def page() -> str:
    """The whole page."""
    known = rows()
    parts = [INTRODUCTION]
    for name, group in GROUPS.items():
        parts.append(f"\n## {group.title}\n\n| name | default | takes | what for |\n|---|---|---|---|\n")
        parts += [_line(row) for row in known if row.group == name]
    return "".join([*parts, LAST])


def _line(row: Row) -> str:
    return f"| `{row.name}` | {row.default} | {row.takes}{_range(row)} | {row.text} |\n"


def _range(row: Row) -> str:
    if row.least is not None and row.most is not None:
        return f", {_number(row.least)} to {_number(row.most)}"
    bounds = {"at least": row.least, "more than": row.above, "at most": row.most}
    return "".join(f", {words} {_number(bound)}" for words, bound in bounds.items() if bound is not None)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
