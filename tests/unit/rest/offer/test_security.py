"""`security` → alternatives of the realm's scopes: default ones where nothing is asked, and never none."""

from typing import Any

import pytest

from mcp_server.rest.model import SecurityScheme
from mcp_server.rest.offer.security import LONGEST_TEXT
from tests.kit.offers import alternatives, document, oauth, offer, offered, operation

SCHEMES = {
    "oauth": oauth("read", "write", "admin"),
    "oidc": SecurityScheme(kind="openIdConnect"),
    "key": SecurityScheme(kind="apiKey", place="header", parameter="X-API-Key"),
    "basic": SecurityScheme(kind="http"),
    "tls": SecurityScheme(kind="mutualTLS"),
}
DEFAULT: tuple[frozenset[str], ...] = ()


def needs(*security: Any, text: str = "", none: bool = False) -> Any:
    made = operation("GET /x", "getX", security=None if none else alternatives(*security))
    return offer(document(made, schemes=SCHEMES), text).needs


@pytest.mark.parametrize(
    ("security", "found"),
    [
        ([], DEFAULT),
        ([{}], DEFAULT),
        ([{"oauth": ()}], DEFAULT),
        ([{"key": ()}], DEFAULT),
        ([{"basic": ()}, {"tls": ()}], DEFAULT),
        ([{"oauth": ("read",)}, {}], DEFAULT),
        ([{"oauth": ("write",)}, {"oauth": ("admin",)}], ({"write"}, {"admin"})),
        ([{"oauth": ("admin",)}, {"oauth": ("write",)}], ({"admin"}, {"write"})),
        ([{"oauth": ("read",), "key": ()}], ({"read"},)),
        ([{"oauth": ("read",), "oidc": ("openid",)}], ({"read", "openid"},)),
        ([{"oauth": ("read", "write")}], ({"read", "write"},)),
        ([{"oauth": ("read write",)}], ({"read", "write"},)),
        ([{"oauth": ("",)}], DEFAULT),
        ([{"key": ()}, {"oauth": ("write",)}], ({"write"},)),
        ([{"gone": ("read",)}, {"oauth": ("write",)}], ({"write"},)),
        ([{"basic": ("role",)}], DEFAULT),
        ([{"oauth": ("read",)}, {"oidc": ("read",)}], ({"read"},)),
    ],
)
def test_a_list_is_or_an_object_is_and(security: list[Any], found: Any) -> None:
    assert needs(*security).alternatives == found
    assert not needs(*security).public


def test_a_document_that_says_nothing_asks_for_the_default_scopes() -> None:
    assert needs(none=True).alternatives == DEFAULT


def test_a_scheme_that_is_not_there_is_a_fault_of_the_operation_alone() -> None:
    found = offered(
        document(
            operation("GET /x", "getX", security=alternatives({"gone": ("read",)})),
            operation("GET /y"),
            schemes=SCHEMES,
        )
    )
    assert [one.operation.path for one in found.offers] == ["/y"]
    (fault,) = found.report.refused
    assert (fault.pointer, fault.text) == ("/paths/~1x/get", "getX: security names no scheme of the document: gone")


MAP = '[apis.orders.scopes]\n"read" = "mcp:read"\n"write" = ["mcp:read", "mcp:write"]\n"role" = "mcp:admin"\n'


