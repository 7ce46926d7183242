"""`python -m tests.products.person USER LOG URL`: the browser that a product opens, with a person at it.

Logs in, allows what is asked, and brings the answer to the product's own listener, as a browser would.
"""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from devstack.login import LoginFailed, authorize, browser


def main(user: str, log: str, url: str) -> None:
    """One login; a line about it goes to the log."""
    with Path(log).open("a", buffering=1) as file, browser() as person:
        file.write(f"{url}\n")
        try:
            came_back = authorize(person, url, user)
            file.write(f"  came back: {json.dumps(came_back)}\n")
            back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
            person.get(str(httpx.URL(back, params=came_back)), follow_redirects=True)
        except (LoginFailed, httpx.HTTPError, KeyError) as error:
            file.write(f"  failed: {type(error).__name__}: {error}\n")


main(*sys.argv[1:4])
