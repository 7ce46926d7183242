"""`python -m tests.products.person USER LOG URL`: the browser that a product opens, with a person at it.

Logs in, allows what is asked, and brings the answer to the product's own listener, as a browser would.
"""

import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from devstack.login import LoginFailed, authorize, browser


def main(user: str, log: str, url: str) -> None:
    """One login; a line about it goes to the log."""
    said = f"{url}\n"
    with browser() as person:
        try:
            came_back = authorize(person, url, user)
            back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
            answer = person.get(str(httpx.URL(back, params=came_back)), follow_redirects=True)
            said += f"  -> {back} {sorted(came_back)} {answer.status_code}\n"
        except (LoginFailed, httpx.HTTPError, KeyError) as error:
            said += f"  failed: {type(error).__name__}: {error}\n"
    with Path(log).open("a") as file:
        file.write(said)


main(*sys.argv[1:4])
