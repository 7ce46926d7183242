"""`devstack realm diff | apply` step by step: what opens comes last, what Keycloak lacks is told before anything changes."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from devstack.cli import main
from devstack.realm.apply.prune import NEEDED
from devstack.realm.description import Variant, describe
from devstack.realm.scopes import DEMO, Scope
from tests.kit.scripted import Scripted, scripted

SCOPES = (Scope("orders:read", "Read orders", roles=("reader",)), Scope("orders:any", "Anything"))
NO_CIMD = "without the feature cimd: start it with --features=cimd, or say --no-documents; nothing was changed"
RESOURCE = "https://mcp.example.com/mcp"


@pytest.fixture
def keycloak() -> Iterator[Scripted]:
    variants = (describe(SCOPES, Variant(development=False, documents=documents)) for documents in (True, False))
    with scripted(*variants) as running:
        yield running


@pytest.fixture
def scopes(tmp_path: Path) -> Path:
    path = tmp_path / "scopes.json"
    path.write_bytes(msgspec.json.encode({"scopes": SCOPES, "tools": {}}))
    return path


def realm(keycloak: Scripted, verb: str, *more: str, password: str | None = "x") -> Result:
    asked = ["realm", verb, "--keycloak", keycloak.origin, "--resource", RESOURCE, *more]
    return CliRunner().invoke(main, asked, env={"KEYCLOAK_ADMIN_PASSWORD": password})


def said(result: Result) -> str:
    """Without the box that errors are drawn in."""
    return re.sub(r"[\s│]+", " ", result.output)


def place(steps: list[str], beginning: str, *, last: bool = False) -> int:
    found = [at for at, step in enumerate(steps) if step.startswith(beginning)]
    return found[-1 if last else 0]


@pytest.mark.parametrize("documents", ["--documents", "--no-documents"])
def test_what_opens_comes_after_what_holds_it(keycloak: Scripted, scopes: Path, documents: str) -> None:
    told = realm(keycloak, "diff", "--scopes", str(scopes), documents)
    assert told.exit_code == 1, told.output
    steps = [line for line in told.stdout.splitlines() if not line.startswith(" ")]
    for name in ("orders:read", "orders:any"):
        made = place(steps, f"create client scope {name}")
        gated = place(steps, f"update client scope {name}: for role")
        assert made < gated < place(steps, f"update optional scope for new clients: {name}")
    gates = [at for at, step in enumerate(steps) if step.startswith("update client scope") and ": for role" in step]
    held = max(*gates, place(steps, "create client policy", last=True))
    assert place(steps, "create client profile", last=True) < place(steps, "create client policy")
    opened = (
        "update optional scope for new clients",
        "create client mcp-public",
        "create registration policy",
        "update user",
    )
    assert held < min(place(steps, one) for one in opened)
    assert steps[-1] == "create registration policy Trusted Hosts (anonymous)"


def test_a_run_that_ends_half_way_has_opened_nothing(keycloak: Scripted, scopes: Path) -> None:
    keycloak.refused = {"/client-policies/profiles"}
    ended = realm(keycloak, "apply", "--scopes", str(scopes), "--yes")
    assert (ended.exit_code, "/client-policies/profiles: 400" in said(ended)) == (1, True), ended.output
    assert keycloak.written
    assert not [path for _, path in keycloak.written if path.startswith(("/default-", "/clients", "/users"))]
    assert {one["providerType"] for one in keycloak.collections["/components"]} == {"org.keycloak.keys.KeyProvider"}
    keycloak.refused = set()
    assert realm(keycloak, "apply", "--scopes", str(scopes), "--yes").exit_code == 0


@pytest.mark.parametrize("more", [("diff",), ("apply",), ("apply", "--yes")])
def test_a_keycloak_that_lacks_a_feature_is_told_of_first(
    keycloak: Scripted, scopes: Path, more: tuple[str, ...]
) -> None:
    keycloak.executors.discard("client-id-metadata-document")
    keycloak.conditions.discard("client-id-uri")
    told = realm(keycloak, *more, "--scopes", str(scopes))
    assert (told.exit_code, NO_CIMD in said(told), keycloak.written) == (2, True, [])
    known = realm(keycloak, "diff", "--no-documents", "--scopes", str(scopes))
    assert (known.exit_code, "cimd" in known.output) == (1, False)
    keycloak.executors.discard("reject-request")
    older = realm(keycloak, *more, "--no-documents", "--scopes", str(scopes))
    assert (older.exit_code, "does not know reject-request; nothing was changed" in said(older)) == (2, True)
    assert keycloak.written == []


def test_scopes_with_a_parameter_need_their_feature(keycloak: Scripted, scopes: Path) -> None:
    refund = Scope("orders:refund", "Refund", roles=("writer",), patterns=("orders:refund:{order_id}",))
    scopes.write_bytes(msgspec.json.encode({"scopes": [refund], "tools": {}}))
    asked = ("--scopes", str(scopes), "--parameterized-scopes")
    keycloak.parameters = False
    told = realm(keycloak, "apply", "--yes", *asked)
    assert (told.exit_code, "--features=parameterized-scopes" in said(told), keycloak.written) == (2, True, [])
    assert realm(keycloak, "apply", "--yes", *asked[:2]).exit_code == 0
    assert "parameterized.scope.type" not in str(keycloak.collections["/client-scopes"])
    keycloak.parameters = True
    assert 'is.parameterized.scope: "false" → "true"' in realm(keycloak, "diff", *asked).output


def test_how_persons_log_in_to_a_realm_that_exists_is_left_alone(keycloak: Scripted, scopes: Path) -> None:
    told = realm(keycloak, "apply", "--yes", "--scopes", str(scopes), "--step-up")
    assert (told.exit_code, "for 'render'" in said(told), keycloak.written) == (2, True, [])


@pytest.mark.parametrize(
    ("on", "types", "then"),
    [
        (False, [], []), (False, ["LOGIN_ERROR", "LOGIN"], ["LOGIN_ERROR", "LOGIN", *(one for one in NEEDED if one != "LOGIN")]),
        (True, ["LOGIN_ERROR"], ["LOGIN_ERROR"]),
    ],
)  # fmt: skip
def test_who_is_given_events_is_given_those_that_prune_reads(
    keycloak: Scripted, scopes: Path, on: bool, types: list[str], then: list[str]
) -> None:
    keycloak.realm |= {"eventsEnabled": on, "enabledEventTypes": types}
    assert realm(keycloak, "apply", "--scopes", str(scopes), "--yes").exit_code == 0
    assert keycloak.realm["eventsEnabled"] is True
    assert sorted(keycloak.realm["enabledEventTypes"]) == sorted(then)


@pytest.mark.parametrize("verb", ["diff", "apply", "prune"])
def test_without_a_password_and_a_terminal_nothing_is_compared(keycloak: Scripted, scopes: Path, verb: str) -> None:
    source = [] if verb == "prune" else ["--scopes", str(scopes)]
    told = realm(keycloak, verb, *source, password=None)
    assert (told.exit_code, "set KEYCLOAK_ADMIN_PASSWORD" in told.output) == (2, True)


def test_who_leaves_the_prompt_has_seen_no_difference(keycloak: Scripted, scopes: Path) -> None:
    terminal, other = pty.openpty()
    asked = [sys.executable, "-m", "devstack.realm", "diff", "--keycloak", keycloak.origin]
    environment = {name: value for name, value in os.environ.items() if name != "KEYCLOAK_ADMIN_PASSWORD"}
    with subprocess.Popen(
        [*asked, "--resource", RESOURCE, "--scopes", scopes],
        stdin=other, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True,
    ) as running:  # fmt: skip
        assert running.stderr
        said = b""
        while not said.endswith(b"password: "):  # what is typed before the prompt is thrown away
            said += running.stderr.read(1)
            assert running.poll() is None or b"password" in said
        os.write(terminal, b"\x04")
        said += running.stderr.read()
    os.close(terminal)
    os.close(other)
    assert (running.returncode, b"set KEYCLOAK_ADMIN_PASSWORD" in said) == (2, True), said


def test_the_demo_is_for_development(keycloak: Scripted) -> None:
    for verb in ("diff", "apply"):
        told = realm(keycloak, verb)
        assert (told.exit_code, "--server MODULE:SERVER, --scopes FILE or MCP_OPENAPI" in said(told)) == (2, True)
        assert realm(keycloak, verb, "--server", DEMO).exit_code in (0, 1)
    assert CliRunner().invoke(main, ["realm", "render"]).exit_code == 2
    assert CliRunner().invoke(main, ["realm", "render", "--for", "development"]).exit_code == 0


def test_a_publisher_of_documents_where_none_are_read_is_refused(scopes: Path) -> None:
    asked = ["realm", "render", "--scopes", str(scopes), "--publisher", "docs.example.com"]
    assert CliRunner().invoke(main, asked).exit_code == 0
    told = CliRunner().invoke(main, [*asked, "--no-documents"])
    assert (told.exit_code, "--publisher" in told.output) == (2, True)
