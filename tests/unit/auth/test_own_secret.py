"""The secret of this server while it is rotated: old and new until the new one has worked, at both places that use it."""

import base64
import time
from pathlib import Path
from urllib.parse import unquote

import httpx
import msgspec
import pytest

from mcp_server.auth.authenticator import AuthConfig, Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.issuer.snapshot import FolderSnapshotStore, Snapshot, Snapshots
from mcp_server.auth.own_secret import OwnSecret
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.identity import Principal
from mcp_server.rest.exchange import NoAccess
from tests.kit.exchanges import READ, WRITE, caller, exchanging, issues
from tests.kit.issuers import INTROSPECT, ISSUER, KEYS, Paper, policy
from tests.kit.upstreams import Exchange as Request
from tests.kit.upstreams import answers


def password(authorization: str) -> str:
    pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
    return unquote(pair.partition(":")[2])


def test_the_one_that_worked_last_is_tried_first_and_the_newest_ends_the_other() -> None:
    own = OwnSecret("a")
    own.worked("a")
    assert list(own) == ["a"]
    own.renew("b")
    assert list(own) == ["b", "a", "b"]
    own.worked("a")
    assert list(own) == ["a", "b", "a"]
    own.worked("x")
    assert list(own) == ["a", "b", "a"]
    own.renew("c")  # another one before the last has ever worked
    assert list(own) == ["c", "b", "a", "c"]
    own.worked("b")
    assert list(own) == ["b", "c", "b"]
    own.worked("c")
    assert list(own) == ["c"]
    own.renew("c")
    assert list(own) == ["c"]
    assert "c" not in repr(own).replace("OwnSecret", "")
    for number in range(9):
        own.renew(str(number))
    assert list(own) == ["8", "7", "6", "5", "8"]


def test_a_worker_that_asks_seldom_has_the_one_between_two_rotations() -> None:
    own = OwnSecret("a")
    own.renew("b")
    own.worked("a")  # and then the issuer changes over, and this worker asks no more
    own.renew("c")
    assert "b" in list(own)


