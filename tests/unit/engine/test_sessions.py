from mcp_server.engine.sessions import IDLE_S, MAX_PER_PRINCIPAL, MAX_SESSIONS, MemorySessions


def test_sessions_expire_when_idle_and_live_on_when_used() -> None:
    store = MemorySessions()
    session = store.open("p", "2025-11-25", 0)
    assert store.find(session.id, "p", IDLE_S)
    assert store.find(session.id, "p", 2 * IDLE_S)
    assert store.find(session.id, "p", 3 * IDLE_S + 1) is None
    assert not store.close(session.id, "p")


def test_one_principal_has_so_many_and_its_oldest_goes_first() -> None:
    store = MemorySessions()
    other = store.open("other", "2025-11-25", 0)
    opened = [store.open("p", "2025-11-25", 0) for _ in range(MAX_PER_PRINCIPAL + 1)]
    assert store.find(opened[0].id, "p", 0) is None
    assert store.find(opened[1].id, "p", 0)
    assert store.find(other.id, "other", 0)


def test_all_together_are_bounded() -> None:
    store = MemorySessions()
    first = store.open("first", "2025-11-25", 0)
    for number in range(MAX_SESSIONS):
        store.open(f"p{number}", "2025-11-25", 0)
    assert store.find(first.id, "first", 0) is None
    assert len(store._by_id) == MAX_SESSIONS
