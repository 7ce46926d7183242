"""How an address is spelled does not choose whose scopes are asked for, nor what a handler is given."""

import inspect
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_server import McpServer
from mcp_server.engine.methods import resources
from mcp_server.observe.log import logger
from mcp_server.registry.addresses.uri_template import UriTemplate
from tests.kit.contexts import context

ADMIN, READ = {"mcp:admin"}, {"mcp:read"}


def handler(uri: str) -> Any:
    """One for each variable of an address, which are texts."""
    names = UriTemplate(uri).names if "{" in uri else ()

    async def read(**values: str) -> dict[str, str]:
        return values

    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="") for name in names]
    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    read.__annotations__ = dict.fromkeys(names, str)
    return read


def serving(*uris: str) -> McpServer:
    server = McpServer("s")
    for uri in uris:
        server.resource(uri, name="one")(handler(uri))
    return server


def found(server: McpServer, uri: str) -> str | None:
    """The address of the resource that serves this one."""
    match = resources.find(server, uri)
    assert match is None or match.uri == uri  # what the client called it, for its answer
    return None if match is None else match.resource.uri


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    lines: list[Any] = []
    sink = logger.add(lambda message: lines.append((message.record["message"], message.record["extra"])), level="INFO")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("fixed", "template", "spellings"),
    [
        ("config://admin", "config://{name}", ["config://admin", "config://%61dmin", "config://%61%64%6d%69%6E"]),
        ("config://a/b", "config://{+path}", ["config://a/b", "config://a%2Fb", "config://a%2fb", "config://%61/b"]),
        ("config://x?q=a", "config://x{?q}", ["config://x?q=a", "config://x?q=%61"]),
        (
            "config://x?a=1&b=2",
            "config://x{?a,b}",
            ["config://x?a=1&b=2", "config://x?b=2&a=1", "config://x?b=%32&a=1"],
        ),
        ("config://x?q=", "config://x{?q}", ["config://x?q=", "config://x?q"]),
        ("config://ü", "config://{name}", ["config://ü", "config://%C3%BC", "config://%c3%bc"]),
        ("config://a%2Fb", "config://{name}", ["config://a%2Fb", "config://a%2fb", "config://%61%2fb"]),
        ("config://a/b", "config://a{/path*}", ["config://a/b", "config://a/%62"]),
    ],
)
def test_a_fixed_resource_is_served_however_it_is_spelled(
    fixed: str, template: str, spellings: list[str], order: int
) -> None:
    server = serving(*[fixed, template][::order])
    assert [found(server, one) for one in spellings] == [fixed] * len(spellings)
    assert found(server, "config://other/thing") in (None, template)


def test_the_first_of_two_templates_cannot_be_stepped_around() -> None:
    server = serving("files://secret/{name}", "files://{+path}")
    for spelled in ("files://secret/key", "files://secret%2Fkey", "files://%73ecret/key", "files://secret%2fk%65y"):
        match = resources.find(server, spelled)
        assert match is not None
        assert (match.resource.uri, match.arguments) == ("files://secret/{name}", {"name": "key"})
    assert found(server, "files://public/key") == "files://{+path}"


def test_no_escaped_letter_of_a_template_leads_around_it() -> None:
    """What the second one reads it writes with an `&` of its own, which the first does not read (RFC 3986 §6.2.2.2)."""
    server = serving("x://admin{?q}", "x://{+path}")
    for spelled in ("x://admin?q=1%26y", "x://%61dmin?q=1%26y", "x://admin?%71=%31%26y", "x://admi%6e?q=1%26y"):
        match = resources.find(server, spelled)
        assert match is not None
        assert (match.resource.uri, match.arguments) == ("x://admin{?q}", {"q": "1&y"}), spelled
    assert found(serving("x://%61%2F{b}"), "x://a%2F%62") == "x://%61%2F{b}"
    assert found(serving("x://{b}"), "x://%6%31") is None  # no escape becomes one
    assert found(serving("x://5%/{b}"), "x://5%/%61") == "x://5%/{b}"


