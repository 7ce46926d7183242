"""Where the workers of a server take proofs of possession: in its folder, under a key of this start, or in the store."""

from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.auth.binding import shared_replays
from mcp_server.cli.serve import Inherited, _replays
from mcp_server.cli.serving.handover import Handover, SettingsSnapshot

GIVEN = {"MCP_ISSUER": "https://issuer.example", "MCP_WORKERS": "2"}
NOW = 1_800_000_000.0


def inherited(folder: Path, key: str = "drawn-at-start:" + "k" * 43) -> Inherited:
    handover = Handover(folder, key, SettingsSnapshot(texts={}, read_at=0))
    return Inherited(server="", state_key=key, parent=1, shared=folder, handed=None, handover=handover)


def test_all_workers_of_a_start_share_a_table_and_none_of_another_start_reads_it(tmp_path: Path) -> None:
    found = settings.load({**GIVEN, "MCP_STATE_KEYS": "s" * 43})
    one, two = (_replays(found, inherited(tmp_path)) for _ in range(2))
    other = _replays(found, inherited(tmp_path, "another"))
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.claim("alice", "1", NOW + 9, now=NOW)
    assert not two.claim("alice", "1", NOW + 9, now=NOW)
    assert other.claim("alice", "1", NOW + 9, now=NOW), "by the key of the start, whatever the settings name"
    size = (tmp_path / "proofs").stat().st_size
    assert size > 2 * shared_replays.PLACES_A_WORKER * shared_replays._ENTRY.size
    for table in (one, two, other):
        table.close()


@pytest.mark.parametrize("more", [{"MCP_REDIS_URL": "redis://127.0.0.1:9/0"}, {"MCP_WORKERS": "1"}])
def test_workers_that_share_a_store_have_no_table_of_their_own(more: dict[str, str], tmp_path: Path) -> None:
    found = settings.load({**GIVEN, **more})
    assert (_replays(found, inherited(tmp_path)) is None) is found.coordinated
    assert not list(tmp_path.iterdir())
