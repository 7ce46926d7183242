"""Descriptions: clean, short, the use first; what nobody sees does not reach a model."""

from typing import Any

import pytest

from mcp_server.rest.model import Surroundings
from mcp_server.rest.offer import words
from tests.kit.offers import body, document, offer, offered, operation


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One line.", "One line."),
        ("  One\n  paragraph.\n\nAnother.", "One paragraph."),
        ("# Heading\n\nText", "Heading"),
        ("---\n\n> Quoted", "Quoted"),
        ("<p>First <b>bold</b></p><p>Second</p>", "First bold"),
        ("Use <id> here", "Use <id> here"),
        ("a < b & c &lt; d", "a < b & c < d"),
        ("see [the docs](https://x.test/a) first", "see the docs first"),
        ("hid\u200bden \u202egnol\u202c te\u0000xt\x1b[31m", "hidden gnol text[31m"),
        ("&#x202E;turned", "turned"),
        ("tags \U000e0041\U000e0042 end", "tags end"),
        ("half \ud800 pair", "half pair"),
        ("\r\n\r\nafter", "after"),
        ("Größe и слово", "Größe и слово"),
        ("", ""),
        (None, ""),
        (7, ""),
        ("<br><br>", ""),
    ],
)
def test_the_first_paragraph_is_plain_text(text: object, shown: str) -> None:
    assert words.first_paragraph(text, 200) == shown


def test_a_long_one_ends_at_a_sentence_or_a_word() -> None:
    assert words.cut("One sentence that is long. And another one.", 35) == "One sentence that is long."
    assert words.cut("words without any end here", 20) == "words without any…"
    assert words.cut("x" * 30, 10) == "x" * 9 + "…"
    assert len(words.first_paragraph("<p>" * 1_000_000, 100)) <= 1


def described(**about: Any) -> str:
    return offer(operation("GET /orders", **about)).description


def test_the_summary_carries_the_use() -> None:
    assert described(summary="List orders", description="Newest first.\n\nMore.") == "List orders. Newest first."
    assert described(summary="List orders.", description="List orders of a shop.") == "List orders of a shop."
    assert described(description="Alone.") == "Alone."
    assert described(summary="Alone") == "Alone"
    assert described() == "GET /orders"
    assert described(summary="Old", deprecated=True) == "(deprecated) Old"


def test_it_never_passes_its_limit_and_says_what_follows() -> None:
    found = offered(
        document(
            operation("GET /a", "a", description="word " * 1_000, links=("getOrder", "nowhere"), deprecated=True),
            operation("GET /b", "getOrder"),
        )
    )
    text = next(one.description for one in found.offers if one.name == "a")
    assert len(text) <= words.LONGEST
    assert text.endswith("\nThen: get_order")


def test_a_chosen_description_stands_and_is_cleaned() -> None:
    text = '[apis.orders.operations."get /orders"]\ntitle = "Find\u202e"\ndescription = "Finds\u200b."'
    found = offer(operation("GET /orders", summary="x"), text)
    assert (found.title, found.description) == ("Find", "Finds.")


def test_an_example_is_shown_where_the_document_asks_for_it() -> None:
    made = operation(
        "POST /x", "x", summary="Make",
        body=body({"type": "object", "examples": [{"a": 1}]}),
        surroundings=Surroundings(extensions={"x-mcp-example": True}),
    )  # fmt: skip
    assert offer(made).description == 'Make\nExample: {"a":1}'
    assert words.example("x" * 2_000) == words.example(object()) == words.example("\ud800") == ""
