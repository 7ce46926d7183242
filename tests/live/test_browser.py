"""The login and consent pages, driven in a real Chromium while the official client waits."""

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult
from playwright.async_api import Page, async_playwright

from tests.flows.test_first_login import metadata
from tests.kit.official import REDIRECT, Memory
from tests.kit.stack import Stack

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Screen:
    """A person at a real browser; pictures go to `SCREENSHOTS` where that is set."""

    def __init__(self, page: Page) -> None:
        self.page, self.answer = page, dict[str, list[str]]()

    async def open(self, url: str) -> None:
        async with self.page.expect_request(lambda request: request.url.startswith(REDIRECT)) as gone:
            await self.page.goto(url)
            await self.picture("login")
            await self.page.get_by_label("Username").fill("bob")
            await self.page.get_by_label("Password").fill("wrong")
            await self.page.get_by_role("button", name="Sign in").click()
            assert "Invalid username or password" in await self.page.get_by_role("alert").inner_text()
            await self.page.get_by_label("Username").fill("bob")
            await self.page.get_by_label("Password").fill("bob")
            await self.page.get_by_role("button", name="Sign in").click()
            assert "Change things through the MCP server" in await self.page.locator("ul").inner_text()
            await self.picture("consent")
            await self.page.get_by_role("button", name="Allow").click()
        self.answer = parse_qs(urlsplit((await gone.value).url).query)

    async def picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder) / f"{name}.png")

    async def come_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            code=self.answer["code"][0], state=self.answer["state"][0], iss=self.answer["iss"][0]
        )


@pytest.mark.live
async def test_bob_logs_in_and_allows_in_a_browser(stack: Stack, tmp_path: Path) -> None:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 800, "height": 700}
        )
        page = await browser.new_page()
        await page.route(f"{REDIRECT}**", lambda route: route.fulfill(body="You may close this page."))
        screen = Screen(page)
        provider = OAuthClientProvider(stack.resource, metadata(), Memory(), screen.open, screen.come_back)
        async with httpx2.AsyncClient(auth=provider, trust_env=False, timeout=60) as http:
            async with Client(streamable_http_client(stack.resource, http_client=http)) as client:
                result = await client.call_tool("create_order", {"item": "lamp", "quantity": 1})
        await browser.close()
    assert result.structured_content
    assert result.structured_content["created_by"] == "bob"
