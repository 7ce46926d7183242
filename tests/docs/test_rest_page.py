"""What docs/rest.md shows of `mcp.toml` and of the author's side is what is read."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from mcp_server import McpServer
from mcp_server.rest.importing.configs import Stated, apis
from mcp_server.rest.offer import config_file
from mcp_server.rest.offer.config import IdentityMode, Listing, Unmapped
from mcp_server.rest.search import ToolIndex
from mcp_server.rest.wire.address import base_of, request
from tests.kit.imports import document as written
from tests.kit.imports import get, imported
from tests.kit.offers import alternatives, document, oauth, offered, operation, parameter

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_file_that_is_shown_can_be_read() -> None:
    (shown,) = blocks("toml")
    orders = config_file.read(shown.encode())["orders"]
    assert set(orders.operations) == {"listOrders", "get /orders/{id}", "get /health"}
    assert orders.answers.max_tokens == 8_000


def test_every_key_of_an_operation_and_an_api_is_shown() -> None:
    (shown,) = blocks("toml")
    for table in (config_file._API_KEYS, config_file._OPERATION, config_file._IDENTITY, config_file._ANSWERS):
        for key in table:
            assert re.search(rf"(?m)^#? ?{key}\b *=|^\[apis\.orders\.{key}[\].]", shown), key


def test_the_authors_example_is_a_server_whose_api_is_known() -> None:
    (shown,) = blocks("python")
    space: dict[str, object] = {}
    exec(shown, space)  # the page's own text
    server = space["server"]
    (one,) = apis(Stated(audience="orders-api"), server.imports)  # type: ignore[attr-defined]
    assert (one.name, one.choice.include) == ("orders", ("tag:orders",))


def table(head: str) -> list[list[str]]:
    """The cells of the table below a head, without their backquotes."""
    (found,) = re.findall(rf"(?m)^\| {re.escape(head)} .*\|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE.read_text("utf-8"))
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in found.splitlines()]


def test_every_word_of_a_choice_is_told() -> None:
    assert [row[0] for row in table("`mode`")] == [*get_args(IdentityMode)]
    assert [row[0].partition("`")[0] for row in table("`unmapped`")] == [*get_args(Unmapped)]
    (listing,) = re.findall(r"`list` says what([\s\S]*?)operator's\.", PAGE.read_text("utf-8"))
    assert {*re.findall(r"`(\w+)`", listing)} == {*get_args(Listing)}


def test_pages_go_out_as_the_table_has_them() -> None:
    (shown,) = re.findall(r"with `(page = \{.*?\})`", PAGE.read_text("utf-8"))
    limit = parameter("limit", schema={"type": "integer"})
    made = offered(
        document(operation("GET /orders", "listOrders", limit)), f"[apis.orders.operations.listOrders]\n{shown}"
    )
    (offer,) = made.offers
    rows = table("the model asks")
    assert len(rows) == 3
    for asked, out in rows:
        url = request(offer.operation, offer.arguments.values(json.loads(asked)), base_of("https://a.test")).url
        assert url == f"https://a.test{out}"


@pytest.mark.parametrize(
    ("unmapped", "security", "needed"),
    [
        ("refuse", ("gone",), None),
        ("keep", ("gone", "read"), {"gone", "mcp:read"}),
        ("default", ("gone", "read"), {"mcp:read"}),
        ("default", ("gone",), set()),
    ],
)
def test_a_forgotten_scope_is_what_the_table_says(
    unmapped: str, security: tuple[str, ...], needed: set[str] | None
) -> None:
    """Nothing needed in the document's words is the server's default scopes."""
    made = document(operation("GET /x", "getX", security=alternatives({"oauth": security})), schemes={"oauth": oauth()})
    text = f'[apis.orders.scopes]\n"read" = "mcp:read"\nunmapped = "{unmapped}"'
    found = offered(made, text)
    told = [set().union(*one.needs.alternatives) for one in found.offers]
    assert told == ([] if needed is None else [needed])
    assert ("write under [apis.orders.scopes]" in str(found.report.refused)) is (needed is None)


@pytest.mark.parametrize("security", [None, (), alternatives({})])
def test_an_operation_without_scopes_is_what_the_table_says(security: Any) -> None:
    """The default scopes for the tool, no scope for the API; `mode = "none"` changes nothing of it, `public` does."""
    assert len(table("the document says")) == 3
    made = document(operation("GET /x", "getX", security=security), schemes={"oauth": oauth()})
    for line, public in (("", False), ('identity = { mode = "none" }', False), ("public = true", True)):
        (one,) = offered(made, f"[apis.orders.operations.getX]\n{line}").offers
        assert (one.needs.alternatives, one.needs.api_scopes, one.needs.public) == ((), (), public)


PATHS = ("GET /orders", "GET /orders/{id}", "GET /orders/{id}/items", "DELETE /orders/{id}", "HEAD /orders")


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ("", [0, 1, 2, 3]),
        ('include = ["get /orders/*"]', [1]),
        ('include = ["/orders/**"]', [0, 1, 2, 3]),
        ('include = ["id:op*"]\nexclude = ["delete /**"]', [0, 1, 2, 4]),
        ('include = ["head /orders"]', [4]),
        ('exclude = ["id:op1", "id:op2"]', [0, 3]),
        ("[apis.orders.operations.op4]\ntitle = 'There?'", [0, 1, 2, 3, 4]),
    ],
)
def test_operations_are_chosen_as_it_says(chosen: str, kept: list[int]) -> None:
    made = document(*(operation(one, f"op{number}") for number, one in enumerate(PATHS)))
    found = offered(made, chosen).offers
    assert sorted(one.operation.about.operation_id for one in found) == [f"op{number}" for number in kept]


async def test_a_group_is_in_the_list_and_finds_its_tools(tmp_path: Path) -> None:
    file, server = tmp_path / "doc.json", McpServer("s")
    file.write_bytes(written({"/a": get("get_a"), "/b": get("get_b")}))
    operations = {"get_a": {"group": "warehouse"}}
    async with imported(server, file, "https://a.test", operations=operations):
        assert [one.entry.meta for one in server.tools.values()] == [{"group": "warehouse"}, None]
        assert [one.name for one in ToolIndex(server.tools.values()).find("warehouses")] == ["get_a"]
