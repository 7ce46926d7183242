"""What the embedded issuer reads at all: Host, Origin, the control routes, and how browsers are sent on."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from litestar.testing import TestClient

from devstack.authserver.app import create
from devstack.authserver.clients.redirects import matches, parse
from devstack.authserver.intake import Intake
from devstack.realm.model import read
from tests.kit.embedded import ASKED, AUTHORIZE, BASE, Running, embedded, login, register
from tests.kit.stack import free_port, serving

EVIL = {"origin": "https://evil.example"}
TOKEN, REGISTRATION = f"{BASE}/token", "/realms/mcp/clients-registrations/openid-connect"
FORMS = ("/realms/mcp/login-actions/authenticate?tx=x", "/realms/mcp/login-actions/consent?tx=x")


@pytest.fixture
def running() -> Iterator[Running]:
    with embedded() as found:
        yield found


@pytest.fixture(scope="module")
def refusing() -> Iterator[Running]:
    """One for all that is refused before anything is read."""
    with embedded() as found:
        yield found


PATHS = [
    ("GET", "/healthz"), ("GET", f"{BASE}/certs"), ("GET", f"{BASE}/auth"), ("POST", TOKEN), ("OPTIONS", TOKEN),
    ("POST", REGISTRATION), ("POST", f"{TOKEN}/introspect"), ("POST", f"{BASE}/revoke"), ("POST", FORMS[0]),
    ("POST", FORMS[1]), ("POST", "/_dev/rotate-keys"), ("POST", "/_dev/faults"),
    ("GET", "/realms/mcp/.well-known/openid-configuration"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost:1@evil.example", "localhost:x", "", "[::1", "127.1"]
)
def test_a_name_that_is_made_to_point_here_is_answered_nothing(
    refusing: Running, method: str, path: str, host: str
) -> None:
    answer = refusing[0].request(method, path, headers={"host": host, "content-type": "application/json"}, content="{}")
    assert (answer.status_code, answer.json()) == (403, {"error": "host not allowed"})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8180", "127.0.0.1:1", "[::1]:8180"])
def test_loopback_has_three_names_and_any_port(refusing: Running, host: str) -> None:
    assert refusing[0].get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("twice", ["Host: localhost", "Origin: http://localhost:8180"])
async def test_two_of_a_header_are_refused(twice: str) -> None:
    """One of them would be judged and the other believed (RFC 9112 §3.2)."""
    app, _ = create()
    port = free_port()
    async with serving(app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:8180\r\n{twice}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        await writer.wait_closed()


def test_a_public_issuer_is_named_by_its_own_host_but_controlled_from_here() -> None:
    app, _ = create(read("https://issuer.example/realms/mcp"))
    with TestClient(app, base_url="https://issuer.example") as client:
        assert client.get("/healthz").status_code == 200
        assert client.post(FORMS[0], headers={"origin": "https://issuer.example"}, data={}).status_code == 400
        assert client.post("/_dev/rotate-keys", json={}).status_code == 403
        assert client.post("/_dev/rotate-keys", json={}, headers={"host": "127.0.0.1"}).status_code == 200
    with pytest.raises(ValueError, match="no address"):
        Intake("issuer.example", frozenset())


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost:8180.evil.example"]
)
@pytest.mark.parametrize("path", [*FORMS, f"{TOKEN}/introspect", "/_dev/rotate-keys?drop_old=true", "/_dev/faults"])
def test_a_page_of_another_origin_posts_nothing(refusing: Running, origin: str, path: str) -> None:
    client, server = refusing
    keys, headers = server.keyring.keys, {"origin": origin, "content-type": "application/json"}
    answer = client.post(path, headers=headers, content=b'{"mode": "down"}')
    assert (answer.status_code, answer.json()) == (403, {"error": "origin not allowed"})
    assert (server.keyring.keys, server.faults.mode) == (keys, "none")


@pytest.mark.parametrize("path", [TOKEN, f"{BASE}/revoke", REGISTRATION])
def test_a_page_of_a_client_that_did_not_list_it_is_told_nothing(refusing: Running, path: str) -> None:
    answer = refusing[0].post(path, headers=EVIL, data={"client_id": "mcp-public"})
    assert (answer.status_code, answer.json()) == (403, {"error": "Invalid origin"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize("path", ["/_dev/rotate-keys", "/_dev/faults"])
def test_the_control_routes_take_what_no_page_can_send(refusing: Running, media: str | None, path: str) -> None:
    client, server = refusing
    keys = server.keyring.keys
    answer = client.post(path, headers={"content-type": media} if media else {}, content=b'{"mode": "down"}')
    assert (answer.status_code, server.faults.mode, server.keyring.keys) == (415, "none", keys)
    for method in ("GET", "PUT", "OPTIONS"):
        other = client.request(method, path, headers=EVIL)
        assert "access-control-allow-origin" not in other.headers
        assert server.keyring.keys == keys


def test_our_own_forms_may_be_posted(running: Running) -> None:
    page = running[0].get(AUTHORIZE, params=ASKED)
    assert page.headers["referrer-policy"] == "same-origin"
    action = re.findall(r'action="([^"]+)"', page.text)[0]
    own = {"origin": "http://localhost:8180"}
    assert "Allow access" in running[0].post(action, data={"username": "bob", "password": "bob"}, headers=own).text


def asked(running: Running, **changed: Any) -> tuple[int, dict[str, str]]:
    """The status of the authorization endpoint, and what it sends to the client."""
    parameters = {name: value for name, value in (ASKED | changed).items() if value is not None}
    page = running[0].get(AUTHORIZE, params=parameters)
    fields = parse_qs(urlsplit(page.headers.get("location", "")).query)
    return page.status_code, {name: values[0] for name, values in fields.items()}


def test_prompt_none_never_shows_a_page(running: Running) -> None:
    ours = {"redirect_uri": "http://127.0.0.1:9/callback", "client_id": register(running[0]).json()["client_id"]}
    iss = running[1].realm.issuer
    for prompt in ("none", "none login", "consent none"):
        refused = {"error": "login_required", "state": "s", "iss": iss}
        assert asked(running, **ours, prompt=prompt) == (302, refused)
    login(running[0], "bob", **ours, scope="openid mcp:read")
    assert "code" in asked(running, **ours, scope="openid mcp:read", prompt="none")[1]
    interaction = {"error": "interaction_required", "state": "s", "iss": iss}
    assert asked(running, **ours, prompt="none") == (302, interaction)  # mcp:write is new
    assert asked(running, **ours, scope="openid mcp:read", prompt="none consent") == (302, interaction)
    assert asked(running, **ours, scope="openid mcp:read", prompt="none login")[1]["error"] == "login_required"
    other = {**ours, "client_id": register(running[0]).json()["client_id"]}
    assert asked(running, **other, scope="", prompt="none") == (302, interaction)
    assert asked(running, redirect_uri="https://evil.example/", prompt="none") == (400, {})


def test_prompts_ask_again(running: Running) -> None:
    ours = {"redirect_uri": "http://127.0.0.1:9/callback", "client_id": register(running[0]).json()["client_id"]}
    login(running[0], "bob", **ours)
    assert asked(running, **ours)[0] == 302
    for prompt, shown in (("login", 'name="password"'), ("consent", "Allow access"), ("consent foo", "Allow access")):
        assert shown in running[0].get(AUTHORIZE, params=ASKED | ours | {"prompt": prompt}).text


def test_the_client_that_anyone_may_name_has_no_code_from_a_session_alone(running: Running) -> None:
    login(running[0], "bob")
    assert asked(running, prompt="none")[1]["error"] == "login_required"
    assert 'name="password"' in running[0].get(AUTHORIZE, params=ASKED).text
    assert asked(running, redirect_uri="http://127.0.0.1:4444/callback")[0] == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": None}, "invalid_request"), ({"response_type": 'a"b'}, "unsupported_response_type"),
        ({"response_type": "token", "redirect_uri": "http://127.0.0.1:1/callback"}, "unsupported_response_type"),
        ({"scope": 'openid a"b\\ ü'}, "invalid_scope"),
    ],
)  # fmt: skip
def test_whatever_is_asked_the_answer_can_be_said(running: Running, changed: dict[str, Any], error: str) -> None:
    status, back = asked(running, **changed)
    assert (status, back["error"]) == (302, error)
    assert not set(back.get("error_description", "")) & set('"\\ü')


@pytest.mark.parametrize(
    "changed", [{"response_type": "token"}, {"scope": "nosuch"}, {"code_challenge_method": "plain"}]
)
def test_no_error_is_sent_to_an_address_that_nobody_registered(running: Running, changed: dict[str, str]) -> None:
    assert asked(running, redirect_uri="https://evil.example/cb", **changed) == (400, {})
    assert asked(running, client_id="nobody", **changed) == (400, {})
    assert running[0].get(f"{BASE}/auth?" + "&".join(f"x{n}=1" for n in range(60))).status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        "http://evil.example\\@localhost/cb", "http://localhost\\@evil.example/cb", "http://localhost@evil.example/cb",
        "http://localhost:1/cb\r\nx: y", "http://loc\talhost/cb", "http://localhost/cb\x00", " http://localhost/cb",
        "http://localhost:5x/cb", "http://localhost:/cb", "http://localhost:99999/cb", "http://localhost/cb#x",
        "http:/localhost/cb", "http:localhost/cb", "http:///localhost/cb", "//localhost/cb", "/cb", "", "localhost",
        "HTTP://localhost/cb", "http://LOCALHOST/cb", "http://localhost\u3002evil/cb", "http://127.1/cb",
        "http://2130706433/cb", "http://0x7f.0.0.1/cb", "http://127.0.0.1./cb", "http://localhost./cb", "http://a..b/",
        "http://[::1/cb", "http://[0:0:0:0:0:0:0:1]/cb", "http://[1:2]/cb", "http://localhost/a b", 'http://localhost/"',
        "http://%6cocalhost/cb", "http://localhost/" + "a" * 2000,
    ],
)  # fmt: skip
def test_what_two_readers_might_read_in_two_ways_is_no_address(text: str) -> None:
    assert parse(text) is None
    assert not matches(text, text)
    assert not matches("http://localhost/cb", text)


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost/cb", "http://[::1]:8/cb", "https://a-b.example/x?y=1&z", "cursor://anysphere.cursor-mcp/x",
        "http://127.0.0.1", "http://localhost:65535/", "https://xn--e1afmkfd.example/a/../%2e/b",
    ],
)  # fmt: skip
def test_an_address_keeps_its_parts(text: str) -> None:
    found = parse(text)
    assert found
    assert text == found.origin + found.path + ("" if found.query is None else f"?{found.query}")
    assert matches(text, text)