class Issuer:
    """Introspects for whoever has a secret that it knows."""

    def __init__(self, *known: str, refuses: int = 401) -> None:
        self.known, self.refuses = set(known), refuses
        self.paper = Paper()
        self.paper.documents[INTROSPECT] = {"active": True, **self.paper.claims()}
        self.seen: list[str] = []
        self.changes_over = False
        """To the first one that it is asked with, and that it refuses."""

    def fetcher(self) -> Fetcher:
        return Fetcher(transport=httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/realms/mcp")
        if path == INTROSPECT:
            self.seen.append(password(request.headers["authorization"]))
            if self.seen[-1] not in self.known:
                if self.changes_over:
                    self.known, self.changes_over = {self.seen[-1]}, False
                return httpx.Response(self.refuses, stream=httpx.ByteStream(b"{}"))
        document = self.paper.documents[path]
        assert isinstance(document, dict)
        return httpx.Response(200, stream=httpx.ByteStream(msgspec.json.encode(document)))


async def introspected(made: Authenticator, token: str) -> bool:
    outcome = await made.authenticate(Credentials(token.encode()), Proof(None, "POST", ""))
    assert isinstance(outcome, Principal | AccessDenied)
    return isinstance(outcome, Principal)


async def test_an_introspection_goes_on_whichever_of_the_two_the_issuer_knows() -> None:
    issuer = Issuer("secret")
    made = Authenticator(issuer.paper.config(opaque=True), fetcher=issuer.fetcher())
    await made.start()
    made.own_secret.renew("new")
    assert [await introspected(made, f"t{number}") for number in range(2)] == [True, True]
    assert issuer.seen == ["new", "secret", "secret"]
    issuer.known = {"new"}
    issuer.seen.clear()
    assert [await introspected(made, f"u{number}") for number in range(2)] == [True, True]
    assert issuer.seen == ["secret", "new", "new"]
    issuer.known = set()
    issuer.seen.clear()
    assert not await introspected(made, "v")
    assert issuer.seen == ["new"]
    await made.stop()


async def test_an_issuer_that_is_in_trouble_is_not_asked_twice() -> None:
    issuer = Issuer(refuses=500)
    made = Authenticator(issuer.paper.config(opaque=True), fetcher=issuer.fetcher())
    await made.start()
    made.own_secret.renew("new")
    assert not await introspected(made, "t")
    assert (issuer.seen, list(made.own_secret)) == (["new"], ["new", "secret", "new"])
    await made.stop()


async def test_a_page_in_place_of_an_introspection_loses_no_secret() -> None:
    """Which a proxy may send with 200, whoever asks."""
    issuer = Issuer("secret", "new")
    issuer.paper.documents[INTROSPECT] = {"status": "we are back soon"}
    made = Authenticator(issuer.paper.config(opaque=True), fetcher=issuer.fetcher())
    await made.start()
    made.own_secret.renew("new")
    outcome = await made.authenticate(Credentials(b"t"), Proof(None, "POST", ""))
    assert isinstance(outcome, AccessDenied)
    assert outcome.reason is DenialReason.ISSUER_AWAY  # its caller need not sign in again
    assert (issuer.seen, list(made.own_secret)) == (["new"], ["new", "secret", "new"])
    issuer.paper.documents[INTROSPECT] = {"active": False}
    assert not await introspected(made, "u")
    assert list(made.own_secret) == ["new"]
    await made.stop()


async def test_an_issuer_that_changes_over_between_two_tries_is_asked_again() -> None:
    issuer = Issuer("secret")
    made = Authenticator(issuer.paper.config(opaque=True), fetcher=issuer.fetcher())
    await made.start()
    made.own_secret.renew("new")
    issuer.changes_over = True
    assert await introspected(made, "t")
    assert issuer.seen == ["new", "secret", "new"]
    await made.stop()


class TokenEndpoint:
    """Issues to whoever has a secret that it knows; Keycloak's word for others is `unauthorized_client`."""

    def __init__(self, *known: str) -> None:
        self.known, self.word, self.status = set(known), b'{"error": "unauthorized_client"}', 401
        self.seen: list[str] = []

    async def __call__(self, request: Request) -> None:
        lines = dict(line.split(": ", 1) for line in request.head.decode().split("\r\n")[1:] if line)
        self.seen.append(password({name.lower(): value for name, value in lines.items()}["authorization"]))
        await (issues if self.seen[-1] in self.known else answers(self.status, self.word))(request)


async def test_an_exchange_goes_on_whichever_of_the_two_the_issuer_knows() -> None:
    issuer, own = TokenEndpoint("old"), OwnSecret("old")
    async with exchanging(issuer, own=own) as (made, _):
        own.renew("new")
        await made.token(caller("a"), READ)
        await made.token(caller("b"), READ)
        issuer.known = {"new"}
        await made.token(caller("c"), READ)
        await made.own_token("https://issuer", WRITE)
        assert issuer.seen == ["new", "old", "old", "old", "new", "new"]
        issuer.known = set()
        with pytest.raises(NoAccess):
            await made.token(caller("d"), READ)
        assert issuer.seen[6:] == ["new"]


@pytest.mark.parametrize(
    ("status", "word", "left"),
    [
        (400, b'{"error": "invalid_grant"}', 1),
        (400, b'{"error": "invalid_request"}', 3),
        (400, b"nonsense", 3),
        (401, b'{"error": "invalid_token"}', 3),
        (403, b"<html>", 3),
        (429, b"slow down", 3),
        (200, b"<html>", 3),
        (200, b'{"status": "we are back soon"}', 3),
        (302, b"", 3),
        (503, b"{}", 3),
    ],
)
async def test_only_a_refusal_of_this_server_itself_has_the_other_tried(status: int, word: bytes, left: int) -> None:
    """And only who was certainly let in has the others forgotten."""
    issuer, own = TokenEndpoint(), OwnSecret("old")
    issuer.status, issuer.word = status, word
    async with exchanging(issuer, own=own) as (made, _):
        own.renew("new")
        with pytest.raises(NoAccess):
            await made.token(caller("a"), READ)
    assert (issuer.seen[0], len(set(issuer.seen)), len(list(own))) == ("new", 1, left)


@pytest.mark.parametrize("word", [b'{"error": "access_denied"}', b"[]", b"nonsense", b""])
async def test_whatever_word_an_issuer_has_for_it_a_401_has_the_other_tried(word: bytes) -> None:
    issuer, own = TokenEndpoint("old"), OwnSecret("old")
    issuer.word = word
    async with exchanging(issuer, own=own) as (made, _):
        own.renew("new")
        await made.token(caller("a"), READ)
    assert issuer.seen == ["new", "old"]


async def test_an_answer_that_is_not_the_issuers_loses_no_secret() -> None:
    """A proxy's limit met the first try of a secret that the issuer did not know yet."""
    issuer, own = TokenEndpoint(), OwnSecret("old")
    issuer.status, issuer.word = 429, b"slow down"
    async with exchanging(issuer, own=own) as (made, _):
        own.renew("new")
        with pytest.raises(NoAccess):
            await made.token(caller("a"), READ)
        issuer.known, issuer.status, issuer.word = {"old"}, 401, b'{"error": "invalid_client"}'
        await made.token(caller("b"), READ)
        issuer.known = {"new"}
        await made.token(caller("c"), READ)
    assert issuer.seen == ["new", "new", "old", "old", "new"]


async def test_keys_that_are_kept_are_sealed_with_other_keys_from_now_on(tmp_path: Path) -> None:
    paper, old, new = Paper(), (b"o" * 32,), (b"n" * 32,)
    config: AuthConfig = msgspec.structs.replace(paper.config(), state_keys=old)
    places = [FolderSnapshotStore(tmp_path)]
    made = Authenticator(config, fetcher=paper.fetcher(), places=places)
    made.renew_keys(new)
    assert made._snapshots is not None
    metadata = IssuerMetadata(issuer=ISSUER, jwks_uri=ISSUER + KEYS)
    await made._snapshots.keep(policy(), Snapshot(metadata, msgspec.Raw(b"{}"), time.time()), 1000)
    assert await Snapshots(old, places).newest(policy()) is None
    assert await Snapshots(new, places).newest(policy()) is not None
    Authenticator(config, fetcher=paper.fetcher()).renew_keys(new)  # which keeps nothing
