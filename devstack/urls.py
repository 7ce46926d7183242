"""URLs on the command line: what is none is told by its option, and not by a child that ends, or a traceback."""

import re
from typing import Final
from urllib.parse import urlsplit

import httpx
import rich_click as click

_HERE: Final = ("localhost", "127.0.0.1")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/-]*").fullmatch


def url(text: str) -> str:
    """The type of an option: an absolute http(s) URL with a host, and a port that can be one; ends the command."""
    if not _opens(text):
        raise click.BadParameter("must be an absolute http(s) URL, such as http://localhost:8000/mcp")
    return text


def local_url(text: str) -> str:
    """The same of something that is started here."""
    parts = urlsplit(url(text))
    odd = "?" in text or "#" in text or "@" in parts.netloc
    if parts.scheme != "http" or parts.hostname not in _HERE or odd or not _PATH(parts.path):
        raise click.BadParameter("must be http://localhost:PORT/PATH: what is started listens here alone, without TLS")
    return text


def _opens(text: str) -> bool:
    try:
        parts, opened = urlsplit(text), httpx.URL(text)
        return parts.scheme in ("http", "https") and parts.port != 0 and bool(parts.hostname and opened.host)
    except (ValueError, httpx.InvalidURL):
        return False
