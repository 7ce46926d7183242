"""Vault's own answers beside the faults that every manager has, and what becomes of a token."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server.route import Route
from mcp_server.secrets import stores, vault
from mcp_server.secrets.fetch import fetch
from tests.kit.managers import server
from tests.kit.managers.vault import Vault


class Place:
    """A running stand-in and its certificate."""

    def __init__(self, manager: Vault, certificate: Path) -> None:
        self.manager, self.certificate = manager, certificate

    def fetched(self, options: str, path: str = "kv/data/mcp", *, known: bool = True) -> Any:
        """The settings, or the problem."""
        address = stores.parsed(f"vault:https://{self.manager.host}/{path}?{options}")
        route = Route(ca_file=str(self.certificate)) if known else Route()
        found = fetch(stores.sources([address], route))
        return found.problems[0].removeprefix(f"MCP_SECRETS: {address.name}: ") if found.problems else found.texts


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "identity").write_text("projected")
    with server.running(tmp_path, Vault) as (manager, certificate):
        yield Place(manager, certificate)


def test_a_login_of_our_own_is_over_at_once_and_an_operators_token_is_renewed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fetched(f"role=mcp&token_file={tmp_path}/identity")
    login, read = "/v1/auth/kubernetes/login", "/v1/kv/data/mcp"
    assert place.manager.asked == [login, read, "/v1/auth/token/revoke-self"]
    place.manager.asked.clear()
    monkeypatch.setenv("VAULT_TOKEN", "of-an-operator")
    assert place.fetched("auth=token") == {"MCP_CLIENT_SECRET": "s3cret-of-the-manager"}
    assert place.manager.asked == [read, "/v1/auth/token/renew-self"]
    (tmp_path / "token").write_text("of-an-operator\n")
    monkeypatch.delenv("VAULT_TOKEN")
    assert place.fetched(f"auth=token&token_file={tmp_path}/token") == {"MCP_CLIENT_SECRET": "s3cret-of-the-manager"}
    assert place.fetched("auth=token") == "auth=token wants token_file=, or VAULT_TOKEN"


def test_what_cannot_be_used_says_what_it_is(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = f"role=mcp&token_file={tmp_path}/identity"
    place.manager.sealed = True
    assert place.fetched(good) == "is sealed (503)"
    assert place.manager.asked == ["/v1/auth/kubernetes/login"] * 2
    place.manager.sealed, place.manager.moved = False, True
    told = "sends elsewhere (307): name the active node, or the balancer in front of it"
    assert place.fetched(good) == told
    place.manager.moved = False
    told = place.fetched(good, known=False)
    assert told.startswith("cannot be reached (ConnectError: its certificate is not trusted (self-signed certificate")
    assert told.endswith("; MCP_CA_FILE names authorities of your own)")
    place.manager.secrets = {"username": "x"}
    assert place.fetched(good) == "holds no setting: none of its names begins with MCP_"
    place.manager.fault = "absent"
    told = "there is nothing at kv/mcp, or its newest version is deleted; of KV version 2 the path is MOUNT/data/PATH"
    assert place.fetched(good, "kv/mcp") == told
    place.manager.fault = ""
    monkeypatch.setattr(vault, "MAX_ANSWER", 10)
    assert place.fetched(good) == "answers with more than 10 bytes"


def test_an_identity_that_is_not_there_is_told_by_its_file(place: Place, tmp_path: Path) -> None:
    for content, why in (
        (None, "cannot be read (No such file or directory)"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8"),
    ):
        path = tmp_path / f"identity{len(why)}"
        if content is not None:
            path.write_bytes(content)
        assert place.fetched(f"role=mcp&token_file={path}") == f"token_file ({path}) {why}"


def test_who_does_not_listen_cannot_be_reached(place: Place, tmp_path: Path) -> None:
    address = stores.parsed(f"vault:https://127.0.0.1:1/kv/mcp?role=mcp&token_file={tmp_path}/identity")
    assert (
        fetch(stores.sources([address], Route()))
        .problems[0]
        .endswith("cannot be reached (ConnectError: nothing listens there)")
    )
