"""The official TypeScript client registers, logs in and calls, against both authorization servers."""

from pathlib import Path

import pytest

from tests.kit.authorities import Authority
from tests.kit.official import typescript
from tests.kit.stack import running_mcp

pytestmark = pytest.mark.live


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_typescript_client_registers_and_writes(authority: Authority, mode: str, tmp_path: Path) -> None:
    async with running_mcp(tmp_path, authority.issuer, authority.resource) as running:
        order = '{"item": "pan", "quantity": 2}'
        said = await typescript("login.mjs", running.resource, mode, "create_order", order)
    assert said["registered"]
    assert said["logins"] == 1
    assert said["result"]["created_by"] == "bob"
    assert {"mcp:read", "mcp:write"} <= set(said["scope"].split())
