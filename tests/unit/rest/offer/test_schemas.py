"""Schemas of tools: lean, pruned by direction, valid, and no larger than a tool's share."""

from typing import Any, ClassVar

import jsonschema_rs
import msgspec
import pytest

from mcp_server.authoring.errors import BadArguments
from mcp_server.protocol import param_headers
from mcp_server.rest.offer.schemas.assembly import SHARE
from tests.kit.offers import answer, body, document, offer, operation, output, parameter, properties, schema

NODE = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}},
}


def shown(given: Any, **definitions: Any) -> Any:
    """A schema as the only argument shows it."""
    return properties(offer(document(operation("GET /x", "", parameter("p", schema=given)), definitions=definitions)))[
        "p"
    ]


def valid(found: Any) -> None:
    jsonschema_rs.Draft202012Validator(found)


class TestLean:
    def test_what_says_little_is_not_shown(self) -> None:
        given = {
            "type": "integer", "title": "T", "format": "int64", "xml": {"name": "x"}, "externalDocs": {"url": "u"},
            "x-internal": True, "$comment": "c", "readOnly": False, "examples": ["e" * 61, 1], "uniqueItems": False,
        }  # fmt: skip
        assert shown(given) == {"type": "integer", "examples": [1]}

    def test_what_says_something_is(self) -> None:
        given = {"type": "string", "format": "date", "minLength": 2, "maxLength": 3, "pattern": "^a", "enum": ["ab"]}
        assert shown(given) == given

    def test_a_long_default_or_enumeration_goes(self) -> None:
        assert shown({"type": "string", "default": "d" * 300, "enum": ["e" * 100] * 50}) == {"type": "string"}

    @pytest.mark.parametrize(
        ("pattern", "kept"),
        [
            ("^a+$", "^a+$"),
            ("/^a+$/i", "^a+$"),
            ("(", None),
            ("(?<=a", None),
            ("a" * 501, None),
            ("\\p{Lu}", "\\p{Lu}"),
        ],
    )
    def test_a_pattern_is_one_that_validators_take(self, pattern: str, kept: str | None) -> None:
        found = shown({"type": "string", "pattern": pattern})
        assert found.get("pattern") == kept

    def test_a_description_is_clean_and_short_at_every_depth(self) -> None:
        given = {
            "type": "object",
            "properties": {"a": {"description": "\u202eone\n\ntwo " + "x" * 900, "type": "string"}},
        }
        assert shown(given)["properties"]["a"] == {"description": "one", "type": "string"}

    def test_an_array_has_items_and_nothing_is_null_alone(self) -> None:
        given = {"type": "object", "properties": {"a": {"type": "array"}, "n": {"type": "null"}}}
        assert shown(given)["properties"] == {"a": {"type": "array", "items": {}}, "n": {"enum": [None]}}
        either = {"anyOf": [{"type": "string"}, {"type": "null"}]}
        assert shown(either) == either

    def test_one_of_is_any_of_for_requests(self) -> None:
        assert shown({"oneOf": [{"type": "string"}, {"type": "integer"}]}) == {
            "anyOf": [{"type": "string"}, {"type": "integer"}]
        }

    def test_a_type_that_no_value_has_goes(self) -> None:
        assert shown({"type": "string", "enum": [1, 2]}) == {"enum": [1, 2]}

    def test_no_schema_is_false_in_words_that_all_take(self) -> None:
        assert shown({"type": "object", "properties": {"a": False, "b": True}})["properties"] == {
            "a": {"not": {}},
            "b": {},
        }

    def test_a_schema_of_a_thousand_levels_ends(self) -> None:
        given: Any = {"type": "string"}
        for _ in range(300):
            given = {"type": "array", "items": given}
        valid(shown(given))

    def test_not_is_kept_only_where_nothing_is_cut_from_it(self) -> None:
        assert shown({"not": {"type": "string"}}) == {"not": {"type": "string"}}
        assert shown({"not": {"$ref": "#/$defs/A"}}, A={"type": "string"}) == {}
        assert shown({"not": {"title": "x"}}) == {}


