"""What docs/rest.md shows of `mcp.toml` and of the author's side is what is read."""

import re
from pathlib import Path

from mcp_server.rest.importing.configs import Stated, apis
from mcp_server.rest.offer import config_file

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
