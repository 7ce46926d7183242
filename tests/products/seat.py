"""A seat: one product with a home of its own, before one server, and what it did there, as the wire tells it."""

import asyncio
import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from mcp_server.cli import main as mcp_server
from tests.products.catalogue import ALONE, ASK, NAME, Product
from tests.products.model import DONE, HOLD, SHOWN, Model
from tests.products.stack import DEMO, ROOT, Place
from tests.products.tap import Exchange
from tests.products.terminal import Terminal, opened

PACKAGES: Final = Path(__file__).parent / "node_modules"
LOGIN_S: Final = 90.0
ANSWER_S: Final = 240.0
USER: Final = "bob"


class Failed(Exception):
    """A product did not do what it should; the text says what was seen."""


class Seat:
    """Where a product sits."""

    def __init__(
        self,
        product: Product,
        place: Place,
        model: Model,
        home: Path,
        client_id: str | None = None,
        *,
        user: str = USER,
    ) -> None:
        self.product, self.place, self.home = product, place, home
        self._model, self._client_id, self._user = model, client_id, user
        self._tokens: set[str] = set()
        self.logged_in_at = 0.0
        self._lay_out()

    @property
    def title(self) -> str:
        """The product, where it sits and how it comes to a client id."""
        how = "by itself" if self._client_id is None else self._client_id
        return f"{self.product.title}, {self.place.name}, {how}"

    @property
    def version(self) -> str:
        """What npm installed."""
        return str(json.loads((PACKAGES / self.product.package / "package.json").read_text())["version"])

    def _lay_out(self) -> None:
        """Its home: files, the program under its own name, a browser with a person at it."""
        (self.home / "work").mkdir(parents=True)
        programs = self.home / "programs"
        programs.mkdir()
        (programs / self.product.ask[0]).symlink_to(PACKAGES / self.product.package / self.product.program)
        person = [sys.executable, "-m", "tests.products.person", self._user, str(self.home / "person.log")]
        for name in ("xdg-open", "browser"):
            script = programs / name
            script.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {shlex.join(person)} "$1"\n')
            script.chmod(0o755)
        for name, text in self.product.files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{model}", self._model.url))

    def _environment(self) -> dict[str, str]:
        programs = self.home / "programs"
        own = {name: value.replace("{model}", self._model.url) for name, value in self.product.environment.items()}
        return {
            "HOME": str(self.home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BROWSER": str(programs / "browser"),
            "LANG": "C.UTF-8",
            **ALONE,
            **own,
        }

    @asynccontextmanager
    async def running(self, *command: str) -> AsyncIterator[Terminal]:
        """One of its commands, in a terminal, until the block ends."""
        terminal = await opened(command, self.home / "work", self._environment())
        try:
            yield terminal
        finally:
            await terminal.stop()

    def _printed(self) -> str:
        """What `mcp-server client-config` prints for it."""
        asked = ["client-config", self.product.client, "--name", NAME, "--url", self.place.resource, "--server", DEMO]
        found = CliRunner().invoke(mcp_server, [*asked, *(["--client-id", self._client_id] if self._client_id else [])])
        if found.exit_code:
            raise Failed(f"client-config: {found.output}")
        return found.stdout

    async def log_in(self) -> None:
        """Give it what is printed and have bob log in; the wire must show a code redeemed."""
        text = self._printed()
        if self.product.pasted_into is None:
            await self._until_redeemed("sh", "-ec", text)
        else:
            path = self.home / self.product.pasted_into
            path.parent.mkdir(parents=True, exist_ok=True)
            own = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**own, **json.loads(text)}))
        if self.product.login is not None:
            await self._until_redeemed(*self.product.login)

    async def _until_redeemed(self, *command: str) -> None:
        async with self.running(*command) as terminal:
            typing = [asyncio.ensure_future(_typed(terminal, words, keys)) for words, keys in self.product.keys.items()]
            try:
                async with asyncio.timeout(LOGIN_S):
                    while not self._redeemed():
                        if '"error"' in self._person() or "failed:" in self._person():
                            raise Failed(f"the login was refused: {self._person()}")
                        await self.place.issuer_tap.changed()
                    self.logged_in_at = time.monotonic()
                    await self._settled(terminal)
            except TimeoutError as error:
                raise Failed(f"no code was redeemed: {self._person()}\n{terminal.screen[-1500:]}") from error
            finally:
                for one in typing:
                    one.cancel()

    async def _settled(self, terminal: Terminal) -> None:
        """Its own end, or for one that goes on a request with the new token: then the login is kept."""
        async with asyncio.timeout(LOGIN_S):
            while terminal.process.returncode is None and not self.requests("tools/list", 200):
                await self.place.server_tap.changed()

    def _redeemed(self) -> bool:
        """Whether the code that its person brought it was taken; keeps what it was given."""
        person = self._person()
        for one in self.place.issuer_tap.seen:
            code = one.form.get("code")
            if code and f'"{code}"' in person and one.status == 200 and one.finished and one.method == "POST":
                self._keep(one)
                return True
        return False

    def _keep(self, exchange: Exchange) -> None:
        answer = json.loads(exchange.answer)
        self._tokens.update({answer["access_token"], answer.get("refresh_token", "")} - {""})

    def refreshes(self) -> list[Exchange]:
        """Its requests for another token so far: what they bring is its own, too."""
        found = []
        for one in self.place.issuer_tap.seen:
            if one.form.get("refresh_token") in self._tokens and one.form.get("grant_type") == "refresh_token":
                found.append(one)
                if one.status == 200 and one.finished:
                    self._keep(one)
        return found

    def requests(self, method: str | None = None, status: int | None = None) -> list[Exchange]:
        """Its requests to the server, with a token of its own."""
        self.refreshes()
        found = []
        for one in self.place.server_tap.seen:
            scheme, _, token = one.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or token not in self._tokens:
                continue
            if (method is None or _method(one) == method) and status in {None, one.status}:
                found.append(one)
        return found

    def calls(self) -> list[Exchange]:
        """The calls that brought the orders."""
        return [one for one in self.requests("tools/call", 200) if SHOWN.encode() in one.answer]

    def refusals(self) -> list[str]:
        """What went wrong after the login: requests of its own that were refused, refreshes that failed."""
        refused = [f"{_method(one)} {one.status}" for one in self.requests() if one.status in {400, 401, 403, 404, 500}]
        return refused + [f"refresh {one.status} {one.answer[:200]!r}" for one in self.refreshes() if one.status != 200]

    async def ask(self, prompt: str = ASK) -> None:
        """One session that lists and calls twice and then ends well. Raises `Failed`."""
        async with self.running(*self.product.ask, prompt) as terminal:
            await self.finished(terminal, ANSWER_S)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[Terminal]:
        """A session that has called once and holds, until `release`. Raises `Failed`."""
        async with self.running(*self.product.ask, f"{ASK} Then {HOLD} {self.home.name}, and list them again.") as one:
            try:
                async with asyncio.timeout(ANSWER_S):
                    while not self.calls():
                        await self.place.server_tap.changed()
            except TimeoutError as error:
                raise Failed(f"did not call: {self.refusals()}\n{one.screen[-1500:]}") from error
            yield one

    def release(self) -> None:
        """Have the held session go on."""
        self._model.release(self.home.name)

    async def finished(self, terminal: Terminal, within_s: float) -> None:
        """Wait for the last answer and the end. Raises `Failed`."""
        try:
            await terminal.until(DONE, within_s=within_s)
            await terminal.ended(within_s)
        except TimeoutError as error:
            raise Failed(f"{self.title} did not end: {self.refusals()}\n{terminal.screen[-1500:]}") from error

    def _person(self) -> str:
        log = self.home / "person.log"
        return log.read_text() if log.exists() else "no browser was opened"


def _method(exchange: Exchange) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(exchange.body).get("method", ""))
    return exchange.method


async def _typed(terminal: Terminal, words: str, keys: str) -> None:
    await terminal.until(words, within_s=LOGIN_S)
    terminal.type(keys.encode())
