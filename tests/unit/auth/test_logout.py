"""Back-channel logout: taken once, on whatever worker, and what it ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.logout import AWAY, NOT_HEARD, REPLAYED, BackchannelLogout, LogoutRefused
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import Credentials
from mcp_server.auth.tokens.logout import EVENT
from mcp_server.identity import Principal
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import Revocations, StoreLedger
from tests.kit import proofs
from tests.kit.backends import Workers, settle
from tests.kit.issuers import ISSUER, KEYS, Paper, signed

NO_PROOF = proofs.of_request(None)


def logout_token(paper: Paper, kid: str = "k", **changed: Any) -> bytes:
    now = int(time.time())
    usual = {
        "iss": ISSUER, "aud": "portal", "iat": now, "exp": now + 120, "jti": "j", "sub": "user", "sid": "s",
        "events": {EVENT: {}},
    }  # fmt: skip
    said = {name: value for name, value in (usual | changed).items() if value is not None}
    return signed({"alg": "ES256", "typ": "logout+jwt", "kid": kid}, said, paper.key).encode()


def push(paper: Paper, resource: str, action: str = "LOGOUT", **changed: Any) -> bytes:
    now = int(time.time())
    usual = {"id": "i", "expiration": now + 30, "resource": resource, "action": action, "notBefore": now}
    return signed({"alg": "ES256", "typ": "JWT", "kid": "k"}, usual | changed, paper.key).encode()


class Server:
    """One worker: who is let in, and what takes logouts."""

    def __init__(self, authenticator: Authenticator, backend: InMemoryBackend) -> None:
        self.authenticator, self.backend = authenticator, backend
        self.logouts = BackchannelLogout(authenticator.issuers, authenticator.revocations, backend, "server")

    async def judged(self, token: str) -> DenialReason | None:
        outcome = await self.authenticator.authenticate(Credentials(token.encode()), NO_PROOF)
        if isinstance(outcome, AccessDenied):
            return outcome.reason
        assert isinstance(outcome, Principal)
        return None


@asynccontextmanager
async def serving(paper: Paper, backend: InMemoryBackend | None = None, **changed: Any) -> AsyncIterator[Server]:
    backend = backend or InMemoryBackend()
    ledgers = [StoreLedger(backend)] if backend.distributed else []
    revocations = Revocations(EventBus(backend), 3600, ledgers, look_s=60)
    async with paper.fetcher() as fetcher:
        config = paper.config(logout_clients=frozenset({"portal", "server"}), **changed)
        asked = Authenticator(config, backend, fetcher=fetcher, revocations=revocations)
        await backend.start(revocations.bus.receive)
        await revocations.start()
        try:
            yield Server(asked, backend)
        finally:
            await revocations.stop()


async def refused(server: Server, token: bytes) -> str:
    with pytest.raises(LogoutRefused) as found:
        await server.logouts.take(token)
    return found.value.reason


async def test_a_login_that_is_over_takes_its_tokens_along_and_no_others() -> None:
    paper = Paper()
    async with serving(paper) as server:
        mine, unseen, other = paper.token(), paper.token(jti="unseen"), paper.token(sid="other")
        assert [await server.judged(one) for one in (mine, other)] == [None, None]
        ended = await server.logouts.take(logout_token(paper))
        assert (ended.issuer, ended.client, ended.subject) == (ISSUER, "portal", "user")
        for _ in range(2):
            judged = [await server.judged(one) for one in (mine, unseen, other)]
            assert judged == [DenialReason.SESSION_ENDED, DenialReason.SESSION_ENDED, None]
        assert not isinstance(server.authenticator.cached(f"Bearer {mine}".encode()), Principal)


async def test_without_a_sid_all_of_a_persons_are_over_and_a_later_login_is_not() -> None:
    paper = Paper()
    async with serving(paper) as server:
        now = int(time.time())
        issued = ({"sid": "a", "iat": now}, {"sid": "b", "iat": now}, {"iat": now + 2}, {"sub": "bob", "iat": now})
        tokens = [paper.token(**one) for one in issued]
        await server.logouts.take(logout_token(paper, sid=None, iat=now))
        ended = DenialReason.SESSION_ENDED
        assert [await server.judged(one) for one in tokens] == [ended, ended, None, None]


async def test_one_that_comes_again_changes_nothing_on_whatever_worker() -> None:
    paper, workers = Paper(), Workers()
    async with serving(paper, workers.join()) as one, serving(paper, workers.join()) as other:
        token = logout_token(paper)
        await one.logouts.take(token)
        assert await other.judged(paper.token()) is DenialReason.SESSION_ENDED
        for server in (one, other):
            assert await refused(server, token) == REPLAYED


class Hanging(InMemoryBackend):
    """A store that takes a claim and does not answer."""

    async def claim(self, key: str, ttl_s: float, token: str = "", owner: str = "") -> bool:
        return await asyncio.Event().wait()


async def test_it_counts_here_before_the_store_has_answered() -> None:
    paper = Paper()
    async with serving(paper, Hanging()) as server:
        token, pushed = paper.token(), paper.token(sid="other")
        waiting = [asyncio.create_task(server.logouts.take(logout_token(paper)))]
        await settle()
        assert [await server.judged(one) for one in (token, pushed)] == [DenialReason.SESSION_ENDED, None]
        waiting.append(asyncio.create_task(server.logouts.pushed(push(paper, "server"), "LOGOUT")))
        await settle()
        assert await server.judged(pushed) is DenialReason.SESSION_ENDED
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_while_the_store_is_away_it_counts_here_and_is_told_to_have_failed() -> None:
    paper, workers = Paper(), Workers()
    backend = workers.join()
    async with serving(paper, backend) as server:
        token = paper.token()
        assert await server.judged(token) is None
        backend.away = True
        assert await refused(server, logout_token(paper)) == AWAY
        assert await server.judged(token) is DenialReason.SESSION_ENDED
        await settle()


async def test_one_that_could_not_be_taken_in_whole_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that repeats what has failed is no thief; the worker's own repetition is beside that."""
    paper, workers = Paper(), Workers()
    async with serving(paper, workers.join()) as server:
        token = logout_token(paper)

        async def full(_: object) -> None:
            raise OSError("full")

        with monkeypatch.context() as patched:
            patched.setattr(server.logouts._revocations, "revoke", full)
            assert [await refused(server, token) for _ in range(2)] == [AWAY, AWAY]
            await settle()
        await server.logouts.take(token)
        assert await refused(server, token) == REPLAYED


