"""The profiles: several servers over Valkey, Keycloak over PostgreSQL."""

import httpx
import pytest

from devstack.login import fetch_token
from tests.compose.test_compose import ISSUER, RESOURCE
from tests.kit import wire
from tests.kit.compose import Compose, docker, needs_engine

pytestmark = pytest.mark.live


@pytest.fixture
def both(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    needs_engine()
    environment = {
        "STACK_REDIS_URL": "redis://valkey:6379/0",
        "STACK_STATE_KEYS": "k" * 40,
        "STACK_WORKERS": "2",
        "STACK_DB": "postgres",
    }
    return Compose("mcp-test-profiles", environment, ("scale", "production-like"))


def test_two_servers_are_one_and_keycloak_has_a_database(
    both: Compose, tmp_path_factory: pytest.TempPathFactory
) -> None:
    both.down()
    try:
        both.run("build", "--quiet", within_s=600)
        both.up("--scale", "mcp=2")
        assert len(both.containers("mcp")) == 2
        for service in ("valkey", "postgres"):
            host = both.inspect(service)["HostConfig"]
            assert (host["CapDrop"], host["ReadonlyRootfs"], host["PortBindings"]) == (["ALL"], True, {})
        trust = both.authority(tmp_path_factory.mktemp("authority"))
        token = fetch_token(ISSUER, "bob", "openid orders:read", RESOURCE)["access_token"]
        headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        with httpx.Client(verify=trust, trust_env=False, timeout=30) as http:
            opened = http.post(RESOURCE, json=wire.legacy("initialize", hello), headers=headers)
            session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
            call = wire.legacy("tools/call", {"name": "list_orders", "arguments": {}})
            for container in both.containers("mcp"):
                address = docker(
                    "inspect",
                    "-f",
                    '{{(index .NetworkSettings.Networks "mcp-test-profiles_front").IPAddress}}',
                    container,
                ).stdout.strip()
                answer = httpx.post(
                    f"http://{address}:8000/mcp",
                    json=call,
                    headers={**headers, **session, "host": "localhost:8443"},
                    trust_env=False,
                )
                assert answer.status_code == 200, answer.text
        tables = both.run("exec", "postgres", "psql", "-U", "keycloak", "-c", "select name from realm").stdout
        assert "mcp" in tables
    finally:
        both.down()
        both.environment.clear()
        both.run("build", "--quiet", "keycloak", within_s=600)  # the image is the default stack's again
