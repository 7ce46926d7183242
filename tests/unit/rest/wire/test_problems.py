"""What a model is told of an answer that is no success: what to change, and nothing of the API's inside."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import problems
from tests.unit.rest.wire.test_answers import URL, answer, error, read


def told(given: WireAnswer) -> str:
    return error(read(given))


@pytest.mark.parametrize("status", [400, 404, 409, 418, 422])
def test_a_problem_is_told_by_status_title_detail_and_errors(status: int) -> None:
    body = {"type": "https://h.test/x", "title": "No", "detail": "n is 0", "errors": [{"field": "n"}], "instance": "/i"}
    found = told(answer(body, status, "application/problem+json", x_secret="s3cret"))
    assert f"({status} " in found
    assert found.endswith('It says: {"title":"No","detail":"n is 0","errors":[{"field":"n"}]}')


def test_another_json_is_told_where_it_is_small() -> None:
    assert told(answer({"message": "n?"}, 422)).endswith('change the arguments. It says: {"message":"n?"}')
    assert told(answer("plainly wrong", 400)).endswith("It says: plainly wrong")
    large = {"errors": [{"field": f"f{n}", "why": "x" * 90} for n in range(100)]}
    found = told(answer(large, 422))
    assert "f0; x" in found
    assert len(found) < 700
    assert told(answer({}, 400)).endswith("change the arguments.")


def test_a_page_is_told_by_its_title_and_a_text_as_it_is() -> None:
    page = b"<html><head><title>\n Not  Found</title></head><body>nginx/1.2.3 at web-7.internal</body>"
    assert told(answer(page, 404, "text/html")).endswith("It says: Not Found")
    assert told(answer(b"<html>", 404, "text/html")).endswith("nothing under these arguments.")
    assert told(answer(b"no such order", 404, "text/plain")).endswith("It says: no such order")
    assert told(answer(b"\x00\x01", 404, "application/x")).endswith("nothing under these arguments.")


INSIDE = [
    ({"message": "bad", "trace": "java.lang.X", "stackTrace": ["a"], "host": "db-1", "exception": "X"}, '{"message":"bad"}'),
    ({"error": "connect to http://10.0.0.7:5432/orders failed"}, "connect to /orders failed"),
    ({"error": "db.prod.internal:5432 refused, then orders-db:5432"}, "… refused, then …"),
    ({"error": "no route to api.example.com or 10.1.2.3 or localhost:81"}, "no route to … or … or …"),
    ({"error": "wrong\n\tat com.acme.Orders.find(Orders.java:7)"}, "wrong"),
    ({"error": "no\nTraceback (most recent call last):\n  File x"}, '"no"'),
    ({"error": "Bearer abcdefgh12345 is bad, eyJhbGciOi.J9.x, too"}, "… is bad, …, too"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kept"), INSIDE)
def test_nothing_is_told_of_the_inside(body: Any, kept: str) -> None:
    found = told(answer(body, 400))
    assert kept in found
    for secret in (
        "java",
        "10.0.0.7",
        "5432",
        "internal",
        "acme",
        "Traceback",
        "abcdefgh",
        "eyJ",
        "db-1",
        "example.com",
    ):
        assert secret not in found


@pytest.mark.parametrize(
    "text",
    [
        "start is before 10:30",
        "order.items[0] is 5",
        "mail a@example.com",
        "v1.2.3",
        "12:30:45Z",
        "Orders::Refund",
        "a :: b",
        "#12 is closed",
        "2026-11-27T12:30:45+01:00",
        "token is missing",
        "host is required",
        "see /docs/orders",
        "n:5",
        "3:4:5",
        "at most 5 (n)",
    ],
)
def test_what_only_looks_like_a_place_is_told(text: str) -> None:
    assert problems.clean(text) == text


PLACES = [
    "fd00:1::7", "[fd00:1::7]", "[fd00:1::7]:8080", "fe80::1%eth0", "::ffff:10.0.0.7", "fd00:1::7:", "10.0.0.7", "10.0.0.7:80", "ip-10-0-0-7",
    "db:5432", "db:443", "db.prod.svc", "db.prod.example.de", "db_1.prod.internal", "xn--bcher-kva.unusual", "a.xn--bcher-kva:8080",
    "http://db/x", "postgres://u:pa/ss@db:1/x", "redis://:hunter2@db", "u:hunter2@db", "thin:u:hunter2@db:1521:XE", "host=db", "Host: db",
    "/srv/app/db.py", "/srv/app/db.php:12", "C:\\app\\db.cs:7", "Authorization: Bearer db123456", "authorization=db12345678", "X-Api-Key: db123456",
    "Set-Cookie: sid=db12345", "api_key=db123456", "eyJhbGciOiJSUzI1NiJ9", "token db12345678",
]  # fmt: skip


@given(
    st.sampled_from(PLACES),
    st.sampled_from(["", "no ", "at n: ", "(", "say '", "a, ", "\n"]),
    st.sampled_from(["", " x", ")", "'", ", y", ". z", "\n"]),
)
def test_no_place_is_told_whatever_stands_around_it(place: str, before: str, after: str) -> None:
    found = problems.clean(f"{before}{place}{after}")
    for part in ("fd00", "fe80", "10.0.0", "10-0-0", "db", "xn--", "hunter2", "ss@", "eyJhbG"):
        assert part not in found


TRACES = [
    "\tat com.acme.Orders.find(Orders.java:7)", "   at Acme.Orders.Find(String id) in C:\\x.cs:line 3", "Traceback (most recent call last):\n  secret",
    '  File "/x/secret.py", line 3, in find', "Caused by: secret", "goroutine 7 [running]:", "panic: secret", "#0 /var/www/secret.php(12): find()",
    "Stack trace:\n#0 secret", "stack backtrace:\n  0: secret", "thread 'main' panicked at src/secret.rs:4:5", "app/models/secret.rb:12:in `find'",
    "** (RuntimeError) secret", "    at find (/app/secret.js:1:2)", "    at async find (file:///app/secret.mjs:1:2)", "\t/app/secret.go:12 +0x1f",
]  # fmt: skip


@pytest.mark.parametrize("trace", TRACES)
def test_a_text_ends_where_a_trace_begins(trace: str) -> None:
    assert problems.clean(f"no such order\n{trace}\nsecret") == "no such order"
    assert problems.clean("x is not defined at find (app.js:1:2) at run (app.js:3:4)") == "x is not defined"


def test_an_address_is_not_told_by_half() -> None:
    """Where a text is cut: half of a name does not look like one."""
    for size in range(1980, 2001):
        assert "db" not in problems.clean(" " * size + "db.prod.internal is away")


def test_a_text_of_any_size_is_looked_through_at_once() -> None:
    assert len(problems.clean("a.b-c" * 1_000_000)) == 501
    assert len(problems.clean(" \n" * 500_000 + "x")) == 0


@pytest.mark.parametrize(
    ("status", "headers", "text"),
    [
        (401, {}, "The API did not accept our credential (401); the operator of this server can see why."),
        (403, {}, 'The API does not allow this to the caller (403). It says: {"a":"b"}'),
        (429, {"retry_after": "7"}, "The API is asked too often (429): try again in 7 s."),
        (429, {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "The API is asked too often (429): try again later."),
        (503, {"retry_after": "99999999"}, "The API is not available (503): try again in 86400 s."),
        (500, {}, "The API failed (500 Internal Server Error). It is no fault of the arguments; try again later."),
        (599, {}, "The API failed (599 failed). It is no fault of the arguments; try again later."),
        (304, {}, "The API says that nothing has changed (304)."),
        (302, {"location": "https://evil.test/x"}, "The API redirects (302); redirects are not followed."),
        (302, {}, "The API redirects (302); redirects are not followed."),
        (302, {"location": "http://[x"}, "The API redirects (302); redirects are not followed."),
        (307, {"location": "/v2/o?t=1"}, "The API redirects (307); redirects are not followed. It names /v2/o of the same API."),
    ],
)  # fmt: skip
def test_other_statuses(status: int, headers: dict[str, str], text: str) -> None:
    assert told(answer({"a": "b"}, status, **headers)) == text
    assert "api.test" not in text
    assert URL.startswith("https://api.test")


@pytest.mark.parametrize(
    ("status", "challenge", "scopes"),
    [
        (403, 'Bearer error="insufficient_scope", scope="orders:write orders:read"', ("orders:write", "orders:read")),
        (403, 'Bearer error="insufficient_scope"', ()),
        (403, 'Bearer error="invalid_token"', None),
        (401, 'Bearer error="insufficient_scope", scope="x"', None),
        (403, "", None),
    ],
)
def test_the_scopes_that_the_api_misses(status: int, challenge: str, scopes: Any) -> None:
    assert problems.missing_scopes(answer({}, status, www_authenticate=challenge)) == scopes


def test_a_large_error_is_not_searched() -> None:
    body = b'{"detail": "' + b"a" * problems.MAX_READ + b'"}'
    answer = WireAnswer(status=422, headers={"content-type": "application/problem+json"}, body=body)
    assert problems.said(answer) == ""
