"""Logout at the embedded issuer: who may end what, and whom it tells."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kit.embedded import BASE, Running, claims, embedded, login, redeem

LOGOUT = f"{BASE}/logout"
WINDOW = f"http://localhost:8180{LOGOUT}"
"""With the host that the session's cookie belongs to."""


@pytest.fixture
def running() -> Iterator[Running]:
    with embedded() as found:
        yield found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What clients were told, and where; one that cannot be reached hears nothing."""
    found: list[tuple[str, str]] = []

    async def hear(request: httpx.Request) -> httpx.Response:
        found.append((str(request.url), request.content.decode().removeprefix("logout_token=")))
        raise httpx.ConnectError("away")

    real = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: real(transport=httpx.MockTransport(hear), **options))
    return found


def tokens(client: Any, user: str = "alice") -> dict[str, Any]:
    answer: dict[str, Any] = redeem(client, login(client, user)["code"]).json()
    return answer


def refreshes(client: Any, answer: dict[str, Any]) -> int:
    form = {"grant_type": "refresh_token", "client_id": "mcp-public", "refresh_token": answer["refresh_token"]}
    return int(client.post(f"{BASE}/token", data=form).status_code)


def test_a_client_ends_the_login_of_its_refresh_token_and_is_told(
    running: Running, told: list[tuple[str, str]]
) -> None:
    client, _ = running
    answer, other = tokens(client), tokens(client, "bob")
    wrong = [{"client_id": "mcp-public", "refresh_token": "x"}, {"client_id": "x", "refresh_token": "x"}]
    wrong.append({"client_id": "another", "refresh_token": answer["refresh_token"]})
    assert [client.post(LOGOUT, data=form).status_code for form in wrong] == [400, 400, 400]
    right = {"client_id": "mcp-public", "refresh_token": answer["refresh_token"]}
    assert client.post(LOGOUT, data=right).status_code == 204
    ((where, token),) = told
    assert where == "http://localhost:8000/mcp/backchannel-logout"
    assert claims(token)["sid"] == claims(answer["access_token"])["sid"]
    assert [refreshes(client, one) for one in (answer, other)] == [400, 200]


def test_a_window_ends_the_login_of_an_id_token_and_the_browsers_session(
    running: Running, told: list[tuple[str, str]]
) -> None:
    client, server = running
    answer = tokens(client)
    assert len(server.store.logins) == 1
    for hint in ("x", answer["access_token"]):
        assert client.get(WINDOW, params={"id_token_hint": hint}).status_code == 400
    assert client.get(WINDOW, params={"id_token_hint": answer["id_token"]}).status_code == 200
    assert (len(server.store.logins), len(told), refreshes(client, answer)) == (0, 1, 400)
    image = {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert client.get(WINDOW, params={"id_token_hint": answer["id_token"]}, headers=image).status_code == 403


def test_the_administrator_ends_all_logins_of_a_person(running: Running, told: list[tuple[str, str]]) -> None:
    client, server = running
    answers = [tokens(client), tokens(client, "bob")]
    assert client.post("/_dev/logout", json={"name": "alice"}).status_code == 400
    assert client.post("/_dev/logout", json={"user": "alice"}).json() == {"ended": 1}
    assert client.post("/_dev/logout", json={"user": "alice"}).json() == {"ended": 0}
    unknown = client.post("/_dev/logout", json={"user": "nosuchuser"})
    assert (unknown.status_code, unknown.json()["detail"]) == (400, "there is no nosuchuser")
    assert [one.user.username for one in server.store.logins.values()] == ["bob"]
    assert [refreshes(client, one) for one in answers] == [400, 200]
    assert len(told) == 1


def test_a_client_without_an_address_is_told_nothing(running: Running, told: list[tuple[str, str]]) -> None:
    client, server = running
    answer = tokens(client)
    del server.store.clients["mcp-public"]
    assert client.post("/_dev/logout", json={"user": "alice"}).json() == {"ended": 1}
    assert (told, bool(answer)) == ([], True)
