"""Which APIs there are: `mcp.toml`, the settings and the author's own as one list, each problem by its place."""

from pathlib import Path
from typing import Any

import pytest

from mcp_server import McpServer
from mcp_server.rest.importing import configs
from mcp_server.rest.importing.configs import Stated
from mcp_server.rest.offer.config import ApiConfig, ConfigError


def apis(
    included: Any = (), toml: str | None = None, folder: Path | None = None, **stated: Any
) -> dict[str, ApiConfig]:
    if toml is not None:
        assert folder is not None
        (folder / "mcp.toml").write_text(toml)
        stated["config"] = folder / "mcp.toml"
    return {one.name: one for one in configs.apis(Stated(audience="api", **stated), included)}


def test_a_document_of_the_settings_is_an_api_by_the_name_of_its_file() -> None:
    (one,) = apis(openapi="specs/orders.v2.yaml", url="https://o.test", scopes=frozenset({"o"})).values()
    assert (one.name, one.origin.document, one.origin.base_url) == ("orders", "specs/orders.v2.yaml", "https://o.test")
    assert (one.identity.audience, one.identity.scopes) == ("api", frozenset({"o"}))


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("https://o.test/v1/openapi.json?x=1", "openapi"),
        ("C:\\specs\\My Orders.yaml", "My-Orders"),
        ("https://o.test", "api"),
        ("…", "api"),
    ],
)
def test_names_of_documents(document: str, name: str) -> None:
    assert configs.name_of(document) == name


def test_a_file_says_more_and_lies_where_its_paths_begin(tmp_path: Path) -> None:
    toml = (
        '[apis.orders]\ndocument = "o.yaml"\noverlays = ["x.yaml", "https://x.test/y.yaml"]\n'
        '[apis.orders.identity]\nmode = "none"\n[apis.other]\ndocument = "https://p.test/p.json"\n'
        '[apis.other.operations.one.identity]\nmode = "client_credentials"\n'
    )
    found = apis(toml=toml, folder=tmp_path, url="https://nobody.test")
    assert found["orders"].origin.document == str(tmp_path / "o.yaml")
    assert found["orders"].origin.overlays == (str(tmp_path / "x.yaml"), "https://x.test/y.yaml")
    assert found["other"].origin.document == "https://p.test/p.json"
    assert found["other"].origin.base_url == ""  # one address is not that of two
    own = found["other"].operations["one"].identity
    assert own is not None
    assert (own.mode, own.audience) == ("client_credentials", "api")


def test_the_document_of_the_settings_is_that_of_the_one_api_without(tmp_path: Path) -> None:
    found = apis(toml='[apis.shop]\nlist = "search"\n', folder=tmp_path, openapi="orders.yaml")
    assert [(one.name, one.origin.document, one.choice.list) for one in found.values()] == [
        ("shop", "orders.yaml", "search")
    ]


def test_an_author_includes_with_the_words_of_the_file(tmp_path: Path) -> None:
    server = McpServer("s")
    server.include_openapi("specs/orders.yaml", include=["tag:a"], identity={"scopes": {"b", "a"}, "mode": "none"})
    server.include_openapi("https://o.test/x.json", name="shop")
    with pytest.raises(ValueError, match="'orders' is included already"):
        server.include_openapi("other/orders.yaml")
    found = apis(server.imports, '[apis.shop]\nlist = "full"\n', tmp_path)
    assert found["orders"].choice.include == ("tag:a",)
    assert found["orders"].identity.mode == "none"
    assert (found["shop"].choice.list, found["shop"].origin.document) == ("full", "https://o.test/x.json")


def test_an_api_without_a_document_is_called_by_hand() -> None:
    (one,) = apis(url="https://o.test").values()
    assert (one.name, one.origin.document) == ("api", "")


def test_every_problem_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "mcp.toml").write_text(
        '[apis.a]\n[apis.b]\ndocument = "b.yaml"\n[apis.b.identity]\nmode = "secret"\nsecret = "gone"\n'
        '[apis.b.operations."get /x".identity]\nmode = "exchange"\n'
    )
    with pytest.raises(ConfigError) as found:
        configs.apis(Stated(config=tmp_path / "mcp.toml"))
    assert [line.partition(": ")[0] for line in found.value.problems] == [
        "apis.a.identity.audience",
        "apis.a.document",
        "apis.b.identity.secret",
        'apis.b.operations."get /x".identity.audience',
    ]
    with pytest.raises(ConfigError, match=r"none\.toml \(MCP_CONFIG\): cannot be read \(No such file"):
        configs.apis(Stated(config=tmp_path / "none.toml"))
    (tmp_path / "production.toml").write_text("[apis.a\n")
    with pytest.raises(ConfigError, match=r"production\.toml: Expected"):
        configs.apis(Stated(config=tmp_path / "production.toml"))
    server = McpServer("s")
    server.include_openapi("orders.yaml", includes=["tag:a"])
    with pytest.raises(ConfigError, match="did you mean include"):
        apis(server.imports)


def test_who_asks_for_tokens_has_a_secret() -> None:
    with pytest.raises(ConfigError, match=r"MCP_CLIENT_SECRET: is required: .* tokens for orders"):
        configs.require_no_client(apis(openapi="orders.yaml").values())
    server = McpServer("s")
    server.include_openapi("orders.yaml", identity={"mode": "none"})
    configs.require_no_client(apis(server.imports).values())
