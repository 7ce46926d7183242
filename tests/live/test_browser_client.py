"""Keycloak's login and consent pages in a real Chromium, for a client that is a page: CORS from end to end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.kit.authorities import Authority
from tests.kit.background import served_in_a_thread
from tests.kit.stack import running_mcp
from tests.live.test_browser import CHROMIUM, FLAGS

PAGE = Path(__file__).parents[1] / "browser" / "client.html"
ORIGIN = "http://localhost:6274"
pytestmark = pytest.mark.live


@contextmanager
def page_server() -> Iterator[None]:
    """The client's page, at the origin that the realm lists for MCP Inspector."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE.read_bytes())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 6274), Handler)
    server.daemon_threads = True
    with served_in_a_thread(server):
        yield


async def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def test_a_page_registers_logs_in_and_calls(authority: Authority, tmp_path: Path) -> None:
    async with running_mcp(tmp_path, authority.issuer, authority.resource) as running, async_playwright() as driver:
        browser = await driver.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS, viewport={"width": 900, "height": 900}
        )
        page = await browser.new_page()
        with page_server():
            await page.goto(f"{ORIGIN}/?resource={running.resource}")
            await page.get_by_label("Username").fill("bob")
            await page.locator("input[name=password]").fill("wrong")
            await picture(page, f"{authority.name}-login")
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_text("Invalid username or password").first.wait_for()
            await page.get_by_label("Username").fill("bob")
            await page.locator("input[name=password]").fill("bob")
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_text("Change things through the MCP server").wait_for()
            await picture(page, f"{authority.name}-consent")
            await page.get_by_role("button", name="Yes").or_(page.get_by_role("button", name="Allow")).click()
            await page.get_by_text("bob ordered 4 of bowl").wait_for()
            await picture(page, f"{authority.name}-called")
        await browser.close()
