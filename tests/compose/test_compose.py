"""`docker compose up` as a user runs it, used over TLS by the official client; restarted, killed, taken down."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client

from devstack.login import fetch_token
from tests.flows.test_first_login import metadata
from tests.kit import wire
from tests.kit.compose import Compose, docker, needs_engine
from tests.kit.official import Memory, Person
from tests.kit.stack import events

pytestmark = pytest.mark.live
RESOURCE, ISSUER = "https://localhost:8443/mcp", "http://localhost:8180/realms/mcp"
SERVICES = ("keycloak", "orders", "mcp", "nginx")
CALL = wire.legacy("tools/call", {"name": "list_orders", "arguments": {}})


@pytest.fixture(scope="module")
def stack() -> Iterator[Compose]:
    needs_engine()
    running = Compose("mcp-test", {})
    running.down()
    running.run("build", "--quiet", within_s=600)
    try:
        running.up()
        yield running
    finally:
        running.down()
    for kind in (("ps", "--all"), ("volume", "ls"), ("network", "ls")):
        left = docker(*kind, "--quiet", "--filter", "label=com.docker.compose.project=mcp-test").stdout
        assert left == "", (kind, left)


@pytest.fixture(scope="module")
def trust(stack: Compose, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return stack.authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def http(trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with httpx.Client(verify=trust, trust_env=False, timeout=30) as client:
        yield client


def call(http: httpx.Client, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    return http.post(RESOURCE, json=CALL, headers=headers)


def token(user: str = "bob", scope: str = "mcp:read orders:read orders:write") -> str:
    return str(fetch_token(ISSUER, user, f"openid {scope}", RESOURCE)["access_token"])


def until(there: Any, within_s: float = 60) -> None:
    """Wait until it is so; a transport error is `not yet`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if there():
                return
        except (httpx.TransportError, AssertionError):
            pass
        docker("version")  # some time passes
    raise AssertionError("it did not become so")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_finds_the_login_and_writes(trust: ssl.SSLContext, mode: Any) -> None:
    person = Person("bob")
    provider = OAuthClientProvider(RESOURCE, metadata(), Memory(), person.open, person.come_back)
    async with httpx2.AsyncClient(auth=provider, verify=trust, trust_env=False, timeout=60) as client:
        async with Client(streamable_http_client(RESOURCE, http_client=client), mode=mode) as session:
            result = await session.call_tool("create_order", {"sku": "CUP-01", "quantity": 3})
    assert result.structured_content
    assert result.structured_content["created_by"] == "bob"
    assert person.logins == 1


def test_what_is_discovered_is_the_public_face(stack: Compose, http: httpx.Client) -> None:
    found = http.get("https://localhost:8443/.well-known/oauth-protected-resource/mcp").json()
    assert (found["resource"], found["authorization_servers"]) == (RESOURCE, [ISSUER])
    refused = http.post(RESOURCE, json=CALL)
    assert refused.status_code == 401
    assert 'resource_metadata="https://localhost:8443/' in refused.headers["www-authenticate"]


def test_plain_http_is_sent_to_tls_and_strict_transport_is_told_to_names(stack: Compose, http: httpx.Client) -> None:
    plain = httpx.get("http://localhost:8080/mcp?x=1", trust_env=False)
    assert (plain.status_code, plain.headers["location"]) == (308, "https://localhost:8443/mcp?x=1")
    named = http.get("https://localhost:8443/healthz", headers={"host": "mcp.localhost:8443"})
    assert named.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    # every port of localhost would be bound by it, Keycloak's plain one too
    assert "strict-transport-security" not in http.get("https://localhost:8443/healthz").headers
    assert http.get("https://localhost:8443/metrics").status_code == 404
    assert http.post(RESOURCE, content=b" " * 5_000_000).status_code == 413


