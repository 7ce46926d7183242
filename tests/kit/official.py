"""What the official clients need around them: a memory, a person at a browser, a process for the one of TypeScript."""

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthToken

from devstack.login import authorize, browser
from tests.conformance.suite import NODE

ROOT = Path(__file__).parents[2]
REDIRECT = "http://127.0.0.1:33418/callback"
_at_the_browser = threading.Lock()


class Memory:
    """What a client of Python remembers of a server; `held` has every access token that it had."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self.tokens: OAuthToken | None = None
        self.client = client
        self.held: list[str] = []

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.held.append(tokens.access_token)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Someone at a browser, who logs in and allows."""

    def __init__(self, user: str) -> None:
        self.user, self.answer = user, dict[str, str]()
        self.logins = 0

    async def open(self, url: str) -> None:
        self.logins += 1
        self.answer = await asyncio.to_thread(self._log_in, url)

    def _log_in(self, url: str) -> dict[str, str]:
        """One person at a time: Keycloak takes two logins of one user at once for an attack on the password."""
        with _at_the_browser, browser() as screen:
            return authorize(screen, url, self.user)

    async def come_back(self) -> AuthorizationCodeResult:
        fields = {name: self.answer.get(name) for name in ("code", "state", "iss")}
        return AuthorizationCodeResult(**{name: value for name, value in fields.items() if value is not None})


async def typescript(script: str, *arguments: str, user: str = "bob") -> dict[str, Any]:
    """What a script of `tests/node` says it did: a line that is an address is one where the person logs in."""
    person, pipe = Person(user), asyncio.subprocess.PIPE
    command = (str(NODE), str(ROOT / "tests" / "node" / script), *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(os.environ), stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    async with asyncio.timeout(60):
        async for line in process.stdout:
            text = line.decode().strip()
            if not text.startswith("http"):
                break
            await person.open(text)
            came_back = "&".join(f"{name}={value}" for name, value in person.answer.items())
            process.stdin.write(came_back.encode() + b"\n")
        else:
            raise AssertionError((await process.stderr.read()).decode())
        await process.wait()
    said: dict[str, Any] = json.loads(text)
    return said
