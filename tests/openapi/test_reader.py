"""The other reader of documents: what is right by the specification it takes, and what is nearly right it does not."""

from typing import Any

import pytest

from tests.kit.wire_reader import WireReader
from tests.kit.wire_styles import Asked, Sent

BASE = "https://api.example.test"


def problems(path: str, operation: dict[str, Any], url: str, sent: Sent, body: bytes = b"") -> list[str]:
    method = "post" if body else "get"
    reader = WireReader({"openapi": "3.0.4", "paths": {path: {method: operation}}})
    headers = (("content-type", "application/x-www-form-urlencoded"),) if body else ()
    asked = Asked(method=method.upper(), url=BASE + url, headers=headers, body=body)
    return reader.problems(f"/paths/{path.replace('/', '~1')}/{method}", asked, sent, BASE)


@pytest.mark.parametrize("place", ["path", "query"])
@pytest.mark.parametrize(
    ("media_type", "text", "right"),
    [
        ("*/*", "a%20b", True),
        ("text/plain", "a%20b", True),
        ("text/plain", "%22a%20b%22", False),
        ("application/json", "%22a%20b%22", True),
        ("application/json", "a%20b", False),
    ],
)
def test_a_content_is_read_in_its_media_type(place: str, media_type: str, text: str, right: bool) -> None:
    operation = {"parameters": [{"name": "id", "in": place, "required": True, "content": {media_type: {}}}]}
    path, url = ("/x/{id}", f"/x/{text}") if place == "path" else ("/x", f"/x?id={text}")
    found = problems(path, operation, url, Sent(parameters={(place, "id"): "a b"}))
    assert (found == []) is right


@pytest.mark.parametrize(("text", "right"), [("%2FF%C3%BFT9", True), ("%2FF%C3%BE9", False), ("F%C3%BFT9", False)])
def test_what_stands_between_two_names_is_no_part_of_an_encoded_character(text: str, right: bool) -> None:
    operation = {"parameters": [{"name": name, "in": "path", "schema": {}} for name in "abc"]}
    sent = Sent(parameters={("path", "a"): "/", ("path", "b"): "\u00ff", ("path", "c"): "9"})
    assert (problems("/{a}F{b}T{c}", operation, f"/{text}", sent) == []) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("f=%7B%22a%22%3A1%7D&f=%7B%22a%22%3A2%7D", True),
        ("f[0][a]=1&f[1][a]=2", True),
        ("f=%7B%22a%22%3A1%7D", False),
        ("f=%7B%22a%22%3A2%7D&f=%7B%22a%22%3A1%7D", False),
    ],
)
def test_a_list_of_objects_in_a_form_is_a_pair_for_each(text: str, right: bool) -> None:
    operation: dict[str, Any] = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {}}}}}
    sent = Sent(parameters={}, body={"f": [{"a": 1}, {"a": 2}]})
    assert (problems("/x", operation, "/x", sent, text.encode()) == []) is right