class TestDirection:
    USER: ClassVar[Any] = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "stamp": {"$ref": "#/$defs/Stamp"},
            "wrapped": {"allOf": [{"$ref": "#/$defs/Stamp"}], "description": "d"},
            "name": {"type": "string"},
            "password": {"type": "string", "writeOnly": True},
        },
        "required": ["id", "stamp", "wrapped", "name", "password"],
    }
    STAMP: ClassVar[Any] = {"type": "string", "format": "date-time", "readOnly": True}

    def both(self, text: str = "") -> Any:
        made = operation(
            "POST /u", "u", body=body({"$ref": "#/$defs/User"}), answers=(answer({"$ref": "#/$defs/User"}),)
        )
        return offer(document(made, definitions={"User": self.USER, "Stamp": self.STAMP}), text)

    def test_what_is_read_only_is_not_asked_nor_required(self) -> None:
        found = schema(self.both())
        assert list(found["properties"]) == found["required"] == ["name", "password"]

    @pytest.mark.parametrize("mode", ["loose", "strict"])
    def test_what_is_write_only_is_not_promised(self, mode: str) -> None:
        found = output(self.both(f'answers = {{ output = "{mode}" }}'))
        assert list(found["properties"]) == ["id", "stamp", "wrapped", "name"]
        assert "password" not in found.get("required", [])

    def test_a_name_that_all_of_prunes_is_required_nowhere_in_it(self) -> None:
        given = {"allOf": [{"$ref": "#/$defs/User"}, {"required": ["id", "name"]}], "required": ["id"]}
        made = operation("POST /u", "u", body=body(given))
        found = properties(offer(document(made, definitions={"User": self.USER, "Stamp": self.STAMP})))["body"]
        assert found["allOf"][1] == {"required": ["name"]}
        assert "required" not in found


class TestReferences:
    def test_what_is_used_once_or_small_is_written_out(self) -> None:
        small, large = {"type": "string", "format": "uuid"}, {"type": "object", "properties": {"a": {"type": "string"}}}
        given = {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/S"}, "b": {"$ref": "#/$defs/S"}, "c": {"$ref": "#/$defs/L"}},
        }
        assert shown(given, S=small, L=large)["properties"] == {"a": small, "b": small, "c": large}

    def test_what_is_large_and_shared_stands_once(self) -> None:
        large = {"type": "object", "properties": {f"member{i}": {"type": "string"} for i in range(9)}}
        refs = [parameter("a", schema={"$ref": "#/$defs/L"}), parameter("b", schema={"$ref": "#/$defs/L"})]
        unused = {"type": "object"}
        found = schema(offer(document(operation("GET /x", "", *refs), definitions={"L": large, "Unused": unused})))
        assert found["properties"] == {"a": {"$ref": "#/$defs/L"}, "b": {"$ref": "#/$defs/L"}}
        assert found["$defs"] == {"L": large}

    def test_a_cycle_is_never_expanded(self) -> None:
        found = schema(
            offer(
                document(
                    operation("GET /x", "", parameter("p", schema={"$ref": "#/$defs/Node"})), definitions={"Node": NODE}
                )
            )
        )
        valid(found)
        assert found["$defs"] == {"Node": NODE}

    def test_a_chain_of_a_thousand_ends_within_the_share(self) -> None:
        definitions: dict[str, Any] = {
            f"N{i}": {"type": "object", "properties": {"next": {"$ref": f"#/$defs/N{i + 1}"}}} for i in range(1_000)
        }
        made = operation("GET /x", "", parameter("p", schema={"$ref": "#/$defs/N0"}))
        found = offer(document(made, definitions={**definitions, "N1000": {"type": "object"}}))
        valid(schema(found))
        assert len(found.arguments.schema) < 2 * SHARE

    def test_a_reference_that_leads_nowhere_admits_anything(self) -> None:
        assert shown({"$ref": "#/$defs/Gone", "description": "d"}) == {"description": "d"}

    def test_words_beside_a_reference_stand_for_the_definitions(self) -> None:
        given = {"$ref": "#/$defs/A", "description": "mine", "default": "x"}
        assert shown(given, A={"type": "string", "description": "theirs"}) == {
            "description": "mine", "default": "x", "type": "string",
        }  # fmt: skip

    def test_a_constraint_beside_a_reference_must_hold_as_well(self) -> None:
        made = operation("GET /x", "", parameter("p", schema={"$ref": "#/$defs/A", "minLength": 2}))
        found = schema(offer(document(made, definitions={"A": {"type": "string"}})))
        assert found["properties"]["p"] == {"$ref": "#/$defs/A", "minLength": 2}
        assert found["$defs"] == {"A": {"type": "string"}}

    def test_a_definitions_name_needs_no_escape(self) -> None:
        name = "Page«Öl/x~%»"
        node = {"type": "object", "properties": {"next": {"$ref": f"#/$defs/{name}"}}}
        made = operation("GET /x", "", parameter("p", schema={"$ref": f"#/$defs/{name}"}))
        found = schema(offer(document(made, definitions={name: node})))
        valid(found)
        (own,) = found["$defs"]
        assert found["properties"]["p"] == {"$ref": f"#/$defs/{own}"}
        assert own.isascii()

    def test_a_forged_mark_in_a_text_is_text(self) -> None:
        found = shown({"type": "string", "enum": ["\x000\x00", "b"], "default": "\x001\x00"})
        assert found["enum"] == ["\x000\x00", "b"]

    def test_all_that_refers_to_all_is_cut_at_the_share(self) -> None:
        names = [f"Type{i}" for i in range(200)]
        definitions = {
            name: {
                "type": "object",
                "description": f"is {name}",
                "properties": {
                    other.lower(): {"$ref": f"#/$defs/{other}"} for other in names[i + 1 : i + 9] + names[:2]
                },
            }
            for i, name in enumerate(names)
        }
        made = operation("POST /x", "", body=body({"$ref": "#/$defs/Type0"}))
        found = offer(document(made, definitions=definitions))
        valid(schema(found))
        assert len(found.arguments.schema) < 2 * SHARE
        text = msgspec.json.encode(schema(found))
        assert b'{"type":"object","description":"is Type' in text

    def test_what_is_written_out_too_deep_is_made_shallower(self) -> None:
        def tree(depth: int) -> Any:
            if not depth:
                return {"type": "string", "description": "a leaf of the tree that says something of itself"}
            return {"type": "object", "properties": {name: tree(depth - 1) for name in "abcd"}}

        made = operation("POST /x", "", body=body({"oneOf": [tree(6), {"type": "string"}]}))
        found = offer(made)
        valid(schema(found))
        assert len(found.arguments.schema) < 2 * SHARE


