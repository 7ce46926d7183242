"""`mcp.toml`: read into values, and every problem in one report with its place and the nearest right key."""

from typing import Any

import pytest

from mcp_server.rest.offer.config import ConfigError, Identity, Page
from mcp_server.rest.offer.config_file import read
from tests.kit.offers import config

WHOLE = """
[apis.orders]
document = "orders.yaml"
sha256 = "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
overlays = ["orders.overlay.yaml"]
base_url = "https://api.example.test/v2"
allow_hosts = ["Files.example.test"]
list = "full"
include = ["tag:orders", "get /reports/**", "id:list*", "/x", "* /y"]
exclude = ["deprecated", "delete /**", "id:internalPing"]

[apis.orders.identity]
mode = "exchange"
audience = "orders-api"
scopes = "operation"
forward = ["X-Tenant"]

[apis.orders.scopes]
"orders:read" = "mcp:read"
"orders:*" = ["mcp:write", "mcp:audit"]
unmapped = "keep"

[apis.orders.answers]
max_tokens = 4000
output = "strict"

[apis.orders.operations.listOrders]
name = "find_orders"
title = "Find orders"
description = "Finds orders."
group = "reading"
annotations = { readOnlyHint = true }
set = { "api-version" = "2024-01" }
hide = ["X-Trace"]
page = { size = "limit", max = 20 }
scopes = ["mcp:read"]
identity = { mode = "client_credentials", scopes = ["orders:all"] }

[apis.orders.operations."GET  /orders/{id}"]
as = "resource"
public = true
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text.encode())
    return caught.value.problems


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('identity.mode = "exchagne"', "secret, none is wanted; did you mean exchange?"),
        ('identity.mode = "s3cret-of-another-kind"', "one of exchange, client_credentials, secret, none is wanted"),
        ("identity.mode = 5", "one of exchange, client_credentials, secret, none is wanted"),
        ('list = "serch"', "one of auto, full, search is wanted; did you mean search?"),
        ('include = ["tga:orders"]', '"deprecated" is wanted; did you mean tag?'),
        ('exclude = ["get /x", "deprecate"]', '"deprecated" is wanted; did you mean deprecated?'),
        ('include = ["orders"]', '"deprecated" is wanted'),
        ("include = [5]", '"deprecated" is wanted'),
    ],
)
def test_a_misspelt_value_is_told_with_the_nearest_right_one(line: str, told: str) -> None:
    (problem,) = problems(f"[apis.orders]\n{line}\n")
    assert problem.endswith(told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('[apis.orders]\naudience = "a"', "apis.orders.audience: no such key; it stands in [apis.orders.identity]"),
        ("[apis.orders]\nmax_tokens = 5", "apis.orders.max_tokens: no such key; it stands in [apis.orders.answers]"),
        ('[apis.orders]\nunmapped = "keep"', "apis.orders.unmapped: no such key; it stands in [apis.orders.scopes]"),
        ('[apis.orders]\ndocumnet = "x"', "apis.orders.documnet: no such key; did you mean document?"),
        ('[apis.orders.identity]\nzzz = "x"', "apis.orders.identity.zzz: no such key; there are audience, forward, "),
        ('document = "x"', "document: no such key; what is said of an API stands in [apis.NAME]"),
        ('[api.orders]\ndocument = "x"', "api: no such key; did you mean apis?"),
    ],
)
def test_a_key_in_another_table_is_told_with_its_own(line: str, told: str) -> None:
    """`audience` in the table of the API was answered with `did you mean include?`."""
    (problem,) = problems(f"{line}\n")
    assert problem.startswith(told)


def test_the_whole_of_it_is_read() -> None:
    api = read(WHOLE.encode())["orders"]
    assert api.name == "orders"
    assert (api.origin.document, api.origin.overlays) == ("orders.yaml", ("orders.overlay.yaml",))
    assert api.origin.sha256.startswith("abcdef")
    assert (api.origin.base_url, api.origin.allow_hosts) == (
        "https://api.example.test/v2",
        frozenset({"files.example.test"}),
    )
    assert (api.choice.list, len(api.choice.include), len(api.choice.exclude)) == ("full", 5, 3)
    assert api.identity == Identity(audience="orders-api", forward=("x-tenant",))
    assert (api.answers.max_tokens, api.answers.output) == (4000, "strict")
    one = api.operations["listOrders"]
    assert (one.shown.name, one.shown.title, one.shown.group) == ("find_orders", "Find orders", "reading")
    assert one.shown.annotations is not None
    assert one.shown.annotations.read_only_hint is True
    assert (one.set, one.hide, one.page) == ({"api-version": "2024-01"}, ("X-Trace",), Page("limit", 20, 20))
    assert one.scopes == frozenset({"mcp:read"})
    assert api.operations["get /orders/{id}"].form == "resource"
    assert api.operations["get /orders/{id}"].public


def test_an_operations_identity_says_what_differs_from_its_apis() -> None:
    one = read(WHOLE.encode())["orders"].operations["listOrders"].identity
    assert one == Identity(
        mode="client_credentials", audience="orders-api", scopes=frozenset({"orders:all"}), forward=("x-tenant",)
    )


def test_nothing_said_is_the_defaults() -> None:
    assert read(b"") == {}
    api = config()
    assert (api.choice.list, api.identity.mode, api.scopes.unmapped) == ("auto", "exchange", "keep")
    assert (api.answers.max_tokens, api.answers.output) == (8000, "loose")


def test_a_map_of_scopes_refuses_what_it_forgets() -> None:
    assert config('[apis.orders.scopes]\n"a" = "b"').scopes.unmapped == "refuse"


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("orders:read", {"mcp:read"}),
        ("orders:write", {"mcp:write", "mcp:audit"}),
        ("orders", None),
        ("xorders:read", None),
    ],
)
def test_a_scope_has_its_own_line_or_that_of_a_pattern(scope: str, found: Any) -> None:
    assert read(WHOLE.encode())["orders"].scopes.translated(scope) == found


def test_the_longest_pattern_wins_and_brackets_are_no_pattern() -> None:
    scopes = config('[apis.orders.scopes]\n"*" = "a"\n"orders:*" = "b"\n"x[yz]*" = "c"').scopes
    assert [scopes.translated(one) for one in ("orders:1", "other", "xy", "x[yz]1")] == [
        frozenset(one) for one in "baac"
    ]


def test_every_problem_is_in_one_report() -> None:
    found = problems("""
