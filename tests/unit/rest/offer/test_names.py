"""Names of tools: unique, readable, at most 48 characters, the same in whatever order the document stands."""

import re
from collections.abc import Sequence

import pytest

from mcp_server.rest.offer import names
from mcp_server.rest.offer.names import Named

NAME = re.compile(r"[a-zA-Z0-9_-]{1,48}")


def named(line: str, operation_id: str = "", *tags: str, chosen: str = "") -> Named:
    method, path = line.split(" ", 1)
    return Named(method=method, path=path, operation_id=operation_id, tags=tags, chosen=chosen)


def of(*operations: Named) -> list[str]:
    """The names in the order of the operations; the same whichever way round they stand."""
    found = names.tool_names(operations)
    assert names.tool_names(operations[::-1]) == found
    assert len(set(found.values())) == len(operations)
    return [found[one.key] for one in operations]


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [
        ("listOrders", "list_orders"),
        ("list-orders", "list_orders"),
        ("repos/list-for-org", "repos_list_for_org"),
        ("drive.files.list", "drive_files_list"),
        ("GetHTTPServer", "get_http_server"),
        ("getV2Pods", "get_v2_pods"),
        ("listS3Buckets", "list_s3_buckets"),
        ("получитьЗаказ", "poluchit_zakaz"),
        ("Создать-заказ", "sozdat_zakaz"),
        ("παραγγελία", "paraggelia"),
        ("récupérerÉtat", "recuperer_etat"),
        ("Straße_ändern", "strasse_andern"),
        ("list\u202e\u0000Orders", "list_orders"),
        ('"; DROP TABLE x; --', "drop_table_x"),
    ],
)
def test_an_operation_id_is_snake_case_in_ascii(operation_id: str, name: str) -> None:
    assert of(named("get /orders", operation_id)) == [name]


@pytest.mark.parametrize("operation_id", ["", "取得订单", "____", "\u202e"])
def test_where_no_word_can_be_read_the_method_and_path_are_the_name(operation_id: str) -> None:
    assert of(named("post /a/{b}/c:activate", operation_id)) == ["post_a_b_c_activate"]


def test_a_name_begins_with_a_letter() -> None:
    assert of(named("get /2fa", "2faEnable")) == ["get_2_fa_enable"]


def test_nothing_at_all_to_read_is_a_method_and_a_hash() -> None:
    first, second = of(named("get /订单"), named("get /客户"))
    assert re.fullmatch(r"get_[0-9a-f]{6}", first) or first == "get"
    assert re.fullmatch(r"get_[0-9a-f]{6}", second) or second == "get"


def test_ids_that_fastapi_made_are_the_function_alone() -> None:
    assert of(
        named("get /items/{item_id}", "read_item_items__item_id__get"),
        named("post /items/", "create_item_items__post"),
    ) == ["read_item", "create_item"]


def test_long_ids_that_begin_alike_stay_apart_and_readable() -> None:
    base = "retrieveTheConfigurationOfTheVirtualNetworkGatewayConnectionFor"
    found = of(
        named("get /a", f"{base}TheFirstSharedKeyOfAnOrganization"), named("get /b", f"{base}TheSecondSharedKeyOfIt")
    )
    for name in found:
        assert NAME.fullmatch(name)
        assert name.startswith("retrieve")
        assert re.search(r"_[0-9a-f]{6}$", name)


def test_one_long_word_is_cut() -> None:
    (name,) = of(named("get /a", "a" * 200))
    assert NAME.fullmatch(name)
    assert re.fullmatch(r"a+_[0-9a-f]{6}", name)


def test_two_alike_have_their_methods() -> None:
    assert of(named("get /orders", "orders"), named("post /orders", "orders")) == ["orders_get", "orders_post"]


def test_two_alike_of_one_method_have_the_last_word_of_the_path_that_differs() -> None:
    assert of(named("get /shops/orders", "list"), named("get /users/orders", "list")) == ["list_shops", "list_users"]