class TestDiscriminator:
    CAT: ClassVar[Any] = {
        "type": "object",
        "properties": {"kind": {"type": "string"}, "lives": {"type": "integer"}},
        "required": ["kind"],
    }
    DOG: ClassVar[Any] = {
        "type": "object",
        "properties": {"kind": {"type": "string"}, "tricks": {"type": "integer"}},
        "required": ["kind"],
    }

    def pets(self, mapping: Any) -> Any:
        discriminator = {"propertyName": "kind", **({"mapping": mapping} if mapping else {})}
        pet = {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "discriminator": discriminator}
        made = operation("POST /pets", "addPet", body=body({"$ref": "#/$defs/Pet"}))
        return offer(document(made, definitions={"Pet": pet, "Cat": self.CAT, "Dog": self.DOG}))

    def test_both_branches_pass_and_a_third_is_refused_by_its_name(self) -> None:
        found = self.pets({"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"})
        assert "anyOf" not in schema(found)
        for one in ({"kind": "cat", "lives": 9}, {"kind": "dog", "tricks": 1}):
            assert found.arguments.values({"body": one}).body == one
        with pytest.raises(BadArguments, match=r'^body\.kind: "fish" is not one of "cat" or "dog"$'):
            found.arguments.values({"body": {"kind": "fish"}})

    def test_without_a_mapping_only_the_api_knows_the_names(self) -> None:
        found = self.pets(None)
        assert found.arguments.values({"body": {"kind": "whatever"}}).body == {"kind": "whatever"}


