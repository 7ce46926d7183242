"""What an API repeats of a call is not told: credentials in every spelling, its own host by every name."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import masks, problems
from tests.kit.effort import spent

URL = "https://orders-svc.prod.corp:8443/v1/orders/7"


def told(body: bytes, sent: tuple[str, ...] = (), *, url: str = URL, kind: str = "application/json") -> str:
    answer = WireAnswer(status=422, headers={"content-type": kind}, body=body)
    return problems.problem(masks.without_host(masks.without_credential(answer, sent), url), url)


def escaped(secret: str, one: str, by: str) -> str:
    return "".join(by.format(ord(each)) if each in one else each for each in secret)


IN_ADDRESSES: list[Callable[[str], str]] = [
    str,
    quote,
    lambda one: quote(one, safe=""),
    lambda one: quote(quote(one, safe=""), safe=""),
    quote_plus,
]
SPELLINGS: list[Callable[[str], str]] = [
    *IN_ADDRESSES,
    html.escape,
    lambda one: one.replace("/", "\\/"),
    lambda one: escaped(one, "=&<>'", "\\u{:04x}").replace("/", "\\/"),
    lambda one: escaped(one, "+=&<>'", "\\u{:04X}"),
    lambda one: escaped(one, "+=&<>/", "&#{};"),
    lambda one: escaped(one, "+=&<>/", "&#x{:X};"),
]
LOUDLY: list[Callable[[str], str]] = [
    *SPELLINGS,
    lambda one: quote(one, safe="").lower(),
    lambda one: f"Bearer {one}",
    lambda one: "".join(f"\\u{ord(each):04x}" for each in one),
    str.upper,
]
SECRETS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=6, max_size=60
)
WORDS = st.lists(st.sampled_from(["order", "is", "not", "valid:", "n", "7", "…", "(", "token", "<b>"]), max_size=6).map(
    " ".join
)


@settings(max_examples=60)
@given(SECRETS, st.sampled_from(LOUDLY), WORDS, WORDS, st.booleans())
def test_no_credential_that_was_sent_is_told(secret: str, spelt: Callable[[str], str], before: str, after: str, as_json: bool) -> None:  # fmt: skip
    text = f"{before} {spelt(secret)} {after}"
    body = f'{{"detail": "{text}"}}'.encode() if as_json else text.encode()
    found = told(body, masks.of_header(f"Bearer {secret}"), kind="application/json" if as_json else "text/plain")
    for one in (secret, spelt(secret)):
        assert one.lower() not in found.lower() or one.lower() in "the api refused the call (422 unprocessable content): change the arguments. it says:"  # fmt: skip


PAIR = base64.b64encode(b"orders-user:pa/ss+word").decode()


@pytest.mark.parametrize("stated", ["orders-user:pa/ss+word", f"Basic {PAIR}"])
@pytest.mark.parametrize("echo", ["orders-user:pa/ss+word", "pa/ss+word", r"pa\/ss+word", PAIR, f"Basic {PAIR}", "pa%2Fss%2Bword"])  # fmt: skip
def test_a_pair_is_told_in_no_part(stated: str, echo: str) -> None:
    found = told(f'{{"detail": "refused: {echo}"}}'.encode(), masks.of_header(stated))
    assert not any(one in found for one in ("pa/ss", "ss+word", PAIR.rstrip("=")))
    assert "refused: " in found


def test_a_part_of_a_long_credential_is_not_told() -> None:
    token = "k1-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
    for echo in (token[:14], token[:20] + "...", f"x={token[:30]}"):
        assert "9f8e7d" not in told(f'{{"detail": "bad key {echo}"}}'.encode(), (token,))
    late = b'{"detail": "' + b"x" * 1990 + b" " + token.encode() + b'"}'  # where the text is cut
    assert "9f8e" not in told(late, (token,))


def test_where_a_redirect_leads_is_told_without_the_key() -> None:
    answer = WireAnswer(status=307, headers={"location": "/v2/key-0123456789/orders"})
    found = problems.problem(masks.without_host(masks.without_credential(answer, ("key-0123456789",)), URL), URL)
    assert found.endswith("It names /v2/[masked]/orders of the same API.")


def test_data_has_no_long_credential_in_it_and_is_as_it_was_else() -> None:
    answer = WireAnswer(status=200, body=b'{"headers": {"Authorization": "Bearer 0123456789abcdef"}}')
    assert (
        masks.without_credential(answer, ("0123456789abcdef",)).body
        == b'{"headers": {"Authorization": "Bearer [masked]"}}'
    )
    assert masks.without_credential(answer, ("headers", "other-credential")) is answer


@settings(max_examples=25)
@given(st.from_regex(r"[A-Za-z0-9]{4}[!-~]{8,40}", fullmatch=True), st.sampled_from(SPELLINGS), WORDS)
def test_data_has_no_long_credential_in_any_spelling(secret: str, spelt: Callable[[str], str], words: str) -> None:
    body = f"{words}: {spelt(secret)}&page=2 {secret}; {words}"
    answer = masks.without_credential(WireAnswer(status=200, body=body.encode()), masks.of_header(f"Bearer {secret}"))
    assert answer.body.decode() == f"{words}: [masked]&page=2 [masked]; {words}"


@pytest.mark.parametrize("spelt", IN_ADDRESSES)
def test_data_has_no_pair_as_it_was_sent(spelt: Callable[[str], str]) -> None:
    pair = "orders-user:pa/ss+word?7"
    body = f'{{"as": "{spelt(base64.b64encode(pair.encode()).decode())}", "is": "{spelt(pair)}"}}'
    found = masks.without_credential(WireAnswer(status=200, body=body.encode()), masks.of_header(pair)).body.decode()
    assert re.fullmatch(r'\{"as": "\[masked\](=|%3D|%253D)*", "is": "\[masked\]"\}', found)


@pytest.mark.parametrize("status", [200, 422])
def test_looking_for_spellings_takes_linear_time(status: int) -> None:
    """A secret's own beginning, again and again, and what each character may be written as."""
    secret = "Zk3+" + "+/=%&" * 8
    for piece in ("Zk3+", "Zk3%25252B", "Zk3" + "%2525" * 8, "+/=%&" * 7, "\\u002b"):
        took = [least(answer_of(status, (piece * 8_000)[:size]), secret) for size in (12_500, 50_000)]
        assert took[1] < 12 * took[0] + 0.01