def test_what_nothing_tells_apart_has_a_hash() -> None:
    first, second = of(named("get /a/{b}"), named("get /a/b"))
    assert re.fullmatch(r"get_a_b(_[0-9a-f]{6})?", first)
    assert re.fullmatch(r"get_a_b_[0-9a-f]{6}", second) or re.fullmatch(r"get_a_b_[0-9a-f]{6}", first)


def test_a_way_out_that_another_has_already_is_not_taken() -> None:
    found = of(named("get /a", "orders"), named("post /a", "orders"), named("get /b", "ordersGet"))
    assert found[2] == "orders_get"


def test_a_name_of_ours_is_left_to_us() -> None:
    one = named("post /calls", "call_tool")
    assert names.tool_names([one], {"call_tool"}) == {one.key: "call_tool_post"}


def test_a_chosen_name_stands_and_the_other_one_gives_way() -> None:
    assert of(named("get /a", "x", chosen="Find-Orders"), named("get /b", "Find-Orders")) == [
        "Find-Orders",
        "find_orders",
    ]
    assert of(named("get /a", "x", chosen="orders"), named("get /b", "orders")) == ["orders", "orders_get"]


def test_two_chosen_names_that_are_alike_stay_apart() -> None:
    first, second = of(named("get /a", chosen="find"), named("get /b", chosen="find"))
    assert first == "find"
    assert re.fullmatch(r"find_[0-9a-f]{8}", second)


def test_a_chosen_name_that_no_tool_can_have_is_made_one() -> None:
    assert of(named("get /a", chosen="Найти заказы!")) == ["nayti_zakazy"]


class TestPrefixes:
    def test_that_of_a_controller_goes(self) -> None:
        ids = ("UsersController_findAll", "UsersController_create", "UsersController_remove")
        assert of(*(named(f"get /{one}", one, "users") for one in ids)) == ["find_all", "create", "remove"]

    def test_it_stays_where_two_tags_would_become_alike(self) -> None:
        ids = [(f"{kind}Controller_{verb}", kind) for kind in ("Users", "Orders") for verb in ("create", "findAll")]
        assert of(*(named(f"get /{one}", one, tag) for one, tag in ids)) == [
            "users_controller_create", "users_controller_find_all", "orders_controller_create",
            "orders_controller_find_all",
        ]  # fmt: skip

    def test_it_stays_where_a_name_without_it_is_another_operations(self) -> None:
        operations = [
            named("get /1", "UsersController_findAll", "users"),
            named("get /2", "UsersController_findOne", "users"),
            named("get /3", "findAll", "others"),
        ]
        assert of(*operations)[0] == "users_controller_find_all"

    def test_what_says_something_stays(self) -> None:
        ids: Sequence[str] = ("users_list", "users_create", "users_retrieve")
        assert of(*(named(f"get /{one}", one, "users") for one in ids)) == list(ids)

    def test_that_of_few_operations_stays(self) -> None:
        ids = ("Api_findAll", "Api_findOne", "searchThem", "countThem")
        assert of(*(named(f"get /{one}", one, "users") for one in ids))[0] == "api_find_all"


@pytest.mark.parametrize(
    ("wire", "key"),
    [
        ("limit", "limit"),
        ("filter[name]", "filter_name"),
        ("$top", "top"),
        ("@type", "type"),
        ("ids[]", "ids"),
        ("X-Request-ID", "X-Request-ID"),
        ("api-version", "api-version"),
        ("page.size", "page.size"),
        ("a b\u202ec", "a_b_c"),
        ("имя", "imya"),
        ("größe", "grosse"),
    ],
)
def test_a_key_of_an_argument_is_what_providers_take(wire: str, key: str) -> None:
    assert names.argument_key(wire) == key


@pytest.mark.parametrize("wire", ["", "[]", "$", "名前", "x" * 65, "\x00"])
def test_a_key_that_nothing_is_left_of_has_a_hash(wire: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{1,57}_[0-9a-f]{6}", names.argument_key(wire))
