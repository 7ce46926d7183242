"""Settings that change while they are used: who follows one takes its new value over, all others need a new start."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

from mcp_server.observe.log import logger
from mcp_server.observe.sampling import Lasting
from mcp_server.settings.group import Group
from mcp_server.settings.model import GROUPS, Settings
from mcp_server.settings.report import variable

LIVE: Final = frozenset({"client_secret", "otlp_headers", "redis_url", "state_keys", "upstream_secrets"})
"""What workers take over without being replaced; each has its follower in `rotation.py`."""
Follower = Callable[[Settings], Awaitable[bool]]
"""Takes the new value over; false where that is not possible, or not yet."""


class LiveSettings:
    """The settings of one process, as it uses them."""

    def __init__(self, settings: Settings) -> None:
        self.current = settings
        """What was read last, whether all of it is in use or not."""
        self._used = {name: _value(settings, name) for name in _names()}
        self._followers: dict[str, Follower] = {}
        self._failing: defaultdict[str, Lasting] = defaultdict(Lasting)

    def follow(self, name: str, take: Follower) -> None:
        """Have `take` called with the settings while this one, by the name of its field, is another than is used."""
        self._followers[name] = take

    async def renew(self, settings: Settings) -> None:
        """Have all that is new taken over; one that fails keeps none of the others from it."""
        self.current = settings
        await asyncio.gather(*(self._take(name, take, settings) for name, take in self._followers.items()))

    async def _take(self, name: str, take: Follower, settings: Settings) -> None:
        new = _value(settings, name)
        if new != self._used[name] and await self._taken(name, take, settings):
            self._used[name] = new
            logger.info("a setting has changed, and the new one is in use", setting=variable(name))

    @property
    def pending(self) -> bool:
        """Whether something that is followed could not be taken over yet."""
        return any(self._used[name] != _value(self.current, name) for name in self._followers)

    @property
    def stale(self) -> list[str]:
        """What is used here and was read otherwise since."""
        return sorted(name for name, used in self._used.items() if used != _value(self.current, name))

    async def _taken(self, name: str, take: Follower, settings: Settings) -> bool:
        try:
            taken = await take(settings)
        except Exception as error:  # noqa: BLE001 - its text may have the value
            kind = type(error).__name__
            if self._failing[name].tells(kind):
                logger.error("a setting has changed, and could not be taken over", setting=variable(name), kind=kind)
            return False
        self._failing[name].over()
        return taken


def changed(old: Settings, new: Settings) -> frozenset[str]:
    """The fields that differ."""
    return frozenset(name for name in _names() if _value(old, name) != _value(new, name))


def needs_start(old: Settings, new: Settings) -> frozenset[str]:
    """Those of them that workers cannot take over: all but other secrets where there were some, by the same names."""
    unlike = {name for name in ("client_secret", "redis_url") if None in (_value(old, name), _value(new, name))}
    if not old.rest.upstream_secrets.keys() <= new.rest.upstream_secrets.keys():
        unlike.add("upstream_secrets")
    return changed(old, new) - (LIVE - unlike)


_GROUP_OF: Final = {field: group for group, model in GROUPS.items() for field in model.model_fields}


def _names() -> list[str]:
    return list(_GROUP_OF)


def _value(settings: Settings, name: str) -> object:
    group: Group = getattr(settings, _GROUP_OF[name])
    return getattr(group, name)
