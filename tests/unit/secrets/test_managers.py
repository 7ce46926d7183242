"""Each secret manager by its own client on the real wire: what it gives, and the one line of whatever goes wrong."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_server.observe.redaction import redact, redact_field
from mcp_server.route import Route
from mcp_server.secrets import stores
from mcp_server.secrets.fetch import fetch
from mcp_server.settings.report import logged
from tests.kit.managers import server
from tests.kit.managers.cases import CASES, LINES, Case
from tests.kit.managers.server import FAULTS, Fault, Manager

VALUE = "s3cret-of-the-manager"


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
        environment = manager.environment(tmp_path)
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


def test_each_line_can_be_read_in_the_log() -> None:
    named = {kind: case.words[0].partition("?")[0] for kind, case in CASES.items()}
    lines = [f"MCP_SECRETS: {named[kind]}: {told}" for of in LINES.values() for kind, told in of.items()]
    assert redact_field("problems", logged(lines)) == str(logged(lines))
    for text in (
        "secretsmanager: hunter2",
        "secretsmanager=Hunter2",
        "arn:aws:secretsmanager:x:1:secret:a token=hunter2",
        "arn:aws:secretsmanager:x:1:secret:db/password=hunter2",
        "{'arn:aws:secretsmanager:x:1:secret:db-password-AbCdEf': 'hunter2'}",
        "arn:aws:secretsmanager:x:1:secret:token: hunter2",
        "secretsmanager:Password: hunter2",
    ):
        assert "unter2" not in redact(text)


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