def test_what_one_template_spells_anew_another_puts_in_order() -> None:
    server = serving("x://a{?p,q}", "x://{+any}", "x://a?p=2&q=1")
    for spelled in ("x://a?p=2&q=1", "x://a?q=1&p=2", "x://a%3Fq=1&p=2", "x://%61%3fq%3D1%26p%3D2"):
        assert found(server, spelled) == "x://a?p=2&q=1"


def test_what_a_template_would_write_as_anothers_address_is_read_as_it_is_spelled() -> None:
    """The first `?` opens the query: `a%3Fq=1` is a path, which expands to the address of another's (RFC 6570 §3.2.3)."""
    server = serving("x://{+path}{?q}")
    for spelled, arguments in (
        ("x://a%3Fq=1", {"path": "a?q=1", "q": ""}),
        ("x://%61?q=1", {"path": "a", "q": "1"}),
        ("x://a%2Fb%3Fq=1?q=2", {"path": "a/b?q=1", "q": "2"}),
    ):
        match = resources.find(server, spelled)
        assert match is not None
        assert (match.uri, match.arguments) == (spelled, arguments)
    assert found(serving("x://{+path}{?q}", "x://a?q=1"), "x://a%3Fq=1") == "x://a?q=1"  # whose scopes count


def test_what_is_no_such_address_is_not_found() -> None:
    server = serving("config://admin", "x://y{?q}")
    for other in (
        "config://",
        "config://admin/",
        "config://%2561dmin",
        "config://" + "%61" * 9999,
        "",
    ):
        assert found(server, other) is None
    assert found(serving("docs://{name}"), "docs://%2561dmin") == "docs://{name}"


async def test_a_handler_gets_no_path_that_leaves_its_folder(logged: list[Any]) -> None:
    server = serving("docs://{name}", "tree:///{+path}", "file://{+path}", "many://a{/path*}", "find://s{?q}")
    for refused in (
        "docs://..", "docs://%2e%2e", "docs://..%2fa", "docs://a%2f..%2Fb", "docs://a%5c..%5Cb", "docs://%2Fetc%2Fpasswd",
        "docs://a%00b", "docs://c%3A%5Ca", "docs://.", "tree:///../a", "tree:///a/../b", "tree:////etc/passwd",
        "tree:///%2Fetc", "tree:///a%00", "file:///a/../b", "many://a/../b", "many://a//b", "find://s?q=..", "find://s?q=%00",
    ):  # fmt: skip
        assert found(server, refused) is None, refused
    for served, given in (
        ("docs://a%2Fb", {"name": "a/b"}),
        ("docs://1.0..2.0", {"name": "1.0..2.0"}),
        ("tree:///a/b", {"path": "a/b"}),
        ("file:///home/a", {"path": "/home/a"}),
        ("many://a/b/c", {"path": "b/c"}),
        ("find://s?q=%2Fa", {"q": "/a"}),
    ):
        match = resources.find(server, served)
        assert match is not None
        assert match.arguments == given
        assert await match.resource.read(served, match.arguments, context)


def test_a_list_holds_no_path_that_leaves_its_folder() -> None:
    server = McpServer("s")

    @server.resource("tree://a{/path*}")
    async def tree(path: list[str]) -> list[str]:
        return path

    assert found(server, "tree://a/b/c")
    for refused in ("tree://a/b/..", "tree://a/%2e%2e/b", "tree://a/b/%2Fetc", "tree://a/b/c%00"):
        assert found(server, refused) is None


# Registration


def test_an_address_is_registered_once_however_it_is_spelled() -> None:
    server = serving("config://admin")
    with pytest.raises(ValueError, match=r"'config://%61dmin' is registered already, as 'config://admin'"):
        server.resource("config://%61dmin", name="one")(handler(""))
    assert list(server.resources) == ["config://admin"]
    server.remove_resource("config://admin")
    assert found(server, "config://admin") is None
    server.resource("config://%61dmin", name="one")(handler(""))
    assert found(server, "config://admin") == "config://%61dmin"