class TestMap:
    def test_the_realms_scopes_decide_and_the_apis_stay_apart(self) -> None:
        found = needs({"oauth": ("write",)}, {"oauth": ("read",)}, text=MAP)
        assert found.alternatives == ({"mcp:read", "mcp:write"}, {"mcp:read"})
        assert found.api_scopes == ({"write"}, {"read"})

    def test_a_role_counts_where_the_map_has_it(self) -> None:
        found = needs({"basic": ("role", "other")}, text=MAP)
        assert (found.alternatives, found.api_scopes) == (({"mcp:admin"},), ({"role"},))

    def test_what_it_forgets_is_refused_with_the_line_to_write(self) -> None:
        made = operation("GET /x", "getX", security=alternatives({"oauth": ("read", "admin")}))
        found = offered(document(made, schemes=SCHEMES), MAP)
        assert found.offers == ()
        (fault,) = found.report.refused
        assert 'getX: its scope admin has no translation: write under [apis.orders.scopes] "admin" = ' in fault.text
        assert found.report.unmapped == ("admin",)

    def test_another_alternative_is_still_a_way_in(self) -> None:
        assert needs({"oauth": ("admin",)}, {"oauth": ("read",)}, text=MAP).alternatives == ({"mcp:read"},)

    def test_it_may_keep_them(self) -> None:
        assert needs({"oauth": ("admin", "read")}, text=MAP + 'unmapped = "keep"').alternatives == (
            {"admin", "mcp:read"},
        )

    def test_or_take_the_default_ones(self) -> None:
        found = needs({"oauth": ("admin",)}, text=MAP + 'unmapped = "default"')
        assert (found.alternatives, found.api_scopes) == (DEFAULT, ({"admin"},))

    @pytest.mark.parametrize("scope", ['a"b', "é", "a\\b"])
    def test_what_no_token_could_carry_is_never_kept(self, scope: str) -> None:
        made = operation("GET /x", "getX", security=alternatives({"oauth": (scope,)}))
        found = offered(document(made, schemes=SCHEMES))
        assert found.offers == ()
        assert "has no translation" in found.report.refused[0].text


def test_only_the_configuration_opens_an_operation_to_everybody() -> None:
    found = needs({"oauth": ("write",)}, text="[apis.orders.operations.getX]\npublic = true")
    assert found.public
    assert found.alternatives == ()


def test_scopes_of_the_configuration_stand_for_the_documents() -> None:
    found = needs({"oauth": ("write",)}, text='[apis.orders.operations.getX]\nscopes = ["mcp:admin"]')
    assert (found.alternatives, found.api_scopes) == (({"mcp:admin"},), ({"write"},))
    found = needs(none=True, text='[apis.orders.operations.getX]\nscopes = ["mcp:admin"]')
    assert found.api_scopes == (frozenset(),)


class TestTexts:
    """What a document says of its scopes goes with them to the realm, by the realm's names."""

    def texts(self, said: dict[str, str], text: str = "", *asked: str) -> Any:
        scheme = SecurityScheme(kind="oauth2", scopes=said)
        made = operation("GET /x", "getX", security=alternatives({"oauth": asked or tuple(said)}))
        return dict(offered(document(made, schemes={"oauth": scheme}), text).scope_texts)

    def test_by_the_name_in_the_realm(self) -> None:
        mapped = '[apis.orders.scopes]\n"read" = "mcp:read"\n"w:*" = "mcp:write"\n"both" = ["mcp:a", "mcp:b"]'
        said = {"read": "See orders", "w:1": "Change orders", "w:2": "Cancel orders", "both": "All", "unused": "No"}
        assert self.texts(said, mapped, "read", "w:1", "both") == {
            "mcp:read": "See orders",
            "mcp:write": "Change orders; Cancel orders",
        }
        assert self.texts({"read": "See orders", "no": ""}) == {"read": "See orders"}

    def test_only_of_what_an_operation_needs(self) -> None:
        assert self.texts({"read": "See", "admin": "Everything"}, "", "read") == {"read": "See"}

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("See\nyour <b>orders</b>", "See your orders"),
            ("$${admin} ${x}", "$$ {admin} $ {x}"),
            ("\u202eslaed", "slaed"),
        ],
    )
    def test_it_is_one_line_of_plain_text(self, said: str, shown: str) -> None:
        assert self.texts({"read": said}) == {"read": shown}

    def test_it_is_bounded(self) -> None:
        mapped = '[apis.orders.scopes]\n"*" = "mcp:read"'
        found = self.texts({f"s{i}": f"{i} " + "many words " * 40 for i in range(20)}, mapped)
        assert len(found["mcp:read"]) <= LONGEST_TEXT
