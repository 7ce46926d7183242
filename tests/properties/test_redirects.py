"""Whatever a stranger gives for an address or a client: no failure of ours, and no browser that goes elsewhere."""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.authserver.clients.redirects import matches, parse
from devstack.authserver.pace import Pace
from tests.kit.embedded import ASKED, BASE, Running, basic, embedded, register

PIECES = [
    "http", "https", "cursor", "javascript", "data", ":", "://", "/", "//", "\\", "@", "#", "?", "%", "%2e", "%00", "..",
    ".", "localhost", "127.0.0.1", "[::1]", "::1", "[", "]", "evil.example", "vscode.dev", "anysphere.cursor-mcp", "cb",
    "callback", "redirect", ":80", ":5x", ":99999", "8", "\t", "\r\n", "\0", " ", "u:p", "\u3002", "\uff0f", "\ud800",
    "\u202e", "&", ";", "=", "127.1", "2130706433", "0x7f.1", "xn--", "-", "*", '"', "'", "<", "+",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text(max_size=30)
NEARLY = st.builds(
    lambda known, at, piece: known[: at % (len(known) + 1)] + piece + known[at % (len(known) + 1) :],
    st.sampled_from(["http://localhost/callback", "http://127.0.0.1:5/callback", "http://[::1]/callback", "https://vscode.dev/redirect"]),
    st.integers(0, 40),
    st.sampled_from(PIECES),
)  # fmt: skip
ADDRESSES = HOSTILE | NEARLY
OFTEN = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
_READER = (
    "require('readline').createInterface({input: process.stdin}).on('line', line => {"
    "let found = null; try { const url = new URL(JSON.parse(line));"
    "found = [url.protocol, url.hostname, url.port, url.username + url.password + url.hash] } catch {}"
    "console.log(JSON.stringify(found)) })"
)


@pytest.fixture(scope="module")
def as_a_browser() -> Iterator[Callable[[str], list[str] | None]]:
    """Scheme, host, port and what should not be there, as the WHATWG URL parser of Node reads them."""
    with subprocess.Popen(["node", "-e", _READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin and node.stdout

        def read(text: str) -> list[str] | None:
            assert node.stdin and node.stdout
            print(json.dumps(text), file=node.stdin, flush=True)
            found: list[str] | None = json.loads(node.stdout.readline())
            return found

        yield read
        node.stdin.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with embedded() as found:
        found[1].pace = found[1].documents.pace = Pace(burst=1_000_000)
        found[1].documents.local |= {"http://127.0.0.1:9", "http://localhost:9"}
        yield found


@OFTEN
@given(ADDRESSES)
def test_an_address_is_what_a_browser_goes_to(as_a_browser: Callable[[str], list[str] | None], text: str) -> None:
    address = parse(text)
    if address is None:
        return
    usual = {"http": 80, "https": 443}.get(address.scheme)
    port = "" if address.port in (None, usual) else str(address.port)
    assert as_a_browser(text) == [f"{address.scheme}:", address.host, port, ""]


@OFTEN
@given(ADDRESSES)
def test_an_asked_redirect_is_a_registered_place(as_a_browser: Callable[[str], list[str] | None], text: str) -> None:
    if matches("http://localhost/callback", text):
        assert (as_a_browser(text) or [])[:2] == ["http:", "localhost"]
        assert text.endswith("/callback")


@OFTEN
@given(ADDRESSES, ADDRESSES)
def test_no_client_and_no_redirect_makes_a_failure(running: Running, client_id: str, redirect: str) -> None:
    client, _ = running
    for changed in (
        {"client_id": client_id},
        {"redirect_uri": redirect},
        {"client_id": client_id, "redirect_uri": redirect},
    ):
        asked = {name: value.encode("utf-8", "surrogatepass") for name, value in (ASKED | changed).items()}
        page = client.get(f"{BASE}/auth", params=asked)
        assert page.status_code in (200, 400)
        form = {"grant_type": "authorization_code", "code": redirect, "code_verifier": client_id} | changed
        sent = {name: value.encode("utf-8", "surrogatepass") for name, value in form.items()}
        assert client.post(f"{BASE}/token", data=sent).status_code in (400, 401)


@OFTEN
@given(ADDRESSES)
def test_what_may_be_registered_is_a_known_place(
    running: Running, as_a_browser: Callable[[str], list[str] | None], text: str
) -> None:
    client, server = running
    body = json.dumps({"redirect_uris": [text]}).encode()
    made = client.post("/realms/mcp/clients-registrations/openid-connect", content=body)
    assert made.status_code in (201, 400, 403)
    if made.status_code != 201:
        return
    del server.store.clients[made.json()["client_id"]]
    protocol, host, *_ = as_a_browser(text) or []
    assert (protocol, host) in places()


@cache
def places() -> set[tuple[str, str]]:
    """Where a code may go: loopback over http, and the editors' own places."""
    here = {("http:", host) for host in ("localhost", "127.0.0.1", "[::1]")}
    return here | {("https:", "vscode.dev"), ("https:", "insiders.vscode.dev"), ("cursor:", "anysphere.cursor-mcp")}


@OFTEN
@given(
    st.binary(max_size=60) | st.none(),
    st.text(max_size=20),
    ADDRESSES,
    st.sampled_from(["token", "token/introspect", "revoke"]),
    st.sampled_from(["client_credentials", "refresh_token", None]),
)
def test_no_credential_and_no_parameter_makes_a_failure(
    running: Running, credential: bytes | None, name: str, value: str, path: str, grant: str | None
) -> None:
    client, _ = running
    headers: Any = basic("mcp-agent", "dev-only-agent-secret")
    if credential is not None:
        headers = {"authorization": b"Basic " + credential.replace(b"\r", b"").replace(b"\n", b"")}
    form = {"grant_type": grant or value, "token": value, "refresh_token": value, "scope": value, name: value}
    sent = {_sendable(key): _sendable(one) for key, one in form.items()}
    assert client.post(f"{BASE}/{path}", data=sent, headers=headers).status_code < 500
    asked = ASKED | {"scope": value, "state": value, "prompt": name, "response_type": "code", name: value}
    page = client.get(f"{BASE}/auth", params={_sendable(key): _sendable(one) for key, one in asked.items()})
    assert page.status_code in (200, 302, 400)
    if page.status_code == 302:
        assert page.headers["location"].startswith(ASKED["redirect_uri"] + "?")


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def test_the_places_can_be_registered(running: Running) -> None:
    for redirect in ("http://localhost:1/x", "http://[::1]/", "https://vscode.dev/redirect"):
        assert register(running[0], redirect_uris=[redirect]).status_code == 201
