"""What an author says of parameters reaches them, and nothing that was said gets lost."""

import inspect

import pytest

from mcp_server.authoring.docstrings import read

BOTH = {"a": "first", "b": "second"}
STYLES = {
    "google": "Args:\n    a: first\n    b: second",
    "google with types": "Arguments:\n    a (int): first\n    b (int, optional): second",
    "brackets in types": "Args:\n    a (Optional[Callable[[int], str]]): first\n    b (dict(str, int)): second",
    "space before the colon": "Args:\n    a : first\n    b (int) : second",
    "bullets": "Args:\n    - a: first\n    * b: second",
    "backticks and stars": "Args:\n    `a`: first\n    **b**: second",
    "dashes": "Args:\n    a - first\n    b -- second",
    "lower case": "args:\n    a: first\n    b: second",
    "other headings": "Keyword Args:\n    a: first\n\nOther Parameters:\n    b: second",
    "not indented": "Args:\na: first\nb: second",
    "numpy": "Parameters\n----------\na : int\n    first\nb : int, optional\n    second",
    "numpy without types": "Parameters\n----------\na\n    first\n\nb\n    second",
    "sphinx": ":param a: first\n:param int b: second",
    "sphinx with types": ":param a:\n    first\n:type a: int\n:arg b: second\n:type b: int",
    "epytext": "@param a: first\n@param b: second",
}


@pytest.mark.parametrize("style", STYLES)
def test_each_style_of_docstring_is_read(style: str) -> None:
    assert read(f"Add.\n\n{STYLES[style]}", ["a", "b"]) == ("Add.", BOTH)


@pytest.mark.parametrize(
    "kept",
    [
        "Only on weekdays.",
        "Returns:\n    The sum.",
        "Raises:\n    ToolError: where there is none.",
        "Example:\n    add(1, 2) is 3",
        "Note:\n    a: is no parameter here",
        "Returns\n-------\nint\n    The sum.",
        ":returns: the sum\n:raises ToolError: never",
    ],
)
@pytest.mark.parametrize("style", ["google", "numpy", "sphinx"])
def test_what_is_no_parameters_stays_in_the_text(style: str, kept: str) -> None:
    assert read(f"Add.\n\n{STYLES[style]}\n\n{kept}", ["a", "b"]) == (f"Add.\n\n{kept}", BOTH)
    assert read(f"Add.\n\n{kept}\n\n{STYLES[style]}", ["a", "b"]) == (f"Add.\n\n{kept}", BOTH)


def test_a_description_goes_on_in_deeper_lines_and_in_lines_that_describe_nothing_else() -> None:
    text = inspect.cleandoc(
        """
        Add.

        Args:
            a: first
                more: of it

                and more
            and yet more
            b: second
        """
    )
    assert read(text, ["a", "b"]) == ("Add.", {"a": "first more: of it and more and yet more", "b": "second"})


def test_what_names_no_parameter_stays_with_its_heading_and_the_context_is_no_callers_matter() -> None:
    text = "Add.\n\nArgs:\n    a: first\n    gone: was renamed\n    ctx: the call\n\nReturns:\n    It."
    assert read(text, ["a", "ctx"], hidden=["ctx"]) == (
        "Add.\n\nArgs:\n    gone: was renamed\n\nReturns:\n    It.",
        {"a": "first"},
    )
    numpy = "Add.\n\nParameters\n----------\ngone : int\n    was renamed\na, b : int\n    both"
    assert read(numpy, ["a", "b"]) == (
        "Add.\n\nParameters\n----------\ngone : int\n    was renamed",
        {"a": "both", "b": "both"},
    )


@pytest.mark.parametrize("text", ["", "Args:", "Parameters\n---", "Args:\n    a (int: first", ":param c: third"])
def test_what_cannot_be_read_is_kept_as_it_is(text: str) -> None:
    kept, described = read(text, ["a"])
    assert described == {}
    assert kept == (text if "first" in text or "third" in text else "")
