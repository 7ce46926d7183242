"""The official suite's `authorization` command against an issuer: it sends a person to log in, whom we play."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from devstack.login import authorize, browser
from tests.conformance.suite import NODE, SUITE, Outcome, read_checks


async def run_authorization(issuer: str, resource: str, folder: Path, *more: str) -> Outcome:
    """Run the command with the pre-registered client; bob logs in wherever it asks for it."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(SUITE), "authorization", "--url", issuer, "--client-id", "mcp-public"),
        *("--resource", resource, "-o", str(folder), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = []
    assert process.stdout
    async for line in process.stdout:
        text = line.decode(errors="replace").strip()
        said.append(text)
        if text.startswith("http") and "/auth?" in text:
            await asyncio.to_thread(_log_in, text)
    status = await process.wait()
    counts, bad = read_checks(folder)
    if not counts:
        bad.append("\n".join(said)[-2000:])
    return Outcome("authorization", status, counts, bad)


def _log_in(url: str) -> None:
    back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
    with browser() as person:
        answer = authorize(person, url, "bob")
    httpx.get(f"{back}?{urlencode(answer)}", trust_env=False)
