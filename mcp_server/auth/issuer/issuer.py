"""One issuer kept at hand: its metadata and keys, refreshed behind the calls, with one fetch in flight (design §6)."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from mcp_server.auth.issuer import discovery, keys
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.issuer.fetch import Fetcher, IssuerUnavailable
from mcp_server.auth.issuer.keys import NO_KEYS, Hit, IssuerKey, Keys, RefetchBudget
from mcp_server.auth.issuer.snapshot import Snapshot, Snapshots
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.observe import metrics
from mcp_server.observe.log import logger
from mcp_server.observe.supervised import supervise

REFRESH_AT: Final = 0.8  # of the TTL: keys are renewed before any call could find them old

UNUSABLE: Final = "unusable documents"
OVERDUE: Final = "not refreshed in time"
"""A probe's word for keys older than their TTL though no fetch failed: then nothing refreshes them."""

Clock = Callable[[], float]


class Issuer:
    """The state of one issuer; `on_keys` is told each new key set, so that caches can forget."""

    def __init__(
        self,
        policy: IssuerPolicy,
        key_policy: KeyPolicy,
        fetcher: Fetcher,
        on_keys: Callable[[str, Keys], None],
        *,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.policy = policy
        self.metadata: IssuerMetadata | None = None
        self.last_error = self._problem = "not reached yet"
        self._key_policy = key_policy
        self._fetcher = fetcher
        self._on_keys = on_keys
        self._clock, self._monotonic = clock, monotonic
        self._read_at = float("-inf")  # by the wall clock, to compare with `iat`
        self._keys = NO_KEYS
        self._allowance = RefetchBudget()
        self._in_flight: asyncio.Task[bool] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._snapshots = snapshots
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep it fresh from now on; does not wait, for a start without the issuer is allowed."""
        self._refreshing = asyncio.create_task(supervise(f"refresh of {self.policy.issuer}", self.keep_fresh))

    async def recall(self) -> None:
        """Begin with what was kept, where the issuer was not reached yet: it counts from when it was read.

        A clock that was set back makes it younger than it is, and so it is not believed then.
        """
        found = None if self._snapshots is None else await self._snapshots.newest(self.policy)
        if found is None or self._keys is not NO_KEYS:
            return
        age_s = self._clock() - found.read_at
        parsed = keys.parse(msgspec.json.decode(found.keys), fetched_at=self._monotonic() - age_s)
        if isinstance(parsed, str) or not 0 <= age_s < self._key_policy.stale_s:
            return
        self.metadata, self._keys, self._read_at = found.metadata, parsed, found.read_at
        self._on_keys(self.policy.issuer, parsed)
        logger.info("an issuer's keys are recalled", issuer=self.policy.issuer, age_s=round(age_s))

    async def stop(self) -> None:
        """Refresh no more, and end the fetch that is under way."""
        running = [task for task in (self._refreshing, self._in_flight, self._keeping) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._refreshing = self._in_flight = self._keeping = None

    @property
    def state(self) -> str:
        """`ok`; `degraded`: away, known keys still serve; `down`: nothing of this issuer can be judged."""
        if not self._usable():
            return "down"
        return "degraded" if self.problem else "ok"

    @property
    def problem(self) -> str:
        """What is wrong, in a probe's words, or empty; that nothing was tried in time is wrong, too."""
        overdue = self._monotonic() - self._keys.fetched_at >= self._key_policy.ttl_s
        return self._problem or (OVERDUE if overdue else "")

    async def key(self, kid: str, algorithm: str, issued_at: object) -> IssuerKey:
        """The key that a token names; raises `AccessDeniedError`, 503 where the issuer's absence leaves it open."""
        while True:
            found = self._look_up(kid, algorithm)
            if isinstance(found, Hit):
                return found.key
            if self._in_flight is not None:
                fetched = await self.refresh()
            elif found.then == "fetch":
                self._allowance.spend(self._monotonic())
                fetched = await self.refresh()
            else:
                raise self._unknown(kid, issued_at)
            if not fetched:
                raise self._away()

    def _look_up(self, kid: str, algorithm: str) -> keys.Hit | keys.Miss:
        known = self._keys if self._usable() else NO_KEYS
        allowed = self._allowance.left(self._key_policy, self._monotonic())
        return keys.look_up(known, kid, algorithm, allowed_to_fetch=allowed)

    def _unknown(self, kid: str, issued_at: object) -> AccessDeniedError:
        newer = isinstance(issued_at, int | float) and issued_at > self._read_at
        if self._problem or (newer and kid not in self._keys.kids):
            return self._away()
        return refuse(DenialReason.UNKNOWN_KEY, f"kid {kid!r} is not of the issuer, or not for this alg")

    def _away(self) -> AccessDeniedError:
        retry = max(1, int(self._key_policy.cooldown_s))
        return AccessDeniedError(
            AccessDenied(reason=DenialReason.ISSUER_AWAY, detail=self.last_error, retry_after_s=retry)
        )

    def _usable(self) -> bool:
        return self._monotonic() < self.keys_until

    @property
    def keys_until(self) -> float:
        """Until when, by the monotonic clock, keys are believed if nobody renews them; so is what they verified."""
        return self._keys.fetched_at + self._key_policy.stale_s

    async def introspection_endpoint(self) -> str | None:
        """Where opaque tokens are asked about; raises `AccessDeniedError` while the issuer was never reached."""
        if not await self._reached():
            raise self._away()
        return self.metadata.introspection_endpoint if self.metadata else None

    async def token_endpoint(self) -> str | None:
        """Where tokens are exchanged; None while the issuer was never reached, or where it names none."""
        await self._reached()
        return self.metadata.token_endpoint if self.metadata else None

    async def _reached(self) -> bool:
        """Whether there is metadata, fetched now if there is none and a fetch is allowed."""
        if self.metadata is not None:
            return True
        return self._allowance.left(self._key_policy, self._monotonic()) > 0 and await self._spend_and_refresh()

    async def _spend_and_refresh(self) -> bool:
        self._allowance.spend(self._monotonic())
        return await self.refresh()

    async def refresh(self) -> bool:
        """Fetch metadata and keys, or join the fetch that is under way; whether it succeeded."""
        if self._in_flight is None:
            self._in_flight = asyncio.create_task(self._fetch_once())
        fetching = self._in_flight
        await asyncio.wait([fetching])  # who hangs up ends nobody else's fetch, and `stop` cancels none of the callers
        return not fetching.cancelled() and fetching.result()

    async def _fetch_once(self) -> bool:
        """Ends being in flight from within: a callback would run later, and `key` would wait for what is done."""
        try:
            return await self._fetch()
        finally:
            self._in_flight = None

    async def _fetch(self) -> bool:
        try:
            metadata = await self._fetch_metadata()
            document = await self._fetcher.get_json(metadata.jwks_uri)
            parsed = keys.parse(document, fetched_at=self._monotonic())
            if isinstance(parsed, str):
                raise IssuerUnavailable(f"{metadata.jwks_uri}: {parsed}", UNUSABLE)
            self.metadata, self._keys, self._read_at = metadata, parsed, self._clock()
            self._on_keys(self.policy.issuer, parsed)
            self._keep(metadata, document)
        except IssuerUnavailable as error:
            self._note(error)
            return False
        except Exception as error:  # noqa: BLE001 - a document that nobody foresaw must end neither call nor refreshing
            logger.opt(exception=error).error("an issuer's document was not foreseen", issuer=self.policy.issuer)
            self._note(IssuerUnavailable(type(error).__name__, UNUSABLE))
            return False
        self._note(None)
        return True

    def _keep(self, metadata: IssuerMetadata, document: object) -> None:
        """For the next start, behind the callers who wait for the keys."""
        if self._snapshots is None:
            return
        if self._keeping is not None:
            self._keeping.cancel()
        snapshot = Snapshot(metadata, msgspec.Raw(msgspec.json.encode(document)), self._read_at)
        self._keeping = asyncio.create_task(self._snapshots.keep(self.policy, snapshot, self._key_policy.stale_s))

    async def _fetch_metadata(self) -> IssuerMetadata:
        first: tuple[str, str, int] | None = None
        for url in discovery.locations(self.policy.fetch_url or self.policy.issuer):
            try:
                parsed = discovery.parse(await self._fetcher.get_json(url), self.policy)
            except IssuerUnavailable as error:
                first = first or (str(error), error.problem, error.status)
                continue
            if isinstance(parsed, IssuerMetadata):
                return parsed
            raise IssuerUnavailable(f"{url}: {parsed}", UNUSABLE)
        said, problem, status = first or ("no location", "unreachable", 0)
        if status == 404:
            said = f"{said}: no issuer is there: look at its address, at the realm's name, in MCP_ISSUER"
        raise IssuerUnavailable(said, problem, status)

    def _note(self, error: IssuerUnavailable | None) -> None:
        had = self._problem
        self.last_error = str(error or "")
        self._problem = error.problem if error else ""
        metrics.key_fetches(self.policy.issuer, ok=error is None)
        if error is not None:
            logger.warning("issuer not usable", issuer=self.policy.issuer, why=str(error))
        elif had:
            logger.info("issuer reached", issuer=self.policy.issuer)

    async def keep_fresh(self) -> None:
        """Refresh before the TTL ends, and again and again while the issuer is away; ends when cancelled."""
        failures = 0
        while True:
            reached = await self.refresh()
            failures = 0 if reached else failures + 1
            pauses = self._key_policy.retry_s
            pause = pauses[min(failures, len(pauses)) - 1]
            await asyncio.sleep(self._key_policy.ttl_s * REFRESH_AT if reached else pause)
