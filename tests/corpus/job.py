"""One document through the import: what came of it, what breaks a rule, and whether calls of it arrive as meant."""

import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import jsonschema_rs
import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.document import read, source_of
from mcp_server.rest.model import CallValues, Operation, UnusableDocument
from mcp_server.rest.offer.config import ApiConfig, ScopeMap
from mcp_server.rest.offer.offered import Offer, Offered
from mcp_server.rest.offer.plan import plan
from mcp_server.rest.wire.address import base_of, request
from tests.kit.values import PLAIN, SPICY, NoValue, Values
from tests.kit.wire_reader import WireReader
from tests.kit.wire_styles import Asked, Sent, Unreadable

BASE: Final = "https://api.example.test/base"
CONFIG: Final = ApiConfig(scopes=ScopeMap(unmapped="keep"))
UNTOLD: Final = (
    "is needed with the others of the body", "is another parameter's name", "must be a media type",
    "which stands between items", "for it is a part of the path",
)  # fmt: skip
"""What the schema does not say: what holds between two arguments, and what a large one was shortened by."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_META: Final = jsonschema_rs.validator_for(
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "https://json-schema.org/draft/2020-12/schema"}
)


class Calls(msgspec.Struct, kw_only=True):
    """Calls that were made of a document's tools: `wrong` has a line for each that did not arrive as meant."""

    checked: int = 0
    no_value: int = 0
    unreadable: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)


class Counted(msgspec.Struct, kw_only=True):
    """How much a document holds; `tokens` are those of the whole list."""

    operations: int = 0
    tools: int = 0
    tokens: int = 0


class Result(msgspec.Struct, kw_only=True):
    """What came of one document; `refused` is why nothing did, `crashed` an error that nobody foresaw."""

    name: str
    size: int
    seconds: float = 0.0
    counted: Counted = msgspec.field(default_factory=Counted)
    refused: str = ""
    crashed: str = ""
    faults: list[str] = msgspec.field(default_factory=list)
    broken: list[str] = msgspec.field(default_factory=list)
    calls: Calls = msgspec.field(default_factory=Calls)


def imported(name: str, data: bytes, *, calls: bool = True, reverse: bool = True) -> Result:
    """Read, offered, held to the rules; with `calls` each tool is called, with `reverse` the order is turned round."""
    result = Result(name=name, size=len(data))
    began = time.process_time()
    try:
        offered = plan(read(source_of(data, f"file:///corpus/{name}")), CONFIG)
    except UnusableDocument as unusable:
        result.refused = str(unusable)
        return result
    except Exception as error:  # noqa: BLE001 - what the job is for
        result.crashed = f"{type(error).__name__}: {error}"[:300]
        return result
    finally:
        result.seconds = time.process_time() - began
    count = offered.report.count
    result.counted = Counted(operations=count.operations, tools=count.tools, tokens=count.tokens)
    result.faults = [f"{one.pointer}: {one.text}" for one in offered.report.refused]
    result.broken = list(broken(offered))
    if reverse:
        result.broken += _unlike(name, data, offered)
    if calls:
        _call(result.calls, data, offered)
    return result


def broken(offered: Offered) -> Iterable[str]:
    """Each rule that a tool breaks (what clients and providers refuse, and what JSON Schema does)."""
    names = Counter(one.name for one in offered.offers)
    for one in offered.offers:
        schema = one.arguments.schema_object()
        said = {
            "name": _NAME.fullmatch(one.name) and len(one.name) <= 48,
            "name twice": names[one.name] == 1,
            "description": one.description and len(one.description) <= 1024,
            "root": schema.get("type") == "object" and not {"$ref", "oneOf", "anyOf", "allOf", "not"} & schema.keys(),
            "key": all(map(_KEY.fullmatch, schema.get("properties", {}))),
            "2020-12": _META.is_valid(schema),
            "reference": _resolves(schema),
        }
        if one.output_schema is not None:
            output = msgspec.json.decode(one.output_schema)
            said |= {"output 2020-12": _META.is_valid(output), "output reference": _resolves(output)}
            said |= {"output root": output.get("type") == "object" and "$ref" not in output}
        for rule, held in said.items():
            if not held:
                yield f"{one.name}: {rule}"


def _resolves(schema: dict[str, Any]) -> bool:
    definitions = schema.get("$defs", {})
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        ref = node.get("$ref") if isinstance(node, dict) else None
        if isinstance(ref, str):
            name = ref.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
            if not ref.startswith("#/$defs/") or name not in definitions:
                return False
        children = node.values() if isinstance(node, dict) else node
        waiting += [one for one in children if isinstance(one, dict | list)]
    return True


def _unlike(name: str, data: bytes, offered: Offered) -> list[str]:
    """Names that change when the paths and methods stand the other way round."""
    document = msgspec.json.decode(data)
    document["paths"] = {
        path: dict(reversed(item.items())) if isinstance(item, dict) else item
        for path, item in reversed((document.get("paths") or {}).items())
    }
    turned = plan(read(source_of(msgspec.json.encode(document), f"file:///corpus/{name}")), CONFIG)
    before, after = ({one.operation.pointer: one.name for one in each.offers} for each in (offered, turned))
    return [
        f"{path}: {known} is {after.get(path)} in another order"
        for path, known in before.items()
        if after.get(path) != known
    ]


def _call(calls: Calls, data: bytes, offered: Offered) -> None:
    reader = WireReader(msgspec.json.decode(data))
    definitions = offered.document.definitions
    for one in offered.offers:
        try:
            calls.wrong += [f"{one.name}: {text}" for text in _differences(one, reader, definitions)]
            calls.checked += 1
        except NoValue:
            calls.no_value += 1
        except Unreadable:
            calls.unreadable += 1
        except Exception as error:  # noqa: BLE001 - what the job is for
            calls.wrong.append(f"{one.name}: {type(error).__name__}: {error}"[:300])


def _differences(offer: Offer, reader: WireReader, definitions: Any) -> list[str]:
    """A call with everything that the schema has; where a place does not take such texts, with plain ones."""
    schema = offer.arguments.schema_object()
    for text in (SPICY, PLAIN):
        arguments = Values(schema, text).value()
        try:
            values = offer.arguments.values(arguments)
            sent = request(offer.operation, values, _base(offer.operation), definitions)
            break
        except BadArguments as refused:
            if any(text in str(refused) for text in UNTOLD):
                raise NoValue(str(refused)) from refused
            if text == PLAIN:
                return [f"refuses its own schema's values: {refused}"[:300]]
    else:
        raise NoValue
    asked = Asked(method=sent.method, url=sent.url, headers=sent.headers, body=sent.body)
    wanted = Sent(parameters=values.parameters, body=values.body)
    origin = _base(offer.operation)
    found = reader.problems(offer.operation.pointer, asked, wanted, origin.origin + origin.path)
    return found + _lost(arguments, values)


def _base(operation: Operation) -> Any:
    return base_of(BASE)


def _lost(arguments: dict[str, Any], values: CallValues) -> list[str]:
    """Arguments that go nowhere: each must be a parameter, the body, or a member of it."""
    body = values.body
    arrived = [*values.parameters.values(), *([] if body is msgspec.UNSET else [body])]
    if isinstance(body, dict):
        arrived += body.values()
    texts = Counter(msgspec.json.encode(one, order="sorted") for one in arrived)
    wanted = Counter(msgspec.json.encode(one, order="sorted") for one in arguments.values() if one is not None)
    return [f"argument lost: {text.decode()!r:.100}" for text in wanted - texts]
