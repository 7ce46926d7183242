"""Clients that are known by a document: what is fetched, from where, and what a document may say."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devstack.authserver.clients import documents
from devstack.authserver.clients.registration import RegistrationRefused
from devstack.authserver.store import RegisteredClient
from devstack.login import LoginFailed
from devstack.realm.model import Client
from tests.kit.documents import origin, published
from tests.kit.embedded import ASKED, BASE, Running, claims, embedded, login, redeem, register


@pytest.fixture
def running() -> Iterator[Running]:
    with embedded() as found:
        yield found


HERE = "127.0.0.1"


@pytest.mark.parametrize(
    "client_id",
    [
        "https://evil.example/c.json", "http://vscode.dev/c.json", "https://vscode.dev/", "https://vscode.dev/c.json?x=1",
        "https://u@vscode.dev/c.json", "https://169.254.169.254/latest", "https://localhost/c.json",
        "https://vscode.dev\\@evil.example/c.json", "https://vscode.dev/../c.json", "https://vscode.dev/%2e%2e/c",
        "https://vscode.dev//c.json", "https://vscode.dev/c.json#f", "https://VSCODE.dev/c.json", "https://[::1/c.json",
        "http://127.0.0.1:x/c.json", "https://vscode.dev/c.json\r\n", "http://",
    ],
)  # fmt: skip
async def test_a_document_is_fetched_from_listed_public_hosts_alone(
    running: Running, client_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_addresses", lambda _: ["93.184.216.34"])
    with pytest.raises(RegistrationRefused, match=r"not found|Invalid Client ID"):
        await running[1].documents.adopt(client_id, HERE)


async def test_a_listed_host_at_a_private_address_is_not_asked(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for addresses in (["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"]):
        monkeypatch.setattr(documents, "_addresses", lambda _, found=addresses: found)
        with pytest.raises(RegistrationRefused, match="domain not allowed"):
            await running[1].documents.adopt("https://vscode.dev/c.json", HERE)


@pytest.mark.parametrize("known", [None, "http://127.0.0.1:1", "http://localhost:PORT", "https://127.0.0.1:PORT"])
def test_a_link_makes_the_server_call_nothing_on_the_machine(running: Running, known: str | None) -> None:
    client, server = running
    with heard(200, GOOD_DOCUMENT) as (address, asked):
        if known:
            server.documents.local.add(known.replace("PORT", origin(address).rpartition(":")[2]))
        page = client.get(f"{BASE}/auth", params=ASKED | {"client_id": address})
        assert (page.status_code, "Client not found" in page.text, asked) == (400, True, [])


@pytest.mark.parametrize(
    "path", ["/admin/delete", "/", "", "/c.json?delete=1", "/c.json/", "/a/../c.json", "/%61.json"]
)
def test_a_known_place_is_asked_for_documents_alone(running: Running, path: str) -> None:
    client, server = running
    with heard(200, GOOD_DOCUMENT) as (address, asked):
        server.documents.local.add(origin(address))
        page = client.get(f"{BASE}/auth", params=ASKED | {"client_id": origin(address) + path})
        assert (page.status_code, asked) == (400, [])


@contextmanager
def heard(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A client's document on loopback, and who asked for it; `SELF` in the body becomes its own address."""
    asked = list[str]()

    def answer(address: str) -> bytes:
        asked.append(address)
        return body.replace(b"SELF", address.encode())

    with published(answer, status) as address:
        yield address, asked


@contextmanager
def document(running: Running, status: int, body: bytes) -> Iterator[str]:
    """One at a place that the server knows."""
    with heard(status, body) as (address, _):
        running[1].documents.local.add(origin(address))
        yield address


GOOD_DOCUMENT = b'{"client_id": "SELF", "client_name": "D", "redirect_uris": ["http://127.0.0.1/callback"]}'


