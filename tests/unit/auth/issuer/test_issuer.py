"""The issuer kept at hand: whatever it answers, its keys are refreshed again, and no call fails for it but by 503."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey

from mcp_server.auth.issuer.fetch import Fetcher, IssuerUnavailable
from mcp_server.auth.issuer.issuer import OVERDUE, Issuer
from mcp_server.auth.issuer.keys import Keys
from mcp_server.auth.policy import KeyPolicy
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from tests.kit.issuers import ISSUER, KEYS, METADATA, Document, Paper, policy
from tests.kit.logs import logged

SOON = KeyPolicy(retry_s=(0.001,))


class Watched(Issuer):
    """An issuer whose new key sets a test can wait for."""

    def __init__(self, fetcher: Fetcher, keys: KeyPolicy = SOON, **more: Any) -> None:
        self.renewed = asyncio.Event()
        self.now = [0.0]
        super().__init__(policy(**more), keys, fetcher, self._renewed, monotonic=lambda: self.now[0])

    def _renewed(self, _: str, __: Keys) -> None:
        self.renewed.set()


@asynccontextmanager
async def watched(paper: Paper, keys: KeyPolicy = SOON, **more: Any) -> AsyncIterator[Watched]:
    async with paper.fetcher() as fetcher:
        yield Watched(fetcher, keys, **more)


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await event.wait()
    event.clear()


async def test_an_issuer_that_is_not_there_is_told_by_the_setting() -> None:
    paper = Paper()
    del paper.documents[METADATA]
    with logged() as lines:
        async with watched(paper) as issuer:
            assert not await issuer.refresh()
    (why,) = [line["why"] for line in lines if line["text"] == "issuer not usable"]
    assert "status 404: no issuer is there" in why
    assert "MCP_ISSUER" in why


def metadata(**changed: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "jwks_uri": ISSUER + KEYS, **changed}


EC: dict[str, Any] = ECKey.generate_key("P-256", {"kid": "e"}).as_dict(private=False)
RSA: dict[str, Any] = RSAKey.generate_key(2048, {"kid": "r"}).as_dict(private=False)
BAD: dict[str, tuple[str, Document | Exception]] = {
    "an address without end": (METADATA, metadata(jwks_uri="https://[x")),
    "a port that is no number": (METADATA, metadata(jwks_uri="https://kc.example:abc/certs")),
    "a port beyond all": (METADATA, metadata(jwks_uri="https://kc.example:99999999/certs")),
    "a NUL in the host": (METADATA, metadata(jwks_uri="https://kc\x00.example/certs")),
    "a NUL in the path": (METADATA, metadata(jwks_uri="https://kc.example/\x00certs")),
    "a host that no name service takes": (METADATA, metadata(jwks_uri="https://\u2024\u2025.example/")),
    "a host that splits": (METADATA, metadata(jwks_uri="https://kc.example\u2100/x")),
    "a label of 300": (METADATA, metadata(jwks_uri=f"https://{'a' * 300}/")),
    "an address of 100,000": (METADATA, metadata(jwks_uri=f"https://kc.example/{'a' * 100_000}")),
    "no address": (METADATA, metadata(jwks_uri=None)),
    "another issuer": (METADATA, metadata(issuer="https://evil.example")),
    "metadata that nests": (METADATA, b"[" * 100_000),
    "metadata that is no JSON": (METADATA, b"<html>"),
    "metadata that is no UTF-8": (METADATA, b'"\xff"'),
    "keys that are none": (KEYS, {"keys": None}),
    "a key set that is a text": (KEYS, b'"x"'),
    "only keys that nobody can use": (KEYS, {"keys": [EC | {"x": 5}, RSA | {"e": ["AQAB"]}, RSA | {"alg": {}}]}),
    "a connection refused": (KEYS, httpx.ConnectError("refused")),
    "an error that nobody foresaw": (KEYS, RuntimeError("of a library")),
    "another one": (METADATA, UnicodeError("label too long")),
    "an error of the system": (METADATA, OSError("descriptor")),
}


@pytest.mark.parametrize("name", BAD)
async def test_no_answer_ends_the_refreshing(name: str) -> None:
    """House fault 3, D1: one document ended it for ever, and readiness said `ok`."""
    paper = Paper()
    right = dict(paper.documents)
    async with watched(paper) as issuer:
        assert await issuer.refresh()
        issuer.renewed.clear()
        path, document = BAD[name]
        paper.documents[path] = document
        issuer.start()
        await paper.asked_again(3)  # two of one try at the most: the first has failed by now
        assert issuer.state == "degraded"
        assert issuer.problem in ("unreachable", "unusable documents")
        assert (await issuer.key("k", "ES256", 0)).thumbprint == paper.key.thumbprint()
        with pytest.raises(AccessDeniedError) as refused:
            await issuer.key("unknown", "ES256", 0)
        assert refused.value.refusal.reason is DenialReason.ISSUER_AWAY
        paper.documents = right
        await until(issuer.renewed)
        assert issuer.state == "ok"
        await issuer.stop()


@pytest.mark.parametrize("url", ["http://[x", "http://kc:abc/", "no address", "http://kc.example/\x00"])
async def test_an_address_of_ours_that_cannot_be_used_is_an_issuer_that_is_away(url: str) -> None:
    async with watched(Paper(), fetch_url=url) as issuer:
        assert not await issuer.refresh()
        assert issuer.state == "down"
        with pytest.raises(AccessDeniedError) as refused:
            await issuer.key("k", "ES256", 0)
        assert refused.value.refusal.reason is DenialReason.ISSUER_AWAY


async def test_who_is_told_of_keys_and_fails_ends_nothing() -> None:
    paper = Paper()

    def fail(_: str, __: Keys) -> None:
        raise KeyError("a cache")

    async with paper.fetcher() as fetcher:
        issuer = Issuer(policy(), SOON, fetcher, fail)
        issuer.start()
        await paper.asked_again(6)
        assert issuer.state == "degraded"
        await issuer.stop()


async def test_keys_that_nobody_refreshes_show_before_they_are_stale() -> None:
    """Whatever ended the refreshing, `ok` ends with the TTL: no fetch has to fail for that."""
    async with watched(Paper(), KeyPolicy(ttl_s=100, stale_s=1000)) as issuer:
        assert (issuer.state, issuer.problem) == ("down", "not reached yet")
        assert await issuer.refresh()
        states = []
        for issuer.now[0] in (0, 99, 100, 999, 1000):
            states.append((issuer.state, issuer.problem))
        assert states == [("ok", ""), ("ok", ""), *[("degraded", OVERDUE)] * 2, ("down", OVERDUE)]
        assert await issuer.refresh()
        assert issuer.state == "ok"


async def test_the_pauses_between_tries_grow_and_a_success_ends_them() -> None:
    paper = Paper()
    async with watched(paper, KeyPolicy(ttl_s=0.001, retry_s=(0.0, 0.001))) as issuer:
        paper.documents[KEYS] = b"x"
        issuer.start()
        await paper.asked_again(12)
        paper.documents[KEYS] = {"keys": [EC]}
        for _ in range(3):
            await until(issuer.renewed)
        await issuer.stop()


async def test_it_can_be_started_again() -> None:
    """House fault 12."""
    paper = Paper()
    fetcher = paper.fetcher()
    issuer = Watched(fetcher)
    for _ in range(2):
        async with fetcher:
            issuer.start()
            await until(issuer.renewed)
            await issuer.stop()
        with pytest.raises(IssuerUnavailable, match="lifespan"):
            await fetcher.get_json(ISSUER)


async def test_a_fetch_ends_with_the_application_and_ends_no_caller() -> None:
    paper = Paper()
    paper.hold = asyncio.Event()
    async with watched(paper) as issuer:
        callers = [asyncio.create_task(issuer.key("k", "ES256", 0)) for _ in range(2)]
        await until(paper.waiting)
        callers[0].cancel()  # who hangs up ends nobody else's fetch
        await asyncio.wait(callers[:1])
        assert not callers[1].done()
        await issuer.stop()
        with pytest.raises(AccessDeniedError) as refused:
            await callers[1]
        assert refused.value.refusal.reason is DenialReason.ISSUER_AWAY
        paper.hold.set()
        assert (await issuer.key("k", "ES256", 0)).thumbprint == paper.key.thumbprint()


@pytest.mark.requirement("25.17", "27.3")
async def test_a_flood_of_unknown_kids_makes_two_fetches() -> None:
    paper = Paper()
    async with watched(paper) as issuer:
        assert await issuer.refresh()
        paper.asked.clear()
        for _ in range(10):
            outcomes = await asyncio.gather(
                *(issuer.key(f"k{number}", "ES256", 0) for number in range(100)), return_exceptions=True
            )
            reasons = {one.refusal.reason for one in outcomes if isinstance(one, AccessDeniedError)}
            assert reasons == {DenialReason.UNKNOWN_KEY}
        assert paper.asked == [METADATA, KEYS] * 2
        with pytest.raises(AccessDeniedError) as refused:
            await issuer.key("k", "RS256", 0)  # known, and not for this algorithm
        assert refused.value.refusal.reason is DenialReason.UNKNOWN_KEY
        assert paper.asked == [METADATA, KEYS] * 2


async def test_the_second_place_of_the_metadata_is_looked_at() -> None:
    paper = Paper()
    document = paper.documents.pop(METADATA)
    async with watched(paper) as issuer:
        assert not await issuer.refresh()
        paper.documents["/.well-known/oauth-authorization-server/realms/mcp"] = document
        assert await issuer.refresh()


@pytest.mark.parametrize("endpoint", ["https://[x", 5, "http://kc.example:x/i", None])
async def test_an_introspection_endpoint_that_cannot_be_used_is_none(endpoint: Any) -> None:
    paper = Paper()
    paper.documents[METADATA] = metadata(introspection_endpoint=endpoint)
    async with watched(paper) as issuer:
        assert await issuer.introspection_endpoint() is None
        assert issuer.state == "ok"


async def test_a_token_endpoint_is_known_once_the_issuer_is() -> None:
    paper = Paper()
    paper.documents[METADATA] = OSError("away")
    async with watched(paper) as issuer:
        assert await issuer.token_endpoint() is None
        paper.documents[METADATA] = metadata(token_endpoint=ISSUER + "/token")
        assert [await issuer.token_endpoint() for _ in range(3)] == [ISSUER + "/token"] * 3
        assert paper.asked.count(METADATA) == 2


async def test_nobody_can_be_asked_where_the_issuer_was_never_reached() -> None:
    paper = Paper()
    paper.documents[METADATA] = OSError("away")
    async with watched(paper) as issuer:
        for _ in range(3):  # of which two may ask
            with pytest.raises(AccessDeniedError) as refused:
                await issuer.introspection_endpoint()
            assert refused.value.refusal.reason is DenialReason.ISSUER_AWAY


async def test_a_token_newer_than_the_keys_is_left_open_in_the_cooldown() -> None:
    async with watched(Paper()) as issuer:
        assert await issuer.refresh()
        for _ in range(2):
            with pytest.raises(AccessDeniedError):
                await issuer.key("stranger", "ES256", 0)
        with pytest.raises(AccessDeniedError) as refused:
            await issuer.key("new", "ES256", 2**40)
        assert refused.value.refusal.reason is DenialReason.ISSUER_AWAY