def test_old_tls_is_refused_and_nobody_else_is_trusted(stack: Compose) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get("https://localhost:8443/healthz", trust_env=False)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=old, trust_env=False) as client:
        assert client.get("https://localhost:8443/healthz").status_code == 200
    old.set_ciphers("AES128-SHA")  # no forward secrecy
    with httpx.Client(verify=old, trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get("https://localhost:8443/healthz")


async def test_a_stream_passes_unbuffered(stack: Compose, trust: ssl.SSLContext) -> None:
    """The acknowledgement of a listener comes while the stream stays open."""
    asked = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    headers = {
        **{name.replace("_", "-"): value for name, value in wire.headers("subscriptions/listen").items()},
        "authorization": f"Bearer {await asyncio.to_thread(token)}",
        "accept": "application/json, text/event-stream",
    }
    async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=10) as client:
        async with client.stream("POST", RESOURCE, json=asked, headers=headers) as response:
            assert response.status_code == 200
            first = await anext(events(response))
    assert "subscriptions/acknowledged" in first["data"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_can_do_little(stack: Compose, service: str) -> None:
    found = stack.inspect(service)
    host, user = found["HostConfig"], found["Config"]["User"]
    assert user not in ("", "root", "0", "0:0")
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert 0 < host["Memory"] <= 1024**3
    assert 0 < host["NanoCpus"] <= 2_000_000_000
    assert 0 < host["PidsLimit"] <= 512
    assert found["State"]["Health"]["Status"] == "healthy"
    for bindings in host["PortBindings"].values():
        assert {one["HostIp"] for one in bindings} == {"127.0.0.1"}


def test_only_the_needed_ports_are_open(stack: Compose) -> None:
    ports = {port for service in SERVICES for port in stack.inspect(service)["HostConfig"]["PortBindings"]}
    assert ports == {"8180/tcp", "8443/tcp", "8080/tcp"}
    assert stack.inspect("mcp")["HostConfig"]["PortBindings"] == {}


def test_it_survives_a_restart_of_keycloak(stack: Compose, http: httpx.Client) -> None:
    known = token()
    assert call(http, known).status_code == 200
    stack.run("restart", "keycloak")
    assert call(http, known).status_code == 200  # whether Keycloak is up again or not
    stack.up()
    assert call(http, known).status_code == 200
    assert call(http, token()).status_code == 200


def test_it_survives_the_death_of_the_server(stack: Compose, http: httpx.Client) -> None:
    known = token()
    before = stack.inspect("mcp")
    kill = f"import os; os.kill({before['State']['Pid']}, 9)"  # where the engine runs, which may be another machine
    docker("run", "--rm", "--pid", "host", "--user", "0", "--entrypoint", "python", "mcp-server-demo", "-c", kill)
    until(lambda: stack.inspect("mcp")["RestartCount"] > before["RestartCount"])
    until(lambda: call(http, known).status_code == 200)
    stack.run("kill", "mcp")
    stack.up()
    assert call(http, known).status_code == 200


def test_the_server_stops_gracefully_when_asked(stack: Compose) -> None:
    began = time.monotonic()
    stack.run("stop", "mcp")
    assert time.monotonic() - began < 10
    state = stack.inspect("mcp")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    stack.up()


def test_a_wrong_issuer_is_refused_with_what_to_set(stack: Compose) -> None:
    server = ("run", "--rm", "--no-deps", "--detach", "-e", "MCP_ISSUER=http://localhost:9999/realms/mcp", "mcp")
    container = stack.run(*server).stdout.strip()
    try:
        ask = "import urllib.request as r, urllib.error as e\ntry: r.urlopen('http://127.0.0.1:8000/readyz')\nexcept e.HTTPError as x: print(x.code, x.read().decode())"
        until(lambda: "503" in docker("exec", container, "python", "-c", ask).stdout)
        shown = docker("exec", container, "python", "-c", ask).stdout
        logged = docker("logs", container)
        said = logged.stdout + logged.stderr
    finally:
        docker("rm", "--force", container)
    assert ISSUER not in shown  # whoever asks for readiness learns no addresses
    assert "MCP_ISSUER must be the public address" in said
    assert ISSUER in said


def test_secrets_of_development_open_nothing_that_others_reach(stack: Compose) -> None:
    server = stack.run("run", "--rm", "--no-deps", "-e", "MCP_RESOURCE=https://mcp.example.com/mcp", "mcp", check=False)
    assert server.returncode == 1
    assert "MCP_CLIENT_SECRET: is a secret of development" in " ".join(server.stderr.replace("│", " ").split())
    away = ("run", "--rm", "--no-deps", "-e", "KC_HOSTNAME=https://sso.example.com")
    told = stack.run(*away, "keycloak", check=False)
    assert (told.returncode, "KC_BOOTSTRAP_ADMIN_PASSWORD is a secret of development" in told.stderr) == (1, True)
    opened = stack.run("run", "--rm", "--no-deps", "-e", "STACK_BIND=0.0.0.0", "keycloak", check=False)
    assert (opened.returncode, "is a secret of development" in opened.stderr) == (1, True)
    names = (
        "KC_BOOTSTRAP_ADMIN_PASSWORD",
        "KC_DB_PASSWORD",
        "MCP_SERVER_SECRET",
        "MCP_AGENT_SECRET",
    )
    better = [part for name in names for part in ("-e", f"{name}=a-better-one")]
    told = stack.run(*away, *better, "keycloak", check=False)
    assert (told.returncode, "brings alice, bob and carol" in told.stderr) == (1, True)


def test_certificates_are_kept_while_they_are_good(stack: Compose) -> None:
    assert "kept" in stack.run("run", "--rm", "certificates").stdout
    listed = stack.run("run", "--rm", "--entrypoint", "ls", "certificates", "/certificates").stdout.split()
    assert sorted(listed) == ["ca.pem", "server.key", "server.pem"]  # the authority's own key is nowhere
