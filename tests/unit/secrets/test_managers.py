"""Each secret manager by its own client on the real wire: what it gives, and the one line of whatever goes wrong."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcp_server.route import Route
from mcp_server.secrets import stores
from mcp_server.secrets.fetch import fetch
from tests.kit.managers import server
from tests.kit.managers.aws import ARN, ROLE, Aws
from tests.kit.managers.azure import CALLER, Azure
from tests.kit.managers.gcp import Gcp
from tests.kit.managers.server import FAULTS, Fault, Manager
from tests.kit.managers.vault import Vault

VALUE = "s3cret-of-the-manager"


class Case:
    """A kind of store: its stand-in, and the words of `MCP_SECRETS` for it."""

    def __init__(self, make: Callable[[int], Manager], *words: str) -> None:
        self.make, self.words = make, words


CASES = {
    "aws": Case(Aws, f"aws:{ARN}", "aws:mcp/prod?region=eu-west-1"),
    "ssm": Case(Aws, "ssm:/mcp/prod"),
    "azure": Case(Azure, "azure:https://{host}", "azure:https://{host}/secrets/all"),
    "gcp": Case(Gcp, "gcp:shop/all?endpoint={host}", "gcp:shop/prod-*?endpoint={host}"),
    "vault": Case(
        Vault,
        "vault:https://{host}/kv/data/mcp?role=mcp&token_file={folder}/identity",
        "vault:https://{host}/v1/old/mcp?role=mcp&mount=prod&token_file={folder}/identity&namespace=team",
        "vault:https://{host}/kv/data/mcp?auth=jwt&role=mcp&token_file={folder}/identity",
        "vault:https://{host}/kv/data/mcp?auth=approle&role_id_file={folder}/identity&secret_id_file={folder}/identity",
    ),
}
LINES: dict[Fault, dict[str, str]] = {
    "denied": {
        "aws": f"as {ROLE}: needs secretsmanager:GetSecretValue on it, and kms:Decrypt where its key is one of your own",
        "ssm": f"as {ROLE}: needs ssm:GetParametersByPath on it, and kms:Decrypt where the key is one of your own",
        "azure": f"as {CALLER}: needs list and get of its secrets (role Key Vault Secrets User), "
        "or its network lets nobody in from here",
        "gcp": "as google.auth.identity_pool: needs secretmanager.versions.access on it (role Secret Manager Secret "
        "Accessor)",
        "vault": "as kubernetes role mcp: needs the capability read on kv/data/mcp",
    },
    "absent": {
        "aws": "there is no such secret in this account and region",
        "ssm": "there is no such secret in this account and region",
        "azure": "there is no such secret",
        "gcp": "there is no such secret, or no version of it",
        "vault": "there is nothing at kv/data/mcp, or its newest version is deleted",
    },
    "slow": dict.fromkeys(CASES, "no answer within 0.3 s"),
    "broken": dict.fromkeys(CASES, "answered 500"),
    "garbled": {
        "aws": "what is there is no JSON object of settings by their names",
        "ssm": "cannot be asked (KeyError)",
        "azure": "cannot be asked (DecodeError)",
        "gcp": "cannot be asked (ParseError)",
        "vault": "answers with no JSON object: is there a Vault?",
    },
    "expired": {
        "aws": "the identity is over, or not known there (ExpiredTokenException): see the credentials of this pod or "
        "machine",
        "ssm": "the identity is over, or not known there (ExpiredTokenException): see the credentials of this pod or "
        "machine",
        "azure": "the identity is over, or not known to its tenant: see the federated token or credential of this pod",
        "gcp": "as google.auth.identity_pool: the identity is over, or not known to Google",
        "vault": "the login as kubernetes role mcp is refused (403): is there such a role, does it take this identity, "
        "and is the identity's token not over?",
    },
}


class Store:
    """A running stand-in, as a server would be told of it."""

    def __init__(self, case: Case, manager: Manager, certificate: Path, folder: Path) -> None:
        self.manager, self.certificate = manager, certificate
        self.words = [one.format(host=manager.host, folder=folder) for one in case.words]

    def fetched(self, word: str, deadline_s: float = 20) -> tuple[dict[str, str], list[str]]:
        """What a fetch of one word says; its problems without what all begin with."""
        address = stores.parsed(word)
        found = fetch(stores.sources([address], Route(ca_file=str(self.certificate))), deadline_s)
        return found.texts, [one.removeprefix(f"MCP_SECRETS: {address.name}: ") for one in found.problems]


@pytest.fixture(params=CASES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    case = CASES[request.param]
    with server.running(tmp_path, case.make) as (manager, certificate):
        environment = manager.environment(tmp_path)  # type: ignore[attr-defined]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield Store(case, manager, certificate, tmp_path)
        manager.released.set()
        for one in threading.enumerate():
            if one.name == "secrets":  # nobody waited for it: its sockets would be another test's unclosed ones
                one.join()


def test_what_a_store_has_is_fetched_anew_each_time(store: Store) -> None:
    for number, word in enumerate(store.words):
        store.manager.secrets["MCP_CLIENT_SECRET"] = new = f"rotated-{number}"
        assert store.fetched(word) == ({"MCP_CLIENT_SECRET": new}, [])


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_line_without_a_value(store: Store, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    kind = store.words[0].partition(":")[0]
    if kind == "ssm" and fault not in ("denied", "garbled"):
        return  # what is below is what the other one of AWS has
    store.manager.fault = fault
    caplog.set_level(0)
    texts, problems = store.fetched(store.words[0], 0.3 if fault == "slow" else 20)
    assert (texts, problems) == ({}, [LINES[fault][kind]])
    assert VALUE not in caplog.text
