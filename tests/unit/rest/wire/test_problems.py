"""What a model is told of an answer that is no success: what to change, and nothing of the API's inside."""

from typing import Any

import pytest

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
    "text", ["start is before 10:30", "order.items[0] is 5", "mail a@example.com", "v1.2.3", "12:30:45Z"]
)
def test_what_only_looks_like_a_place_is_told(text: str) -> None:
    assert problems.clean(text) == text


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