@pytest.mark.requirement("25.28")
def test_a_client_is_known_by_its_document(running: Running) -> None:
    client, server = running
    with document(running, 200, GOOD_DOCUMENT) as address:
        back = login(client, "bob", client_id=address)
    tokens = redeem(client, back["code"], client_id=address).json()
    assert claims(tokens["access_token"])["azp"] == address
    assert "code" in login(client, "bob", client_id=address)  # known, and not fetched again
    assert server.store.clients[address].get_default_redirect_uri() == "http://127.0.0.1/callback"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, GOOD_DOCUMENT.replace(b"SELF", b"https://other"), "exactly match"),
        (
            200,
            GOOD_DOCUMENT.replace(b"{", b'{"token_endpoint_auth_method": "client_secret_basic", ', 1),
            "authentication method",
        ),
        (200, GOOD_DOCUMENT.replace(b"127.0.0.1", b"evil.example"), "domain not allowed"),
        (200, b" " * 6000, "fetch failed"),
        (404, GOOD_DOCUMENT, "fetch failed"),
        (302, GOOD_DOCUMENT, "fetch failed"),
        (200, GOOD_DOCUMENT.replace(b"http://127", b"ftp://127"), "domain not allowed"),
        (200, GOOD_DOCUMENT.replace(b"127.0.0.1", b"u@127.0.0.1"), "domain not allowed"),
        (200, GOOD_DOCUMENT.replace(b"http://127.0.0.1", rb"http://evil.example\\\\@127.0.0.1"), "domain not allowed"),
        (200, GOOD_DOCUMENT.replace(b"{", b'{"client_uri": "https://evil.example", ', 1), "domain not allowed"),
        (200, GOOD_DOCUMENT.replace(b"{", b'{"scope": "orders-api-audience", ', 1), "specified clientScope"),
        (200, b"{", "fetch failed"),
        (200, GOOD_DOCUMENT.replace(b"{", b'{"some_new_field": 1, ', 1), "fetch failed"),
    ],
)
def test_a_bad_document_is_told_to_the_person(running: Running, status: int, body: bytes, said: str) -> None:
    with document(running, status, body) as address, pytest.raises(LoginFailed, match=said):
        login(running[0], "bob", client_id=address)
    with pytest.raises(LoginFailed):
        login(running[0], "bob", client_id=address)


def test_a_host_without_an_address_is_no_client() -> None:
    with pytest.raises(RegistrationRefused):
        documents._addresses("no.such.host.invalid")


def test_a_document_gives_grants_of_persons_alone_and_no_offline_access(running: Running) -> None:
    asked = b'{"grant_types": ["client_credentials", "refresh_token", "implicit"], "tos_uri": null, '
    with document(running, 200, GOOD_DOCUMENT.replace(b"{", asked, 1)) as address:
        login(running[0], "bob", client_id=address)
    made = running[1].store.clients[address].client
    assert made.grants == ("authorization_code", "refresh_token")
    assert (made.consent, made.secret, "offline_access" in made.scopes) == (True, None, False)


def test_a_packed_document_is_not_unpacked(running: Running) -> None:
    with document(running, 200, gzip.compress(GOOD_DOCUMENT)) as address, pytest.raises(LoginFailed, match="failed"):
        login(running[0], "bob", client_id=address)


def test_documents_are_bounded_as_registrations_are(running: Running) -> None:
    client, server = running
    most = server.realm.registration.max_clients
    full = [RegisteredClient(Client(client_id=f"dcr-{number}"), server.realm, by_itself=True) for number in range(most)]
    server.store.clients |= {one.client_id: one for one in full}
    with document(running, 200, GOOD_DOCUMENT) as address:
        with pytest.raises(LoginFailed, match="Max Clients"):
            login(client, "bob", client_id=address)
        full[0].unused_until = 1.0
        assert "code" in login(client, "bob", client_id=address)


def test_links_make_the_server_fetch_at_a_pace(running: Running) -> None:
    client, server = running
    while not server.documents.pace.wait_s("testclient"):
        pass
    with document(running, 200, GOOD_DOCUMENT) as address, pytest.raises(LoginFailed, match="Too many new clients"):
        login(client, "bob", client_id=address)
    assert register(client).status_code == 201  # links take nothing from clients that register
