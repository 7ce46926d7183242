"""How many handlers one principal may have running at once: a call goes on when its client has hung up."""


class Room:
    """Counts by principal; those who have nothing running take no memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[str, int] = {}

    def enter(self, who: str) -> bool:
        """Whether there is room for one more; then `leave` must follow."""
        running = self._running.get(who, 0)
        if running >= self._limit:
            return False
        self._running[who] = running + 1
        return True

    def leave(self, who: str) -> None:
        """One has ended."""
        running = self._running.pop(who) - 1
        if running:
            self._running[who] = running
