"""Rotation of secrets while they are used: what each part of an application does with a new one, in one place.

A part that is added follows its setting here, by the name of its field.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from mcp_server.auth.authenticator import Authenticator
from mcp_server.engine.runtime import Runtime
from mcp_server.observe.log import logger
from mcp_server.observe.sampling import Lasting
from mcp_server.observe.telemetry.exporting import Telemetry
from mcp_server.settings import Settings
from mcp_server.settings.live import LiveSettings
from mcp_server.store.backend import Readdressed, StoreUnavailable

if TYPE_CHECKING:
    from mcp_server.rest.importing.live_apis import LiveApis

SEAL_AFTER_S: Final = 3.0
"""A new first key only opens for so long: until then other workers of this server may not have it yet."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an application that have a secret."""

    authenticator: Authenticator
    runtime: Runtime
    telemetry: Telemetry
    apis: "LiveApis | None"


def follow(live: LiveSettings, parts: Parts) -> None:
    """Have the parts of an application take over what is rotated."""
    rotation = _Rotation(live, parts)
    live.follow("client_secret", rotation.client_secret)
    live.follow("state_keys", rotation.state_keys)
    live.follow("redis_url", rotation.redis_url)
    live.follow("upstream_secrets", rotation.upstream_secrets)
    live.follow("otlp_headers", rotation.otlp_headers)


class _Rotation:
    def __init__(self, live: LiveSettings, parts: Parts) -> None:
        self._authenticator, self._runtime, self._apis = parts.authenticator, parts.runtime, parts.apis
        self._telemetry = parts.telemetry
        self._keys = live.current.engine.sealing_keys()
        self._store_away = Lasting()

    async def client_secret(self, settings: Settings) -> bool:
        """Where there was none, what needs one was never made; where there is none any more, it goes on as it is."""
        if "" in (settings.auth.secret(), next(iter(self._authenticator.own_secret))):
            return False
        self._authenticator.own_secret.renew(settings.auth.secret())
        return True

    async def state_keys(self, settings: Settings) -> bool:
        """First everybody opens with the new ones, then who has a new first key seals with it."""
        before, keys = self._keys, settings.engine.sealing_keys()
        if keys[0] != before[0]:
            self._seal_with(dict.fromkeys((before[0], *keys)), settings)
            await asyncio.sleep(SEAL_AFTER_S)
        self._seal_with(dict.fromkeys(keys), settings)
        self._keys = keys
        return True

    def _seal_with(self, keys: dict[bytes, None], settings: Settings) -> None:
        self._runtime.renew_keys(tuple(keys), stated=settings.engine.keys_stated)
        self._authenticator.renew_keys(tuple(keys))

    async def redis_url(self, settings: Settings) -> bool:
        """A store that cannot be reached by the new address is served by the old one, until it can."""
        backend, url = self._runtime.bus.backend, settings.store.redis_url
        if url is None or not isinstance(backend, Readdressed):
            return False
        try:
            await backend.renew(url.get_secret_value())
        except StoreUnavailable as error:
            kind = type(error.__cause__).__name__
            if self._store_away.tells(kind):
                logger.warning("the new address of the store cannot be used yet; the old one is", kind=kind)
            return False
        self._store_away.over()
        return True

    async def upstream_secrets(self, settings: Settings) -> bool:
        """A name that an API wants and that is gone: all stay as they are."""
        return self._apis is None or self._apis.renew_secrets(settings.rest.secrets())

    async def otlp_headers(self, settings: Settings) -> bool:
        """Also where there were none, or are none any more."""
        self._telemetry.renew(settings.observe.headers_of_telemetry())
        return True
