"""Settings: any text of any setting is a value or a problem of its own, and no secret stands in a problem."""

from typing import Final

from mcp_server import settings
from mcp_server.settings import catalogue

FILES: Final = ("_FILE", "_DIR")
"""Settings that name files here are left out: what would be read is none of the fuzzer's business."""
SECRETS: Final = catalogue.secrets()


def environment(data: bytes) -> None:
    """Lines of `NAME=value`, as an environment file has them."""
    given: dict[str, str] = {}
    for line in data.split(b"\n")[:30]:
        name, _, value = line.decode("utf-8", "replace").partition("=")
        if not name.startswith("MCP_") or not name.endswith(FILES):
            given[name] = value.replace("\x00", "")
    found = settings.validate(settings.read(given, asks=False))  # no secret manager is asked
    assert isinstance(found.problems, list)
    told = "\n".join(found.problems)
    for name in SECRETS & given.keys():
        value = given[name].strip()
        if len(value) > 12 and value not in "".join(text for other, text in given.items() if other != name):
            assert value not in told, name