async def test_a_wrong_one_is_refused_by_the_step_that_refuses_it() -> None:
    paper = Paper()
    async with serving(paper) as server:
        assert await refused(server, logout_token(paper, aud="another")) == NOT_HEARD
        assert await refused(server, logout_token(Paper(), aud="another")) == "bad_signature"
        assert await refused(server, b"x") == "not_a_token"
        assert await server.judged(paper.token()) is None


async def test_keys_that_nobody_knows_earn_no_more_fetches_than_those_of_tokens_do() -> None:
    paper, before = Paper(), int(time.time()) - 1  # a token of a second that begins meanwhile may have newer keys
    async with serving(paper) as server:
        for number in range(8):
            token = logout_token(paper, kid=f"stranger-{number}", iat=before)
            assert await refused(server, token) == "unknown_key"
        assert paper.asked.count(KEYS) == 2
        paper.documents[KEYS] = OSError("away")
    away = Paper()
    away.documents[KEYS] = b"{}"
    async with serving(away) as server:
        assert await refused(server, logout_token(away)) == "issuer_away"


async def test_a_time_to_come_does_not_have_a_forged_one_pass_for_one_whose_issuer_is_away() -> None:
    paper = Paper()
    async with serving(paper) as server:
        for number in range(8):
            token = logout_token(paper, kid=f"stranger-{number}", iat=int(time.time()) + 3600)
            assert await refused(server, token) == "issued_in_future"
        assert paper.asked.count(KEYS) == 0


async def test_what_is_pushed_to_the_server_is_for_all_tokens_and_to_a_client_for_its_own() -> None:
    paper = Paper()
    async with serving(paper) as server:
        portal, other = paper.token(), paper.token(azp="other", sid="t")
        ended = await server.logouts.pushed(push(paper, "portal"), "LOGOUT")
        assert (ended.issuer, ended.client, ended.subject) == (ISSUER, "portal", "")
        assert [await server.judged(one) for one in (portal, other)] == [DenialReason.SESSION_ENDED, None]
        with pytest.raises(LogoutRefused, match=REPLAYED):
            await server.logouts.pushed(push(paper, "portal"), "LOGOUT")
        await server.logouts.pushed(push(paper, "server", id="another"), "LOGOUT")
        assert await server.judged(other) is DenialReason.SESSION_ENDED


async def test_a_push_is_believed_of_keycloak_alone() -> None:
    paper = Paper()
    async with serving(paper, persons="rfc9068") as server:
        with pytest.raises(LogoutRefused, match="unknown_issuer"):
            await server.logouts.pushed(push(paper, "server"), "LOGOUT")
    async with serving(paper) as server:
        with pytest.raises(LogoutRefused, match="bad_signature"):
            await server.logouts.pushed(push(Paper(), "server"), "LOGOUT")


async def test_of_several_realms_the_one_is_meant_whose_key_has_signed() -> None:
    first, second = Paper(), Paper()
    tokens = first.token(), second.token()  # before the push, in which a second may begin that they are not over in
    async with serving(first) as one, serving(second) as two:
        both = {"https://two": two.authenticator.issuers[ISSUER], ISSUER: one.authenticator.issuers[ISSUER]}
        logouts = BackchannelLogout(both, one.authenticator.revocations, one.backend, "server")
        with pytest.raises(LogoutRefused, match="bad_signature"):
            await logouts.pushed(push(Paper(), "server"), "LOGOUT")
        await logouts.pushed(push(first, "server"), "LOGOUT")
        judged = [await server.judged(token) for server, token in zip((one, two), tokens, strict=True)]
        assert judged == [DenialReason.SESSION_ENDED, None]
