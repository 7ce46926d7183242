"""`mcp-server revoke`: what it asks for, whom it tells, what it writes down."""

import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import re
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcp_server import file_lock
from mcp_server.cli import main
from mcp_server.cli.serving import folder
from mcp_server.store.folder import FILE, FolderLedger
from mcp_server.store.revocations import EVER

ISSUER = "https://kc.example/realms/mcp"
RESOURCE = "https://mcp.example.com/mcp"
OTHER = "https://other.example"
ALICE = "5e2a3a52-63f5-4c0e-a4bd-6a1f2b1f8a10"


def run(audit: Path, *arguments: str, **environment: str) -> Any:
    given = {"MCP_ISSUER": ISSUER, "MCP_RESOURCE": RESOURCE, "MCP_AUDIT_FILE": str(audit), **environment}
    return CliRunner().invoke(main, ["revoke", "--why", "a test", *arguments], env=given)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers of this machine have their folders."""
    (found := tmp_path / "places").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    monkeypatch.setattr(folder, "_MEMORY", found)
    return found


def left(places: Path, name: str, resource: str = RESOURCE) -> Path:
    """The folder of a server that was killed."""
    (made := places / f"mcp-server-{name}").mkdir()
    folder.name_server(made, resource)
    return made


@pytest.fixture
def server(places: Path) -> Iterator[Callable[..., Path]]:
    """The folder of a server that runs: it holds its lock."""
    with contextlib.ExitStack() as held:

        def running(name: str, resource: str = RESOURCE) -> Path:
            made = left(places, name, resource)
            if (file := file_lock.share(made)) is not None:
                held.callback(os.close, file)
            return made

        yield running


def test_all_servers_of_the_resource_that_run_here_are_told_and_no_others(
    places: Path, server: Callable[..., Path], tmp_path: Path
) -> None:
    one, two, other, killed = server("one"), server("two"), server("other", "https://x/mcp"), left(places, "killed")
    (places / "mcp-server-odd").mkdir()
    done = run(tmp_path / "audit.jsonl", "--sub", ALICE, "--client", "portal")
    assert done.exit_code == 0
    for told in (one, two):
        found = {one.kind: one for one in asyncio.run(FolderLedger(told).read())}
        assert {kind: (one.name, one.issuer) for kind, one in found.items()} == {
            "sub": (ALICE, ISSUER), "client": ("portal", ISSUER),
        }  # fmt: skip
        assert found["sub"].before < found["sub"].until < EVER
        assert {one.operator for one in found.values()} == {True}
    assert not (other / FILE).exists()
    assert not (killed / FILE).exists()
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_bytes().splitlines()]
    assert [(one["method"], one["reason"], one["decision"], one["why"]) for one in lines] == [
        ("revoke", "revoked", "allow", f"{getpass.getuser()}: a test")
    ] * 2
    assert [(one.get("subject"), one.get("client")) for one in lines] == [(ALICE, None), (None, "portal")]


def test_a_store_that_is_away_is_told_by_its_setting(tmp_path: Path) -> None:
    done = run(tmp_path / "a", "--sub", ALICE, MCP_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.exit_code == 1
    told = "Error: not all workers could be told: the store (MCP_REDIS_URL): nothing listens there\n"
    assert done.stderr == told


def test_an_audit_that_cannot_be_written_is_told_by_its_setting(server: Callable[..., Path], tmp_path: Path) -> None:
    server("one")
    (tmp_path / "file").touch()
    done = run(tmp_path / "file" / "audit.jsonl", "--sub", ALICE)
    assert done.exit_code == 1
    assert "Error: it is not in the audit (MCP_AUDIT_FILE): " in done.stderr
    assert "[Errno" not in done.stderr


def test_a_login_a_token_and_everything_are_over_for_each_issuer_or_the_one_that_is_named(
    server: Callable[..., Path], tmp_path: Path
) -> None:
    told = server("one")
    issuers = json.dumps([ISSUER, OTHER])
    assert run(tmp_path / "a", "--sid", "s", "--jti", "j", MCP_ISSUER=issuers).exit_code == 0
    assert run(tmp_path / "a", "--all", "--issuer", OTHER, MCP_ISSUER=issuers).exit_code == 0
    found = [(one.issuer, one.kind, one.name, one.before == EVER) for one in asyncio.run(FolderLedger(told).read())]
    assert found == [
        (ISSUER, "sid", "s", True), (ISSUER, "jti", "j", True), (OTHER, "sid", "s", True), (OTHER, "jti", "j", True),
        (OTHER, "issuer", OTHER, False),
    ]  # fmt: skip


def test_the_command_says_what_was_recorded_and_that_no_token_was_looked_up(
    server: Callable[..., Path], tmp_path: Path
) -> None:
    server("one")
    issuers = json.dumps([ISSUER, OTHER])
    done = run(tmp_path / "a", "--sub", ALICE, "--jti", "j", "--all", MCP_ISSUER=issuers)
    lines = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", done.output).splitlines()
    assert lines[:-1] == [
        line
        for issuer in (ISSUER, OTHER)
        for line in (
            f"revoked at {issuer}: tokens of sub {ALICE} issued up to TIME; kept until TIME",
            f"revoked at {issuer}: jti j; kept until TIME",
            f"revoked at {issuer}: all tokens issued up to TIME; kept until TIME",
        )
    ]
    assert '"tokens are revoked"' in lines[-1]


@pytest.mark.parametrize(
    ("sub", "persons", "warned"),
    [
        ("alice", "keycloak", True),
        (ALICE, "keycloak", False),
        ("f:ldap:4711", "keycloak", False),
        ("alice", "rfc9068", False),
    ],
)
def test_a_username_is_no_sub_of_keycloaks(
    server: Callable[..., Path], tmp_path: Path, sub: str, persons: str, warned: bool
) -> None:
    server("one")
    done = run(tmp_path / "a", "--sub", sub, MCP_ISSUER=json.dumps([{"issuer": ISSUER, "persons": persons}]))
    assert (done.exit_code, "is no ID of a Keycloak user" in done.output) == (0, warned)


def test_the_audit_says_what_was_revoked_and_of_a_login_its_digest(server: Callable[..., Path], tmp_path: Path) -> None:
    server("one")
    run(tmp_path / "a", "--sub", ALICE, "--client", "portal", "--jti", "j", "--sid", "s", "--all")
    named = [json.loads(line)["arguments"] for line in (tmp_path / "a").read_bytes().splitlines()]
    digest = hashlib.sha256(b"s").hexdigest()[:16]
    assert named == [{"sub": ALICE}, {"sid": digest}, {"client": "portal"}, {"jti": "j"}, {"issuer": ISSUER}]


@pytest.mark.parametrize("nameless", [KeyError("uid not found"), OSError("no username set in the environment")])
def test_a_user_without_a_name_may_revoke(
    server: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: Exception
) -> None:
    """The image runs as 10001, of whom its system knows no more: the command ended in a traceback there."""

    def refuse() -> str:
        raise nameless

    monkeypatch.setattr(getpass, "getuser", refuse)
    server("one")
    assert run(tmp_path / "audit.jsonl", "--all").exit_code == 0
    assert json.loads((tmp_path / "audit.jsonl").read_bytes())["why"] == f"user {os.getuid()}: a test"


def test_a_server_that_cannot_be_told_keeps_no_other_from_hearing(server: Callable[..., Path], tmp_path: Path) -> None:
    broken, other = server("a"), server("b")
    (broken / FILE).mkdir()
    done = run(tmp_path / "audit.jsonl", "--sub", ALICE)
    assert (done.exit_code, "not all workers could be told" in done.output) == (1, True)
    assert [one.name for one in asyncio.run(FolderLedger(other).read())] == [ALICE]


def test_what_is_recorded_is_told_though_the_audit_cannot_be_written(
    server: Callable[..., Path], tmp_path: Path
) -> None:
    server("one")
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "a", "--sub", ALICE)
    assert (done.exit_code, f"revoked at {ISSUER}" in done.output) == (1, True)
    assert "it is not in the audit" in done.output


def test_a_write_that_fails_is_told_by_its_reason_alone(server: Callable[..., Path], tmp_path: Path) -> None:
    """The system names no file then, and the line said `None`."""
    server("one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        done = run(tmp_path / "audit.jsonl", "--sub", ALICE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        1,
        "Error: not all workers could be told: File too large",
    )


def test_what_cannot_be_done_is_said_plainly(
    places: Path, server: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = tmp_path / "audit.jsonl"
    nothing = run(audit)
    assert (nothing.exit_code, "name what to revoke: --sub" in nothing.output) == (2, True)
    for empty in ("--sub", "--sid", "--client", "--jti"):
        unset = run(audit, empty, " ")
        assert (unset.exit_code, f"{empty} is empty" in unset.output) == (2, True)
        beside = run(audit, empty, "", "--all")
        assert (beside.exit_code, f"{empty} is empty" in beside.output) == (2, True)
    bytes_alone = run(audit, "--sub", "\udcff")
    assert (bytes_alone.exit_code, "--sub is not UTF-8" in bytes_alone.output) == (2, True)
    for why in ("", " "):
        unsaid = run(audit, "--sub", "a", "--why", why)
        assert (unsaid.exit_code, "--why is empty" in unsaid.output) == (2, True)
    unknown = run(audit, "--sub", "a", "--issuer", OTHER)
    assert (unknown.exit_code, "is none of MCP_ISSUER" in unknown.output) == (2, True)
    broken = run(audit, "--sub", "a", MCP_PORT="x")
    assert (broken.exit_code, "MCP_PORT" in broken.output) == (1, True)
    left(places, "killed")
    nobody = run(audit, "--sub", "a")
    assert (nobody.exit_code, f"no server of {RESOURCE} runs here" in nobody.output) == (1, True)
    away = run(audit, "--sub", "a", MCP_REDIS_URL="redis://127.0.0.1:1/0")
    assert (away.exit_code, "not all workers could be told" in away.output) == (1, True)
    told = server("one")
    monkeypatch.setattr(os, "getuid", lambda: told.stat().st_uid + 1)  # another user's
    assert run(audit, "--sub", "a").exit_code == 1
    assert not audit.exists()


def test_where_the_audit_is_standard_output_a_worker_writes_the_line(server: Callable[..., Path]) -> None:
    told = server("one")
    done = run(Path("-"), "--sub", ALICE)
    assert done.exit_code == 0
    assert '"method"' not in done.output
    assert [one.unaudited for one in asyncio.run(FolderLedger(told).read())] == [True]
