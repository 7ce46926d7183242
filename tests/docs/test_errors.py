"""The page of errors is what the code says, and nothing of the code is missing in it."""

from mcp_server.auth.refusals import DenialReason
from mcp_server.cli.explain_token import CURES
from mcp_server.rest.exchange import TEXTS
from tests.docs import audit_reasons
from tests.docs import errors_page as page


def test_the_page_is_up_to_date() -> None:
    assert page.PAGE.read_text("utf-8") == page.render(), "run: python -m tests.docs.errors_page"


def test_every_reason_has_a_cure() -> None:
    assert set(CURES) == set(DenialReason)
    assert all(text.endswith(".") for text in CURES.values())


def test_every_error_of_the_protocol_has_one() -> None:
    assert set(page.PROTOCOL_CURES) == set(page.constructors())


def test_every_answer_of_the_transport_is_there() -> None:
    known = {(status, text) for status, text, _ in page.TRANSPORT}
    assert page.answers() - known == set()


def test_every_warning_about_an_api_is_there_and_what_the_model_hears() -> None:
    assert page.warned("rest") == set(page.UPSTREAM)
    assert set(page.NO_ACCESS) == set(TEXTS)


def test_every_reason_of_the_audit_is_there() -> None:
    texts = {text for _, text, _ in page.TRANSPORT}
    assert page.noted() - set(audit_reasons.AUDIT) - {reason.slug for reason in DenialReason} - texts - {""} == set()


def test_every_sentence_of_an_error_is_there() -> None:
    told = [text.removesuffix("…") for _, text, _ in page.CALLS] + [text for _, text, _ in page.TRANSPORT]
    fixed = {page.made(one).message for one in page.constructors().values()}
    sentences = page.sentences()
    assert len(sentences) > 5
    assert {one for one in sentences if one not in fixed and not one.startswith(tuple(told))} == set()


def test_nothing_is_there_that_no_code_says() -> None:
    said = page.strings()
    texts = [*(text for _, text, _ in page.TRANSPORT), *(text.removesuffix("…") for _, text, _ in page.CALLS)]
    assert [text for text in texts if text not in said] == []
    assert [name for name in audit_reasons.AUDIT if name not in said and not name.startswith("task_")] == []
