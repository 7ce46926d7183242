"""Expiring map: a bounded dictionary whose values end by themselves, with a count of what each owner holds.

A write costs the same however full it is.
Expiry is a timer wheel with a slot a second, the greatest owner is a heap that is corrected when it is looked at: no
write looks at all entries, which a caller could make it do again and again.
"""

import heapq
from collections.abc import Callable
from typing import Final

from mcp_server.store.backend import OVERHEAD, RENEWED_BELOW, StoreFull, room_for

_SPARE: Final = 64
"""Entries of the heap beyond two for each owner before it is made anew."""


class _Holder:
    """What one owner keeps, the oldest first."""

    __slots__ = ("keys", "size")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.size = 0

    @property
    def weight(self) -> int:
        return self.size + OVERHEAD * len(self.keys)


class ExpiringMap:
    """Expiring map for values of one kind; those that it `keeps` do not make room for others."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float], *, keeps: bool = False) -> None:
        self._clock, self._keeps = clock, keeps
        self._entries: dict[str, tuple[bytes, float, str]] = {}
        self._holders: dict[str, _Holder] = {}
        self._greatest: list[tuple[int, str]] = []
        self._slots: dict[int, dict[str, None]] = {}
        self._swept = int(clock())
        self._bytes = 0
        self._max_entries, self._max_bytes = max_entries, max_bytes

    def get(self, key: str, renew_s: float | None) -> bytes | None:
        """The value if its time is not over; renewed, it is its owner's newest."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires, owner = entry
        now = self._clock()
        if expires <= now:
            self.drop(key)
            return None
        if renew_s is not None and expires - now < renew_s * RENEWED_BELOW:
            self._move(key, expires, now + renew_s)
            self._entries[key] = (value, now + renew_s, owner)
            keys = self._holders[owner].keys
            del keys[key]
            keys[key] = None  # stands last again
        return value

    def left(self, key: str) -> float:
        """The seconds that a value is kept for yet."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(entry[1] - self._clock(), 0.0)

    def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        """Keep a value; raises `StoreFull` where nothing may make room for it."""
        self._expire()
        if self._keeps and not self._fits(key, value):
            self.sweep()
            if not self._fits(key, value):
                raise StoreFull("no room")
        self.drop(key)
        expires = self._clock() + ttl_s
        self._entries[key] = (value, expires, owner)
        self._slots.setdefault(int(expires), {})[key] = None
        holder = self._holders.setdefault(owner, _Holder())
        holder.keys[key] = None
        holder.size += len(value)
        self._bytes += len(value)
        if not self._keeps:
            self._grown(owner, holder)
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self.drop(next(iter(self._holders[self._greatest_owner()].keys)))  # nobody pushes out those with less

    def claim(self, key: str, ttl_s: float, token: bytes, owner: str, limit: int) -> bool:
        """Keep a token where none stands; one owner may keep so many bytes, the empty one as many as there is room."""
        if self.get(key, None) is not None:
            return False
        if owner and self.held(owner) + OVERHEAD > limit:
            self.sweep()
            if self.held(owner) + OVERHEAD > limit:
                raise StoreFull("too many claims of one owner")
        self.set(key, token, ttl_s, owner)
        return True

    def held(self, owner: str, without: str = "") -> int:
        """What an owner keeps, the value of one key left out."""
        holder = self._holders.get(owner)
        if holder is None:
            return 0
        old = self._entries[without][0] if without in holder.keys else None
        return holder.weight - (0 if old is None else len(old) + OVERHEAD)

    def drop(self, key: str) -> None:
        """Forget a value."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        value, expires, owner = entry
        self._unslot(key, expires)
        self._bytes -= len(value)
        holder = self._holders[owner]
        holder.size -= len(value)
        del holder.keys[key]
        if not holder.keys:
            del self._holders[owner]

    def sweep(self) -> None:
        """Drop all that has expired."""
        self._expire()
        now = self._clock()
        for key in [key for key in self._slots.get(int(now), ()) if self._entries[key][1] <= now]:
            self.drop(key)

    def _expire(self) -> None:
        """Drop what expired in the seconds that are over: each entry is looked at once, whoever writes."""
        now = int(self._clock())
        if not self._slots:
            self._swept = now
        while self._swept < now:
            for key in list(self._slots.get(self._swept, ())):
                self.drop(key)
            self._swept += 1

    def _move(self, key: str, expires: float, later: float) -> None:
        self._unslot(key, expires)
        self._slots.setdefault(int(later), {})[key] = None

    def _unslot(self, key: str, expires: float) -> None:
        slot = self._slots[int(expires)]
        del slot[key]
        if not slot:
            del self._slots[int(expires)]

    def _fits(self, key: str, value: bytes) -> bool:
        old = self._entries.get(key)
        more = len(value) - (len(old[0]) if old else 0)
        room = room_for(value, self._max_bytes)
        return self._bytes + more <= room and (old is not None or len(self._entries) < self._max_entries)

    def _grown(self, owner: str, holder: _Holder) -> None:
        heapq.heappush(self._greatest, (-holder.weight, owner))
        if len(self._greatest) > 2 * len(self._holders) + _SPARE:
            self._greatest = [(-one.weight, name) for name, one in self._holders.items()]
            heapq.heapify(self._greatest)

    def _greatest_owner(self) -> str:
        """Who keeps most: what the heap says of an owner is never too little, and what is too much is put right."""
        while True:
            weight, owner = self._greatest[0]
            holder = self._holders.get(owner)
            if holder is None:
                heapq.heappop(self._greatest)
            elif holder.weight != -weight:
                heapq.heapreplace(self._greatest, (-holder.weight, owner))
            else:
                return owner