@pytest.mark.parametrize("order", [1, -1])
def test_a_template_that_covers_what_needs_more_is_told_of(logged: list[Any], order: int) -> None:
    server = McpServer("s")
    entries = [("config://admin", ADMIN), ("config://{name}", READ)][::order]
    for uri, scopes in entries:
        server.resource(uri, name="one", scopes=scopes)(handler(uri))
    ((line, extra),) = logged
    assert line == "a template covers a resource that needs more scopes"
    assert extra == {"template": "config://{name}", "resource": "config://admin", "scopes": ["mcp:admin"]}


@pytest.mark.parametrize(
    ("fixed", "template"),
    [
        (("config://admin", ADMIN), ("other://{name}", READ)),
        (("config://admin", READ), ("config://{name}", ADMIN | READ)),
        (("config://admin", READ), ("config://{name}", None)),
        (("config://a/b", ADMIN), ("config://{name}", READ)),
        (("config://..", ADMIN), ("config://{name}", READ)),
    ],
)
def test_one_that_covers_nothing_or_asks_for_as_much_is_not(logged: list[Any], fixed: Any, template: Any) -> None:
    server = McpServer("s")
    for uri, scopes in (fixed, template):
        server.resource(uri, name="one", scopes=scopes)(handler(uri))
    assert [line for line, _ in logged if "covers" in line] == []


@pytest.mark.parametrize(
    ("kind", "fixed", "spellings"),
    [
        (int, "7", ["7.0", "7e0", "70e-1", "%37"]),
        (float, "0.5", ["0.50", "5e-1"]),
        (bool, "true", ["TRUE", "1"]),
        (
            uuid.UUID,
            "7d444840-9dc0-11d1-b245-5ffdce74fad2",
            ["7D444840-9DC0-11D1-B245-5FFDCE74FAD2", "7d4448409dc011d1b2455ffdce74fad2"],
        ),
        (str, "admin", ["%61dmin"]),
    ],
)
def test_a_value_spelled_otherwise_is_the_fixed_resource_still(kind: Any, fixed: str, spellings: list[str]) -> None:
    async def any_of_them(value: Any) -> str:
        return str(value)

    async def one() -> str:
        return "one"

    any_of_them.__annotations__["value"] = kind
    for order in (1, -1):
        server = McpServer("s")
        entries: list[Any] = [("things://of/{value}", READ, any_of_them), (f"things://of/{fixed}", ADMIN, one)]
        for uri, scopes, handler_of in entries[::order]:
            server.resource(uri, name="n", scopes=scopes)(handler_of)
        for spelled in [fixed, *spellings]:
            assert found(server, f"things://of/{spelled}") == f"things://of/{fixed}", spelled
        server.remove_resource(f"things://of/{fixed}")
        assert found(server, f"things://of/{spellings[0]}") == "things://of/{value}"


async def test_the_arguments_of_an_address_are_one_calls_own() -> None:
    server = McpServer("s")

    @server.resource("many://a{/path*}", scopes=READ)
    async def many(path: list[str]) -> str:
        path.append("changed")
        return ",".join(path)

    for _ in range(2):
        assert resources.find_resource(server, "many://a/b") is server.resources["many://a{/path*}"]
        match = resources.find(server, "many://a/b")
        assert match
        (read,) = await match.resource.read(match.uri, match.arguments, context)
        assert read.text == "b,changed"


def test_what_was_found_is_forgotten_when_the_registry_changes() -> None:
    server = serving("config://{name}")
    assert resources.find_resource(server, "config://admin") is server.resources["config://{name}"]
    server.resource("config://admin", name="admin", scopes=ADMIN)(handler("config://admin"))
    assert resources.find_resource(server, "config://admin") is server.resources["config://admin"]
    server.remove_resource("config://admin")
    assert resources.find_resource(server, "config://admin") is server.resources["config://{name}"]
    for number in range(2 * resources.MAX_KEPT):
        assert resources.find_resource(server, f"config://{number}")
        assert len(resources._kept[server][1]) <= resources.MAX_KEPT
    long = "config://" + "a" * 5_000
    assert resources.find_resource(server, long) is None
    assert long not in resources._kept[server][1]
