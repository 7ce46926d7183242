"""A stream ends with the token that opened it, where that is revoked."""

from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.subscriptions import Subscription, SubscriptionLimits, Subscriptions
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, RevocationList
from tests.kit.principals import principal


def test_a_stream_ends_with_the_token_that_opened_it_where_that_is_revoked() -> None:
    revoked = Revocation(issuer="https://issuer", kind="sub", name="alice", before=10, until=EVER)
    known = RevocationList()
    streams = Subscriptions(EventBus(InMemoryBackend()), SubscriptionLimits(), over=known.over)

    def opened(subject: str | None) -> Subscription:
        listener = Subscription("p", SubscriptionFilter())
        listener.principal = None if subject is None else principal(subject=subject)
        assert streams.add(listener)
        return listener

    alice, bob, nobody = opened("alice"), opened("bob"), opened(None)
    assert known.add(revoked)
    assert streams.revoked(revoked) == 1
    assert (alice.ended, bob.ended, nobody.ended) == (True, False, False)
    assert [opened(name).ended for name in ("alice", "bob", None)] == [True, False, False]
