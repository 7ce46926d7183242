"""Whose clients may come: publishers of client ID metadata documents, and products with redirects on the internet."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
EDITOR_REDIRECTS: Final = (
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "https://vscode.dev/redirect",
    "https://insiders.vscode.dev/redirect",
)
"""Where editors on a person's own machine are called back, besides loopback."""
_HOST: Final = re.compile(r"(?!-)[a-z0-9.-]+\.[a-z]{2,}(:\d{1,5})?")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


class NotAllowed(ValueError):
    """What `--allow` or `--publisher` cannot mean; the text says what it can."""


class Product(msgspec.Struct, frozen=True):
    """A product whose codes go to a site of its own: fixed addresses, or one with what `--allow` names in it."""

    fixed: tuple[str, ...] = ()
    pattern: str = ""
    needs: str = ""


PRODUCTS: Final = {
    "claude.ai": Product(
        ("https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"),
    ),
    "chatgpt": Product(
        ("https://chatgpt.com/connector_platform_oauth_redirect",),
        "https://chatgpt.com/connector/oauth/{}",
        "CALLBACK_ID",
    ),
    "copilot-studio": Product(
        ("https://global.consent.azure-apim.net/redirect",),
        "https://global.consent.azure-apim.net/redirect/{}",
        "CONNECTOR_ID",
    ),
    "librechat": Product((), "https://{}/api/mcp/{}/oauth/callback", "HOST/SERVER_NAME"),
    "open-webui": Product((), "https://{}/oauth/clients/mcp:{}/callback", "HOST/CONNECTION_ID"),
}
"""As their documentation or their source gives them (2026-11). A pattern takes exactly what an operator names."""


class Publisher(msgspec.Struct, frozen=True):
    """Where a publisher's documents lie, and the hosts that such a document may name."""

    host: str
    names: tuple[str, ...]


PUBLISHERS: Final = {
    "vscode": Publisher("vscode.dev", ("vscode.dev", "*.vscode.dev", "code.visualstudio.com", *LOOPBACK)),
    "claude": Publisher("claude.ai", ("claude.ai", *LOOPBACK)),
    "codex": Publisher("chatgpt.com", ("chatgpt.com", *LOOPBACK)),
    "copilot": Publisher("github.com", ("github.com", *LOOPBACK)),
    "zed": Publisher("zed.dev", ("zed.dev", *LOOPBACK)),
    "opencode": Publisher("opencode.ai", ("opencode.ai", *LOOPBACK)),
}
"""Clients send their document's address wherever the metadata says that documents are understood, and do not fall back
to registration where their publisher is not on this list: all that are known are."""


def redirects(allowed: Iterable[str]) -> tuple[str, ...]:
    """The exact redirects of what `--allow` names (`chatgpt`, `librechat=HOST/NAME`); raises `NotAllowed`."""
    return tuple(dict.fromkeys(uri for one in allowed for uri in _of(one)))


def publishers(hosts: Iterable[str]) -> dict[str, Publisher]:
    """All whose documents are believed, `hosts` among them, each with loopback; raises `NotAllowed`."""
    known = {one.host for one in PUBLISHERS.values()}
    more = {host: Publisher(host, (_checked(_HOST, host), *LOOPBACK)) for host in hosts if host not in known}
    return {**PUBLISHERS, **more}


def _of(allowed: str) -> tuple[str, ...]:
    name, _, value = allowed.partition("=")
    product = PRODUCTS.get(name)
    if product is None:
        raise NotAllowed(f"{name!r} is no product known here: {', '.join(PRODUCTS)}")
    if not value:
        if not product.fixed:
            raise NotAllowed(f"{name} needs {name}={product.needs}")
        return product.fixed
    if not product.pattern:
        raise NotAllowed(f"{name} takes no value")
    host, slash, rest = value.partition("/")
    if "/" not in product.needs:
        return (*product.fixed, product.pattern.format(_checked(_NAME, value)))
    if not slash:
        raise NotAllowed(f"{name} needs {name}={product.needs}")
    return (product.pattern.format(_checked(_HOST, host), _checked(_NAME, rest)),)


def _checked(shape: re.Pattern[str], text: str) -> str:
    """Nothing that could mean more than one address."""
    if not shape.fullmatch(text):
        raise NotAllowed(f"{text!r} is not what stands in an address")
    return text
