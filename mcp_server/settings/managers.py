"""What secret managers add to what is read here: the lowest layer, fetched by the way out that is read before it."""

from collections.abc import Iterable, Mapping
from typing import Final

from mcp_server.route import Route
from mcp_server.secrets import fetch, stores
from mcp_server.settings import report
from mcp_server.settings.groups import sources as source_settings
from mcp_server.settings.groups.network import NetworkSettings
from mcp_server.settings.sources import SECRETS_DIR, Found

NOT_THERE: Final = frozenset({"MCP_SECRETS", "MCP_SECRETS_REFRESH_S", SECRETS_DIR})
"""They say where secrets are, and are read before any is fetched."""


def with_managed(local: Found, known: Iterable[str], deadline_s: float = fetch.DEADLINE_S) -> Found:
    """The same with what the managers have that it names; it blocks, for so long at most.

    Where one of them does not answer, nobody knows what else is wrong: what is not stated here counts as not read.
    """
    addresses = source_settings.addresses(local.texts)
    if not addresses:
        return local
    found = fetch.fetch(stores.sources(addresses, _route(local.texts)), deadline_s)
    problems = [*local.problems, *found.problems]
    texts = {name: text for name, text in found.texts.items() if text and name not in NOT_THERE}
    problems += [
        f"{name}: is in a secret manager, and must be read before one is asked"
        for name in NOT_THERE & found.texts.keys()
    ]
    unread = local.unread
    if found.problems:
        unread |= frozenset(known) - local.texts.keys()
    return Found(texts | local.texts, problems, unread, local.others)


def _route(texts: Mapping[str, str]) -> Route:
    """The way out as far as it can be read; what is wrong with it is in the report."""
    network, _, _ = report.checked(NetworkSettings, texts)
    try:
        return network.route()
    except ValueError:
        return Route()
