"""What a session leaves in the store: nothing, where it was ended, whatever was opened in it, and when."""

from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.session import Session, Sessions
from mcp_server.sessions.subscriptions import Subscription, SubscriptionLimits, Subscriptions
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend


def kept(backend: InMemoryBackend) -> list[str]:
    return [key for room in backend._kinds.values() for key in room._entries]


def stream(session: Session, token: str) -> Subscription:
    return Subscription(session.principal_key, SubscriptionFilter(), session=session.id, token=token)


async def test_who_opens_and_ends_sessions_with_streams_leaves_nothing() -> None:
    """Each left the name of its newest stream for an hour, which nobody's bound counts in a Redis."""
    backend = InMemoryBackend()
    bus = EventBus(backend)
    sessions, streams = Sessions(bus), Subscriptions(bus, SubscriptionLimits())
    for number in range(3):
        session = await sessions.open("alice", "2025-11-25", {})
        listener = stream(session, str(number))
        assert streams.add(listener)
        await streams.opened(listener)
        assert await sessions.close(session.id, "alice")
    assert kept(backend) == []


async def test_a_stream_that_opens_while_its_session_ends_leaves_nothing() -> None:
    backend = InMemoryBackend()
    bus = EventBus(backend)
    sessions, streams = Sessions(bus), Subscriptions(bus, SubscriptionLimits())
    session = await sessions.open("alice", "2025-11-25", {})
    listener = stream(session, "t")
    assert streams.add(listener)
    assert await sessions.close(session.id, "alice")
    await streams.opened(listener)
    assert listener.ended
    assert kept(backend) == []
