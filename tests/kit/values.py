"""A value for a JSON Schema (2020-12), the same one each time: what a careful model would send, or one that wants to hurt."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

SPICY: Final = "a b/ç,&=?#%+;'\"~x"
"""Whatever ends a word somewhere: in a path, a query, a list, a percent-encoding."""
PLAIN: Final = "abc"
_FORMATS: Final = {
    "date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "time": "03:04:05Z", "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uri": "https://example.com/a?b=c", "url": "https://example.com/a", "uri-reference": "/a", "email": "a@example.com",
    "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "byte": "YWJj", "binary": "YWJj", "duration": "P1D",
}  # fmt: skip
_TRIED: Final = (
    PLAIN, "a", "A", "1", "12", "123", "ABC", "ABC-01", "a1", "abc-def", "abc_def", "a.b", "en", "en-US", "USD", "US", "12345", "1234567890",
    "123456789012", "0a1b2c3d", "a" * 8, "a" * 16, "a" * 20, "a" * 24, "a" * 26, "a" * 32, "a" * 36, "a" * 40, "a" * 64, "0" * 24, "0" * 32, "0x1234",
    "#aabbcc", "aabbcc", "10:20", "10:20:30", "1.2.3", "v1", "/abc", "abc/def", "abc:def", "arn:aws:abc:us-east-1:123456789012:abc/def", "us-east-1",
    "image/png",
    "+4915112345678", "projects/abc", "+1d", "true", "Abc", "192.0.2.0/24", "s3://abc/def", "urn:abc:def", "*", "", "-", "=", *_FORMATS.values(),
)  # fmt: skip
_DEEPEST: Final = 6


class NoValue(Exception):
    """None was found for this schema; there may be one."""


class Values:
    """For one schema with its definitions; `text` stands wherever any text may."""

    def __init__(self, schema: Mapping[str, Any], text: str = SPICY, *, everything: bool = True) -> None:
        self.schema, self.text, self.everything = schema, text, everything

    def value(self) -> Any:
        """One that the schema allows; raises `NoValue`."""
        found = self._of(self.schema, 0)
        if not jsonschema_rs.validator_for(
            {**self.schema, "$schema": "https://json-schema.org/draft/2020-12/schema"}
        ).is_valid(found):
            raise NoValue("what was made breaks the schema")
        return found

    def _of(self, schema: Any, depth: int) -> Any:
        if schema is True or schema == {}:
            return self.text
        if schema is False or depth > 3 * _DEEPEST:
            raise NoValue("too deep, or nothing is allowed")
        if "$ref" in schema:
            target = self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")]
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            merged = {**target, **rest} if isinstance(target, dict) else rest
            return self._of(merged, depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for name in ("oneOf", "anyOf"):
            if schema.get(name):
                return self._first(schema, name, depth)
        if schema.get("allOf"):
            return self._all(schema, depth)
        return self._typed(schema, depth)

    def _first(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != name}
        last = NoValue("no alternative")
        for one in schema[name]:
            try:
                return (
                    self._all({**rest, "allOf": [*rest.get("allOf", ()), one]}, depth)
                    if rest
                    else self._of(one, depth + 1)
                )
            except NoValue as error:
                last = error
        raise last

    def _all(self, schema: Mapping[str, Any], depth: int) -> Any:
        """The parts laid over each other, which is right for almost all that people write."""
        merged: dict[str, Any] = {}
        for part in ({key: value for key, value in schema.items() if key != "allOf"}, *schema["allOf"]):
            target = self._deref(part)
            if not isinstance(target, dict):
                continue
            properties = {**merged.get("properties", {}), **target.get("properties", {})}
            required = [*merged.get("required", ()), *target.get("required", ())]
            merged = {**merged, **target}
            if properties:
                merged["properties"] = properties
            if required:
                merged["required"] = list(dict.fromkeys(required))
        return self._of(merged, depth + 1)

    def _deref(self, schema: Any) -> Any:
        for _ in range(20):
            if not (isinstance(schema, dict) and "$ref" in schema):
                return schema
            schema = self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")]
        raise NoValue("references go round")

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind == "object" or (kind is None and ("properties" in schema or "required" in schema)):
            return self._object(schema, depth)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        if kind == "null":
            return None
        return self._string(schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        properties = schema.get("properties", {})
        found: dict[str, Any] = {}
        for name, one in properties.items():
            if name not in required and (depth >= _DEEPEST or not self.everything):
                continue
            try:
                found[name] = self._of(one, depth + 1)
            except NoValue:
                if name in required:
                    raise
        for name in required - properties.keys():
            found[name] = self.text
        while len(found) < schema.get("minProperties", 0):
            found[f"k{len(found)}"] = self._of(schema.get("additionalProperties", True), depth + 1)
        return found

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        fixed = [self._of(one, depth + 1) for one in schema.get("prefixItems", ())]
        least = schema.get("minItems", 0)
        if depth >= _DEEPEST and not least:
            return []
        wanted = max(least, min(2, schema.get("maxItems", 2))) - len(fixed)
        if wanted <= 0 or schema.get("maxItems") == 0:
            return fixed
        items = schema.get("items", True)
        if schema.get("uniqueItems"):
            item = self._deref(items)
            choices = item.get("enum", []) if isinstance(item, dict) else []
            if choices:
                return [*fixed, *choices[: max(wanted, 1)]][: schema.get("maxItems", 99)]
            return [*fixed, self._of(items, depth + 1)] if least <= 1 else self._distinct(items, wanted, depth)
        return [*fixed, *(self._of(items, depth + 1) for _ in range(wanted))]

    def _distinct(self, items: Any, wanted: int, depth: int) -> list[Any]:
        first = self._of(items, depth + 1)
        if isinstance(first, bool) or not isinstance(first, str | int):
            raise NoValue("different items")
        return [f"{first}{n}" if isinstance(first, str) else first + n for n in range(wanted)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        pattern = schema.get("pattern")
        if pattern is None and schema.get("format") in _FORMATS:
            return str(_FORMATS[schema["format"]])
        if schema.get("contentEncoding") == "base64":
            return "YWJj"
        examples = [one for one in schema.get("examples", ()) if isinstance(one, str)] if pattern else []
        for text in (
            *examples,
            self.text,
            *_TRIED,
            self.text * (least // max(1, len(self.text)) + 1),
            self.text[:most],
        ):
            fitted = text if len(text) >= least else text + "a" * (least - len(text))
            fitted = fitted[:most]
            if len(fitted) >= least and (pattern is None or _matches(pattern, fitted)):
                return str(fitted)
        raise NoValue(f"no text for {pattern}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise NoValue(f"pattern {pattern}") from error


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema.get("exclusiveMinimum") is not None:
        low = schema["exclusiveMinimum"] + 1
    if schema.get("exclusiveMaximum") is not None:
        high = schema["exclusiveMaximum"] - 1 if whole else schema["exclusiveMaximum"] - 0.5
    step = schema.get("multipleOf")
    found: int | float = 7 if whole else 7.5
    if step:
        found = step
    if low is not None and found < low:
        found = low if not step else -(-low // step) * step
    if high is not None and found > high:
        found = high if not step else high // step * step
    return json.loads(json.dumps(int(found) if whole and float(found).is_integer() else found))  # type: ignore[no-any-return]