def answer_of(status: int, body: str) -> WireAnswer:
    return WireAnswer(status=status, body=body.encode())


def least(answer: WireAnswer, secret: str) -> float:
    """The time of the processor that it takes, at its best."""
    return min(spent(lambda: masks.without_credential(answer, (secret,))) for _ in range(3))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (URL, "connect to orders-svc.prod.corp:8443 failed"),
        (URL, "lookup Orders-SVC.prod on it"),
        (URL, "no answer of orders-svc"),
        (URL, "https://u:p@orders-svc.prod.corp/x"),
        ("http://orders:8000/v1/orders/7", "getaddrinfo ENOTFOUND orders"),
        ("http://orders:8000/v1/orders/7", "dial tcp: lookup orders: no such host"),
        ("http://orders:8000/v1/orders/7", "refused by orders:80"),
        ("http://orders:8000/v1/orders/7", "http://orders/x"),
        ("http://backend/v1", "backend is away"),
        ("http://[fd00::7]:8000/v1", "no route to [fd00::7]:8000"),
        ("http://[fd00::7]:8000/v1", "no route to fd00::7: refused"),
        ("https://xn--bcher-kva.example/v1", "bücher.example is away"),
        ("https://xn--bcher-kva.example/v1", "xn--bcher-kva.example is away"),
        ("http://10.0.0.7/v1", "10.0.0.7 is away"),
    ],
)
def test_the_host_of_the_api_is_not_told(url: str, text: str) -> None:
    found = told(json.dumps({"detail": text}).encode(), url=url).partition("It says: ")[2]
    assert not any(one in found.lower() for one in ("svc", "orders", "backend", "fd00", "cher", "10.0", "p@"))
    assert found


def test_a_word_that_is_what_the_api_is_about_is_told() -> None:
    found = told(b'{"detail": "no such orders for you; orders: empty"}', url="http://orders:8000/v1/orders/7")
    assert "no such orders for you; orders: empty" in found


@pytest.mark.parametrize("body", [b'{"a": "\\ud800 \\"', b"\xff\\" * 100, b"[" * 70_000 + b"\\", b""])
def test_a_body_of_any_kind_is_looked_through(body: bytes) -> None:
    assert "422" in told(body, ("secret",))


def test_short_words_are_no_secrets() -> None:
    assert masks.of_header("abc") == ()
    assert masks.of_header("Basic !") == ("Basic !",)
