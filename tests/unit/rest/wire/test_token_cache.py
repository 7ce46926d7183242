import random
from typing import Any

from mcp_server.rest.wire.grants import Issued, Wanted
from mcp_server.rest.wire.token_cache import TokenCache, TokenKey
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.principals import principal

READ = Wanted(audience="orders-api", scopes=frozenset({"orders:read"}))
FOREVER = float("inf")


def key(subject: bytes = b"a", audience: str = "orders-api", *scopes: str, issuer: str = "i") -> TokenKey:
    return TokenKey(issuer, subject, Wanted(audience=audience, scopes=frozenset(scopes or {"orders:read"})))


def test_a_token_ends_half_a_minute_before_the_earlier_end() -> None:
    for issued, subject in ((1000.0, 5000.0), (5000.0, 1000.0)):
        cache = TokenCache()
        cache.put(key(), Issued("t", issued), subject, now=0)
        assert [cache.get(key(), at) for at in (0, 969.9, 970)] == ["t", "t", None]
        assert len(cache) == 0


def test_a_token_with_no_time_left_is_not_kept_and_takes_the_older_one_with_it() -> None:
    cache = TokenCache()
    cache.put(key(), Issued("t", 1000), FOREVER, now=0)
    cache.put(key(), Issued("u", 30), FOREVER, now=0)
    assert cache.get(key(), 0) is None


def test_issuer_subject_audience_and_scopes_are_told_apart() -> None:
    cache = TokenCache()
    keys = [
        key(), key(b"b"), key(b"a", "other"), key(b"a", "orders-api", "orders:write"), key(issuer="j"), key(b""),
        key(b"a", "orders-api", "orders:read", "orders:write"),
    ]  # fmt: skip
    for number, one in enumerate(keys):
        cache.put(one, Issued(str(number), 1000), FOREVER, now=0)
    assert [cache.get(one, 0) for one in keys] == [str(number) for number in range(len(keys))]


def test_it_is_bounded_and_the_oldest_goes() -> None:
    cache = TokenCache(most=3)
    for number in range(5):
        cache.put(key(bytes([number])), Issued(str(number), 1000), FOREVER, now=0)
    assert [cache.get(key(bytes([number])), 0) for number in range(5)] == [None, None, "2", "3", "4"]
    cache.put(key(bytes([2])), Issued("new", 1000), FOREVER, now=0)
    assert len(cache) == 3


def test_a_token_that_was_replaced_by_now_is_not_dropped() -> None:
    cache = TokenCache()
    cache.put(key(), Issued("new", 1000), FOREVER, now=0)
    cache.drop(key(), "old")
    assert cache.get(key(), 0) == "new"
    cache.drop(key(), "new")
    cache.drop(key(), "new")
    assert cache.get(key(), 0) is None


def test_what_was_traded_for_a_login_that_is_over_is_found_whichever_way_others_went() -> None:
    cache, whose = TokenCache(most=3), [principal(subject=name) for name in ("a", "b", "c", "d", "e")]
    for number, one in enumerate(whose):
        cache.put(key(bytes([number])), Issued(str(number), 1000), FOREVER, 0, one)
    cache.put(key(b""), Issued("own", 1000), FOREVER, 0)
    cache.put(key(bytes([4])), Issued("new", 1000), FOREVER, 0, whose[4])
    assert [cache.end(revoked("sub", name)) for name in ("a", "c", "d", "d")] == [0, 0, 1, 0]
    assert cache.end(revoked("client", "client")) == 1
    assert (cache.get(key(b""), 0), cache.get(key(bytes([4])), 0)) == ("own", None)
    assert len(cache._by_marks) == 0


def revoked(kind: Any, name: str) -> Revocation:
    return Revocation(issuer="https://issuer", kind=kind, name=name, before=EVER, until=EVER)


KEYS = [key(bytes([user]), "orders-api", *scopes) for user in range(6) for scopes in (("r",), ("w",), ("r", "w"))]


def test_no_order_of_events_gives_one_caller_anothers_token() -> None:
    """10,000 interleavings: a token says whose it is and until when, and is met by nobody else and not later."""
    chance = random.Random(15)
    for _ in range(10_000):
        most, now = chance.randint(1, 8), 0.0
        cache = TokenCache(most)
        for number in range(12):
            now += chance.choice((0, 1, 20))
            whose = chance.randrange(len(KEYS))
            found = cache.get(KEYS[whose], now)
            if found is not None:
                owner, end, _ = found.split(" ")
                assert int(owner) == whose
                assert now < float(end) - 30
            if found is None or chance.random() < 0.2:
                until = now + chance.choice((0, 40, 100))
                cache.put(KEYS[whose], Issued(f"{whose} {until} {number}", until), until + 5, now)
            elif chance.random() < 0.3:
                cache.drop(KEYS[whose], found)
                assert cache.get(KEYS[whose], now) is None
            assert len(cache) <= most