class TestHeaders:
    @pytest.mark.parametrize("kind", ["string", "integer", "boolean"])
    def test_one_that_clients_repeat_is_kept_on_a_primitive(self, kind: str) -> None:
        found = schema(offer(operation("GET /x", "", parameter("p", schema={"type": kind, "x-mcp-header": "Region"}))))
        assert [one.header for one in param_headers.find(found)] == [b"mcp-param-region"]

    @pytest.mark.parametrize(
        "given",
        [
            {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}},
            {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}},
            {"type": "string", "x-mcp-header": "a b"},
            {"type": "string", "x-mcp-header": 7},
            {"type": "number", "x-mcp-header": "A"},
            {"type": ["string", "null"], "x-mcp-header": "A"},
            {"type": {"of": "no kind"}, "x-mcp-header": "A"},
            {"type": "object", "default": {"x-mcp-header": "A"}, "examples": [{"x-mcp-header": "A"}]},
            {"enum": [{"x-mcp-header": "A"}], "const": {"x-mcp-header": "A"}},
            {"type": "object", "properties": {"x-mcp-header": {"type": "string"}}},
        ],
    )
    def test_one_anywhere_else_does_not_stop_the_start(self, given: Any) -> None:
        assert param_headers.find(schema(offer(operation("GET /x", "", parameter("p", schema=given))))) == ()

    def test_two_of_one_name_are_one(self) -> None:
        given = [
            parameter(name, schema={"type": "string", "x-mcp-header": header})
            for name, header in (("a", "R"), ("b", "r"))
        ]
        assert len(param_headers.find(schema(offer(operation("GET /x", "", *given))))) == 1


class TestOutputs:
    ORDER: ClassVar[Any] = {
        "type": "object",
        "description": "an order",
        "properties": {
            "id": {"type": "integer", "description": "its number"},
            "at": {"type": "string", "format": "date"},
        },
        "required": ["id"],
    }

    def promised(self, *answers: Any, mode: str = "loose", **definitions: Any) -> Any:
        made = operation("GET /x", "", answers=answers)
        return output(offer(document(made, definitions=definitions), f'answers = {{ output = "{mode}" }}'))

    def test_loose_names_members_and_asks_for_nothing(self) -> None:
        assert self.promised(answer(self.ORDER)) == {
            "type": "object", "properties": {"id": {"description": "its number"}, "at": {}},
        }  # fmt: skip

    def test_loose_takes_all_good_answers_together(self) -> None:
        found = self.promised(answer(self.ORDER), answer({"type": "object", "properties": {"job": {}}}, "202"))
        assert list(found["properties"]) == ["id", "at", "job"]

    def test_strict_is_what_is_documented(self) -> None:
        assert self.promised(answer({"$ref": "#/$defs/Order"}), mode="strict", Order=self.ORDER) == self.ORDER

    def test_strict_keeps_its_references(self) -> None:
        found = self.promised(answer({"$ref": "#/$defs/Node"}), mode="strict", Node=NODE)
        valid(found)
        assert found["properties"]["next"] == {"$ref": "#/$defs/Node"}
        assert found["$defs"] == {"Node": NODE}

    @pytest.mark.parametrize("mode", ["loose", "strict"])
    def test_an_answer_that_is_no_object_has_no_promise(self, mode: str) -> None:
        assert self.promised(answer({"type": "array", "items": self.ORDER}), mode=mode) is None
        assert self.promised(answer(self.ORDER, media_type="text/csv"), mode=mode) is None
        assert self.promised(answer(self.ORDER), answer({}, "204", ""), mode=mode) is None
        assert self.promised(answer(self.ORDER, stream=True), mode=mode) is None
        assert self.promised(answer({"anyOf": [self.ORDER, {"type": "string"}]}), mode=mode) is None
        assert self.promised(mode=mode) is None

    def test_off_promises_nothing(self) -> None:
        assert self.promised(answer(self.ORDER), mode="off") is None

    def test_default_counts_where_no_other_answer_is_good(self) -> None:
        fault = answer({"type": "object", "properties": {"error": {}}}, "default")
        assert list(self.promised(answer(self.ORDER), fault)["properties"]) == ["id", "at"]
        assert list(self.promised(fault)["properties"]) == ["error"]

    def test_all_of_is_one_object(self) -> None:
        given = {"allOf": [{"$ref": "#/$defs/Order"}, {"type": "object", "properties": {"more": {}}}]}
        assert list(self.promised(answer(given), Order=self.ORDER)["properties"]) == ["id", "at", "more"]

    def test_problem_and_hal_are_json_too(self) -> None:
        assert self.promised(answer(self.ORDER, media_type="application/hal+json; charset=utf-8")) is not None
