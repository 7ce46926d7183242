"""HTTP client of imported APIs, and their only socket: bounded in time and bytes, pinned to the hosts it was made for.

aiohttp's connections, by measurement (docs/decisions/0016).
"""

from mcp_server.rest.client.connections import COPIED, trusting
from mcp_server.rest.client.sending import Limits, UpstreamClient

__all__ = ["COPIED", "Limits", "UpstreamClient", "trusting"]