apis2 = 1
[apis."a b"]
[apis.orders]
docment = "x"
base_url = "ftp://x"
include = ["orders"]
list = "some"
[apis.orders.operations."get /x"]
pgae = { size = "limit" }
page = { max = 3 }
public = true
scopes = ["a"]
as = "prompt"
[apis.orders.identity]
mode = "passthrough"
forward = ["Authorization"]
""")
    assert [one.partition(": ")[0] for one in found] == [
        "apis2", "apis.a b", "apis.orders.docment", "apis.orders.base_url", "apis.orders.include", "apis.orders.list",
        'apis.orders.operations."get /x".pgae', 'apis.orders.operations."get /x".page',
        'apis.orders.operations."get /x".as', 'apis.orders.operations."get /x"', "apis.orders.identity.mode",
        "apis.orders.identity.forward",
    ]  # fmt: skip
    assert "did you mean apis?" in found[0]
    assert "did you mean document?" in found[2]
    assert "did you mean page?" in found[6]


FRAMING = [
    "Host", "Content-Length", "transfer-encoding", "Connection", "Upgrade", "TE", "Trailer", "Expect", "Keep-Alive",
    "Proxy-Authorization", "Proxy-Connection", "Content-Encoding", "Accept-Encoding",
]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "apis = 1",
        "[apis]\norders = 1",
        "[apis.orders]\noperations = 1",
        "[apis.orders]\noperations = { x = 1 }",
        "[apis.orders]\nscopes = []",
        '[apis.orders.scopes]\n"a" = ""',
        '[apis.orders.scopes]\n"a" = []',
        '[apis.orders.scopes]\n"a" = "two words"',
        '[apis.orders.scopes]\nunmapped = "drop"',
        "[apis.orders.answers]\nmax_tokens = 0",
        "[apis.orders.answers]\nmax_tokens = true",
        '[apis.orders]\nsha256 = "abc"',
        '[apis.orders]\nbase_url = "https://user:pw@x.test/"',
        '[apis.orders]\nbase_url = "https://x.test/?q=1"',
        '[apis.orders.identity]\nforward = ["Cookie"]',
        '[apis.orders.identity]\nforward = ["X-HTTP-Method-Override"]',
        '[apis.orders.identity]\nforward = ["X_Original_URL"]',
        '[apis.orders.identity]\nforward = ["a: b"]',
        *(f'[apis.orders.identity]\nforward = ["{name}"]' for name in FRAMING),
        *(f'[apis.orders.identity]\nmode = "secret"\nsecret = "k"\nheader = "{name}"' for name in FRAMING),
        *(f'[apis.orders.operations.x.identity]\nheader = "{name}"' for name in FRAMING),
        '[apis.orders.identity]\nmode = "secret"',
        "[apis.orders.identity]\nscopes = []",
        '[apis.orders.operations.x]\nname = "a.b"',
        '[apis.orders.operations.x]\nname = "' + "a" * 65 + '"',
        '[apis.orders.operations.x]\nset = ["a"]',
        "[apis.orders.operations.x]\nscopes = []",
        "[apis.orders.operations.x]\nannotations = { readOnly = true }",
        '[apis.orders.operations]\nx = { name = "a" }\ny = { name = "a" }',
    ],
)
def test_what_cannot_be_meant_is_told(text: str) -> None:
    assert len(problems(text)) == 1


@pytest.mark.parametrize("data", [b"[apis", b"\xff", b"a = " + b"[" * 5000])
def test_no_toml_is_a_problem_like_any_other(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"mcp\.toml"):
        read(data)


def test_a_problem_does_not_say_what_was_given() -> None:
    assert "s3cret" not in problems('[apis.orders]\nbase_url = "https://me:s3cret@x.test"')[0]


def test_limits_of_an_operation_are_read_and_what_is_none_is_named() -> None:
    table = "[apis.orders]\n[apis.orders.operations.x]\n"
    tuning = read(f"{table}limits = ['30/m per principal', '1000/day']".encode())["orders"].operations["x"]
    assert tuning.limits == ("30/m per principal", "1000/day")
    assert problems(f"{table}limits = ['30/y']")[0].startswith(
        "apis.orders.operations.x.limits: '30/y' is not a limit: "
    )
    assert problems(f"{table}limits = ['cost 0']")[0].startswith(
        "apis.orders.operations.x.limits: 'cost 0' is not a limit: "
    )
    assert problems(f"{table}limits = 5") == ["apis.orders.operations.x.limits: a list of limits is wanted"]
    assert problems(f"{table}limits = ['1/m']\nas = 'resource'") == [
        "apis.orders.operations.x: limits and as = resource: limits are of tools"
    ]
