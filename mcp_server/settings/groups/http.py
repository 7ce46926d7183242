"""What `web/` needs: where it listens, whom it answers, how much of a body it takes."""

from collections.abc import Iterator
from typing import ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field

from mcp_server.engine.drain import DrainTimes
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.settings.addresses import is_loopback
from mcp_server.settings.group import Conflict, Group
from mcp_server.settings.values import Hosts, ListenHost, Networks, Origins, Port, UrlPath, WebUrl
from mcp_server.web.incoming.client_address import TrustedProxies
from mcp_server.web.incoming.request_guard import LOOPBACK, HttpPolicy

TAKEN: Final = ("/healthz", "/readyz", "/metrics", "/.well-known")
"""Paths of our own beside the endpoint."""
BODIES: Final = (
    "bytes of request bodies in the memory of a worker until they are answered, {}; counted as they come, more get 429"
)


class HttpSettings(Group):
    """The web server, and what it lets in."""

    title: ClassVar[str] = "HTTP"

    host: ListenHost = Field("127.0.0.1", description="the address it listens on; `0.0.0.0` is all of IPv4")
    port: Port = Field(8000, description="the port it listens on")
    reuse_port: bool = Field(
        False,
        description="begin although a server of the same user listens on the port, and share its connections (Linux): "
        "the next release beside the last one, where nothing stands in front; see operate.md",
    )
    path: UrlPath = Field(
        "/mcp",
        description="where the endpoint is: the path of `MCP_RESOURCE`, unless a proxy changes the one into the other",
    )
    workers: int = Field(
        1, ge=1, le=256, description="processes; with more than one, what outlives a request needs `MCP_REDIS_URL`"
    )
    allowed_hosts: Hosts = Field(
        frozenset(),
        description="names (`host` or `host:port`) besides the resource's own and loopback that the Host header may "
        "carry",
    )
    allowed_origins: Origins = Field(
        frozenset(),
        description="browser origins (`https://app.example.com`) besides the resource's own; loopback ones are allowed "
        "where the resource is on loopback itself",
    )
    trusted_proxies: Networks = Field(
        (),
        description="addresses and networks (`10.0.0.0/8`) of proxies that are trusted to set `X-Forwarded-For`: the "
        "audit has the client's address then, and callers without a token are told apart. Without it all that come "
        "through a proxy are one address. Public URLs come from `MCP_RESOURCE` alone",
    )
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024, description="a larger request gets 413")
    body_timeout_s: float = Field(
        30, gt=0, description="a request whose body has not arrived by then gets 408, however steadily it trickles"
    )
    max_bytes_in_flight: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description=f"{BODIES.format('of all callers')}. Never less than `MCP_MAX_BODY_BYTES`",
    )
    max_bytes_in_flight_per_principal: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        description=f"{BODIES.format('of one')}. Callers without a token count as one, and of that an address has a "
        "quarter. Never less than `MCP_MAX_BODY_BYTES`",
    )
    keep_alive_s: float = Field(
        15,
        ge=0.1,
        description="a stream that has nothing to say sends a comment after this; a call that says nothing opens its "
        "stream, if its client takes one: proxies close connections on which nothing comes",
    )
    drain_s: float = Field(
        5,
        ge=0,
        le=600,
        description="after a signal to stop: how long calls are still taken, while `/readyz` says 503 (`draining`) and "
        "streams end one by one, so that balancers and clients go elsewhere",
    )
    stop_s: float = Field(
        25,
        ge=0,
        le=3600,
        description="after that: how long running calls and tasks have to end; it should cover the longest call you "
        "promise",
    )
    hung_worker_s: float = Field(
        30,
        ge=0,
        description="a worker whose loop does nothing for so long is killed and replaced; 0 leaves it; in one go an "
        "async handler must not compute as long as this",
    )
    documentation: WebUrl | None = Field(None, description="a URL for `resource_documentation`")

    def conflicts(self) -> Iterator[Conflict]:
        """A path that is taken is refused by the framework in its own words, and at the start of each worker."""
        if any(self.path == taken or self.path.startswith(f"{taken}/") for taken in TAKEN):
            yield Conflict(("path",), f"must not be in {', '.join(TAKEN)}: they are the server's own")

    def policy(self, resource: str) -> HttpPolicy:
        """What `web/incoming/request_guard.py` judges by: our own names are always allowed."""
        own = urlsplit(resource)
        hosts = {own.netloc.lower(), *(one.lower() for one in self.allowed_hosts)}
        origins = {f"{own.scheme}://{own.netloc}".lower(), *(one.lower() for one in self.allowed_origins)}
        return HttpPolicy(
            hosts=LOOPBACK | {one.encode() for one in hosts},
            origins=frozenset(one.encode() for one in origins),
            max_body=self.max_body_bytes,
            body_timeout_s=self.body_timeout_s,
            loopback_origins=is_loopback(own.hostname),
        )

    def bodies(self) -> ConcurrencyLimiter:
        """What `web/incoming/bodies.py` counts by: a caller, or all, that could not send one body could send none."""
        each = max(self.max_bytes_in_flight_per_principal, self.max_body_bytes)
        return ConcurrencyLimiter(each, max(self.max_bytes_in_flight, each), least=self.max_body_bytes)

    def drain_times(self) -> DrainTimes:
        """What `engine/drain.py` needs."""
        return DrainTimes(lame_duck_s=self.drain_s, calls_s=self.stop_s)

    def proxies(self) -> TrustedProxies:
        """What `web/incoming/client_address.py` needs."""
        return TrustedProxies(self.trusted_proxies)
