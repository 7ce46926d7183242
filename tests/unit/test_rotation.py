"""What the parts of an application do with a setting that is rotated, and what they cannot take over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mcp_server import McpPlugin, McpServer, rotation, settings
from mcp_server.protocol.sealed import UnknownKey
from mcp_server.rest.exchange import Exchange
from mcp_server.rest.wire.grants import ClientAuth
from mcp_server.settings import live
from mcp_server.store.backend import StoreUnavailable
from tests.kit.backends import until
from tests.kit.collector import collecting
from tests.kit.logs import logged

OLD, NEW = "o" * 32, "n" * 32
GIVEN = {
    "MCP_ISSUER": "https://kc.example/realms/mcp",
    "MCP_CLIENT_SECRET": "old",
    "MCP_STATE_KEYS": OLD,
    "MCP_REDIS_URL": "redis://:old@127.0.0.1:1/0",
}


def plugin(folder: Path, **more: str) -> McpPlugin:
    given = {**GIVEN, "MCP_AUDIT_FILE": str(folder / "audit.jsonl"), **more}
    return McpPlugin(McpServer("s", version="1"), settings.load({name: text for name, text in given.items() if text}))


async def renewed(made: McpPlugin, folder: Path, **more: str) -> list[str]:
    """What is not in use afterwards."""
    given = {**GIVEN, "MCP_AUDIT_FILE": str(folder / "audit.jsonl"), **more}
    await made.live.renew(settings.load({name: text for name, text in given.items() if text}))
    return made.live.stale


async def test_what_is_not_followed_and_what_comes_or_goes_waits_for_a_start(tmp_path: Path) -> None:
    made = plugin(tmp_path)
    assert await renewed(made, tmp_path, MCP_PAGE_SIZE="7") == ["page_size"]
    assert await renewed(made, tmp_path, MCP_CLIENT_SECRET="", MCP_REDIS_URL="") == ["client_secret", "redis_url"]
    assert await renewed(made, tmp_path) == []
    assert await renewed(plugin(tmp_path, MCP_REDIS_URL=""), tmp_path) == ["redis_url"]
    assert await renewed(plugin(tmp_path, MCP_CLIENT_SECRET=""), tmp_path) == ["client_secret"]


async def test_a_client_secret_is_the_one_of_all_who_use_it(tmp_path: Path) -> None:
    made = plugin(tmp_path)
    assert await renewed(made, tmp_path, MCP_CLIENT_SECRET="new") == []
    assert list(made.authenticator.own_secret) == ["new", "old", "new"]
    assert not {"'new'", "'old'"} & {repr(one) for one in made.authenticator.own_secret}


async def test_a_store_that_takes_no_new_address_is_used_by_the_old_one(tmp_path: Path) -> None:
    made = plugin(tmp_path)
    with logged() as lines:
        stale = await renewed(made, tmp_path, MCP_REDIS_URL="redis://:n3w@127.0.0.1:1/0")
        assert (stale, made.live.pending) == (["redis_url"], True)
        assert "n3w" not in str(lines)
        for _ in range(7):
            await made.live.renew(made.live.current)
    told = [line for line in lines if "new address of the store" in line["text"]]
    assert len(told) == 4  # of eight tries
    asked: list[str] = []

    async def renew(url: str) -> None:
        asked.append(url)

    backend: Any = made.runtime.bus.backend
    backend.renew = renew
    assert await renewed(made, tmp_path, MCP_REDIS_URL="redis://:n3w@127.0.0.1:1/0") == []
    assert asked == ["redis://:n3w@127.0.0.1:1/0"]
    with pytest.raises(StoreUnavailable):
        await backend.get("k")


async def test_a_new_first_key_opens_before_it_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, other = plugin(tmp_path), plugin(tmp_path)
    monkeypatch.setattr(rotation, "SEAL_AFTER_S", 0.01)

    def seal(of: McpPlugin) -> str:
        return of.runtime._keys[0].seal(b"x", (), nonce=b"n" * 12, expires_at=1 << 40)

    old = seal(made)
    task = asyncio.create_task(renewed(made, tmp_path, MCP_STATE_KEYS=f"{NEW} {OLD}"))

    async def opens_both() -> bool:
        return len(made.runtime._keys[0]._keys) == 2

    await until(opens_both)
    assert other.runtime._keys[0].open(seal(made), (), now=0) == b"x"  # who has not heard of it yet
    assert await task == []
    await renewed(other, tmp_path, MCP_STATE_KEYS=f"{NEW} {OLD}")
    assert other.runtime._keys[0].open(seal(made), (), now=0) == made.runtime._keys[0].open(old, (), now=0)
    assert await renewed(made, tmp_path, MCP_STATE_KEYS=NEW) == []
    with pytest.raises(UnknownKey):
        made.runtime._keys[0].open(old, (), now=0)


async def test_static_secrets_are_others_where_all_names_are_there(tmp_path: Path) -> None:
    assert await renewed(plugin(tmp_path), tmp_path, MCP_UPSTREAM_SECRETS='{"a": "b"}') == []
    (tmp_path / "mcp.toml").write_text(
        '[apis.api]\nbase_url = "https://api.example"\n[apis.api.identity]\nmode = "secret"\nsecret = "a"\n'
    )
    more = {"MCP_CONFIG": str(tmp_path / "mcp.toml"), "MCP_UPSTREAM_SECRETS": '{"a": "old"}'}
    made = plugin(tmp_path, **more)
    assert await renewed(made, tmp_path, **{**more, "MCP_UPSTREAM_SECRETS": '{"a": "new", "b": "c"}'}) == []
    access: Any = made._apis
    assert access._context.access._secrets["a"] == "new"
    assert await renewed(made, tmp_path, **{**more, "MCP_UPSTREAM_SECRETS": '{"b": "c"}'}) == ["upstream_secrets"]


async def test_header_fields_for_a_collector_come_change_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a real receiver: the old value is not sent any more, nor by a batch that is tried again."""
    with collecting() as collector:
        for name, value in {"ENDPOINT": collector.url, "HEADERS": "x=of-before,y=stays"}.items():
            monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
        made, seen = plugin(tmp_path), list[str]()
        made._telemetry.start()

        async def sent(x: str) -> None:
            async def there() -> bool:
                return any(head["x"] == x for head in collector.headers[so_far:])

            so_far = len(collector.headers)
            await until(there)
            seen.append(x)
            assert {head["y"] for head in collector.headers} == {"stays"}

        await sent("of-before")
        for more in ("x=first", "x=s%2Ce", ""):
            assert await renewed(made, tmp_path, MCP_OTLP_HEADERS=more) == []
            await sent(more.removeprefix("x=").replace("%2C", ",") or "of-before")
        assert "s,e" not in repr(vars(made._telemetry))
        await made._telemetry.stop()
        assert collector.headers[-1]["x"] == "of-before"
    with pytest.raises(settings.SettingsError) as failed:
        plugin(tmp_path, MCP_OTLP_HEADERS="x=s3cret%0d%0ay: z")
    assert (str(failed.value).count("MCP_OTLP_HEADERS"), "s3cret" in str(failed.value)) == (1, False)


def test_each_setting_that_workers_take_over_has_its_follower(tmp_path: Path) -> None:
    assert plugin(tmp_path).live._followers.keys() == live.LIVE


def test_an_exchange_of_its_own_has_the_secret_of_its_client() -> None:
    made = Exchange(ClientAuth(client_id="c", secret="s"), lambda _: asyncio.sleep(0))
    assert list(made._own) == ["s"]
