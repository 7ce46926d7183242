"""Which arguments a tool has: parameters and the body's members by keys that providers take, each with its wire place.

What the server itself says is never asked of a model: headers of the transport, parameters that carry credentials,
what the configuration has fixed, and what has one value only. A credential asked as an argument ends in the model's
context, and one that a model may set replaces ours.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from mcp_server.protocol import param_headers
from mcp_server.rest import header_names
from mcp_server.rest.model import Body, Operation, Parameter, Place, Schema, SecurityScheme
from mcp_server.rest.offer import names
from mcp_server.rest.offer.config import Identity, OperationOverrides
from mcp_server.rest.offer.guards import reserved
from mcp_server.rest.offer.guards.guard import Guard, Members
from mcp_server.rest.offer.schemas.files import BASE64, as_file, with_files
from mcp_server.rest.offer.schemas.keywords import fits
from mcp_server.rest.offer.schemas.kinds import kinds
from mcp_server.rest.offer.schemas.lean import Leaner
from mcp_server.rest.offer.schemas.members import TooComposed, members, without
from mcp_server.rest.offer.security import Unusable

SlotPlace = Place | Literal["field", "body"]
BODY: Final = "body"
MOST_FIELDS: Final = 20
_UNSPREAD: Final = frozenset({
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "enum", "const", "dependentSchemas",
    "dependentRequired", "patternProperties", "propertyNames", "minProperties", "maxProperties",
    "unevaluatedProperties", "discriminator",
})  # fmt: skip
_OF_A_SIZE: Final = ("title", "description", "minimum", "exclusiveMinimum", "deprecated", param_headers.KEYWORD)
_PLAIN: Final = frozenset(
    {"type", "format", "description", "enum", "default", "examples", "minimum", "maximum", "pattern"}
)
"""What schemas of almost all parameters are made of: none of it brings members."""
_PLACES: Final = ("path", "query", "querystring", "header", "cookie", "field", "body")


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One argument: its key, where its value goes and by which name; `made` where the schema is ours, no document's."""

    key: str
    place: SlotPlace
    wire: str
    required: bool
    schema: Schema
    description: str = ""
    example: Any = None
    deprecated: bool = False
    made: bool = False


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """All arguments of an operation, required ones first, and what is sent without being asked."""

    asked: tuple[Slot, ...]
    fixed: Mapping[tuple[Place, str], Any]
    needed_fields: frozenset[str]
    """The keys of the body's members that must all be there if one of them is."""
    guard: Guard
    spread: bool = False
    body_required: bool = False
    problems: tuple[str, ...] = ()


def slots(
    operation: Operation,
    tuning: OperationOverrides,
    schemes: Mapping[str, SecurityScheme],
    leaner: Leaner,
    identity: Identity | None = None,
) -> Slots:
    """The arguments of an operation; raises `Unusable` where a value is required and nobody may give it.

    `identity` is as whom it is called: a header that brings its secret, or a client's on, is no argument either.
    """
    ours = reserved.headers_of(identity)
    parameters = [one for one in operation.parameters if not _is_ours(one, schemes, ours)]
    body, settled = operation.body, _Settled(tuning, leaner)
    fields = _apart(_fields(body, leaner), parameters)
    asked = [slot for one in parameters if (slot := settled.parameter(one)) is not None]
    if body is not None and fields is not None:
        asked += [slot for name, schema in fields.items() if (slot := settled.field(name, schema, body)) is not None]
    elif body is not None:
        taken = settled.body(body)
        asked.append(_whole(taken, leaner, composed=taken is not body))
    keyed, needed = _keyed(asked), frozenset[str]()
    if body is not None and not body.required:
        needed = frozenset(one.key for one in keyed if one.place == "field" and one.required)
        keyed = [msgspec.structs.replace(one, required=False) if one.key in needed else one for one in keyed]
    own = Members(
        fixed=settled.fixed_fields,
        hidden=frozenset(settled.hidden_fields | settled.capped_fields),
        named=frozenset(settled.named_fields),
        whole=fields is None and body is not None,
        objects=settled.must_be_object,
    )
    # the size of a page is asked, and still no name to be written beside it: that one would have no cap
    size = None if tuning.page is None else tuning.page.size
    places = {(one.place, one.wire) for one in keyed if one.wire != size}
    free: dict[tuple[SlotPlace, str], Parameter] = {
        (one.place, one.name): one for one in parameters if (one.place, one.name) in places
    }
    guard = Guard(operation, list(free.values()), schemes.values(), own)
    apart = [_beside(slot, free.get((slot.place, slot.wire)), guard, leaner) for slot in keyed]
    return Slots(
        asked=tuple(sorted((slot for slot, _ in apart), key=lambda one: not one.required)),
        fixed=settled.fixed,
        needed_fields=needed,
        guard=guard,
        spread=fields is not None,
        body_required=body is not None and body.required,
        problems=(*settled.problems(), *(text for _, text in apart if text)),
    )


def _beside(slot: Slot, parameter: Parameter | None, guard: Guard, leaner: Leaner) -> tuple[Slot, str]:
    """An argument without the members that it would write under other parameters' names, and what is to say of that.

    AWS has an object whose member `Version` stands in the query beside the `Version` of the API itself.
    """
    if parameter is None or not isinstance(slot.schema, dict) or _PLAIN.issuperset(slot.schema):
        return slot, ""
    named = members(slot.schema, leaner.definitions).names
    if not named or not (taken := guard.taken(parameter, named)):
        return slot, ""
    try:
        lean = without(slot.schema, taken, leaner.definitions)
    except TooComposed:
        lean = slot.schema  # it is refused at a call all the same
    text = f"{parameter.name!r} writes its members by their own names, and other parameters have: "
    return msgspec.structs.replace(slot, schema=lean, made=True), text + ", ".join(map(repr, sorted(taken)))


def _apart(fields: Mapping[str, Schema] | None, parameters: list[Parameter]) -> Mapping[str, Schema] | None:
    """The members of the body if none has a parameter's name; else the model sees `body.id`, and no suffix."""
    taken = {form for one in parameters for form in (one.name, names.argument_key(one.name))}
    alike = fields is not None and any(name in taken or names.argument_key(name) in taken for name in fields)
    return None if alike else fields


def _is_ours(parameter: Parameter, schemes: Mapping[str, SecurityScheme], headers: frozenset[str]) -> bool:
    """Whether a parameter is no argument: a header of the transport, or what a security scheme sends."""
    name = header_names.folded(parameter.name)
    if parameter.place == "header" and (name in headers or not header_names.arguments(name)):
        return True
    return reserved.is_credential(parameter.place, parameter.name, schemes)


def _fields(body: Body | None, leaner: Leaner) -> Mapping[str, Schema] | None:
    """The members of a body that is spread; None where it stays one argument."""
    if body is None or body.kind not in ("json", "form", "multipart"):
        return None
    schema = leaner.resolved(body.schema)
    if (
        not isinstance(schema, dict)
        or schema.keys() & _UNSPREAD
        or schema.get("additionalProperties", False) is not False
    ):
        return None
    properties = schema.get("properties")
    if schema.get("type", "object") != "object" or not isinstance(properties, dict):
        return None
    shown = {name: inner for name, inner in properties.items() if not leaner.is_hidden(inner)}
    required = schema.get("required") or ()
    if not all(name in shown or name in properties for name in required):
        return None  # a member is required that is none of these: only the whole object can have it
    return shown if 0 < len(shown) <= MOST_FIELDS else None


def _required(schema: Schema, leaner: Leaner) -> frozenset[str]:
    found = leaner.resolved(schema)
    return frozenset(found.get("required") or ()) if isinstance(found, dict) else frozenset()


def _whole(body: Body, leaner: Leaner, *, composed: bool) -> Slot:
    """The body as one argument, `composed` where its schema is ours by now.

    A form of something that has no members is a tool that could never work.
    """
    schema, made = body.schema, composed
    shape = leaner.resolved(schema)
    if body.kind in ("form", "multipart"):
        if isinstance(shape, dict) and "object" not in kinds(shape, {}):
            raise Unusable("its body is a form, and of no type that has members")
        if shape is True or shape == {}:  # of what no schema is said parts with names can still be sent
            schema, made = {"type": "object"}, True
    if body.kind == "bytes":
        schema, made = {**BASE64, "description": "the bytes in base64"}, True
    elif body.kind == "text":
        schema, made = {"type": "string"}, True
    elif body.kind == "multipart":
        schema, has_files = with_files(schema, leaner)
        made = made or has_files
    return Slot(
        key=BODY, place="body", wire="", required=body.required, schema=schema, description=body.description, made=made
    )


def _not_empty(schema: Schema, leaner: Leaner) -> Schema:
    """A choice of texts without the empty one, which no path can have in it."""
    found = leaner.resolved(schema)
    if not isinstance(found, dict) or "" not in (choices := found.get("enum") or ()):
        return schema
    return {**found, "enum": [one for one in choices if one != ""]}


class _Settled:
    """What the configuration says of each value: asked, fixed or hidden, and which names it knows wrongly."""

    def __init__(self, tuning: OperationOverrides, leaner: Leaner) -> None:
        self._set, self._hide, self._page = dict(tuning.set), set(tuning.hide), tuning.page
        self._leaner = leaner
        self._known: list[str] = []
        self._met: set[str] = set()
        self.fixed: dict[tuple[Place, str], Any] = {}
        self.fixed_fields: dict[str, Any] = {}
        self.hidden_fields = {reserved.METHOD} - self._set.keys()
        self.named_fields: set[str] = set()
        self.capped_fields: set[str] = set()
        self._withheld: list[str] = []
        self.must_be_object = False

    def parameter(self, one: Parameter) -> Slot | None:
        """The argument for a parameter, or None where it is not asked."""
        ours, caseless = reserved.says_method(one.place, one.name), one.place == "header"
        fixed = self._fixed(one.name, one.schema, required=one.required and not ours, caseless=caseless)
        if fixed is not UNSET:
            self.fixed[one.place, one.name] = fixed
            return None
        if self._hidden(one.name, required=one.required, caseless=caseless, ours=ours):
            return None
        schema = _not_empty(one.schema, self._leaner) if one.place == "path" else one.schema
        slot = Slot(
            key="", place=one.place, wire=one.name, required=one.required, schema=schema, description=one.description,
            example=one.example, deprecated=one.deprecated, made=schema is not one.schema,
        )  # fmt: skip
        return self._paged(slot)

    def field(self, name: str, schema: Schema, body: Body) -> Slot | None:
        """The argument for a member of the body, or None where it is not asked."""
        required = name in _required(body.schema, self._leaner)
        fixed = self._fixed(name, schema, required=False)
        if fixed is not UNSET:
            self.fixed_fields[name] = fixed
            return None
        if self._hidden(name, required=required, ours=reserved.says_method("field", name)):
            self.hidden_fields.add(name)
            return None
        file = as_file(schema, self._leaner) if body.kind == "multipart" else None
        made = file is not None
        slot = Slot(key="", place="field", wire=name, required=required, schema=file or schema, made=made)
        if (paged := self._paged(slot, typed=body.kind == "json")) is not slot:
            self.capped_fields.add(name)
        return paged

    def body(self, body: Body) -> Body:
        """A body that is one argument without the members that are fixed or hidden, whatever it is composed of.

        Raises `Unusable` where they cannot be told apart: a model could then say what an operator says.
        """
        if body.kind in ("text", "bytes") or not (self._set or self._hide or self._says_method(body)):
            return body
        found = members(body.schema, self._leaner.definitions)
        names = found.names.keys() | found.required
        self._known += sorted(names)
        self.fixed_fields |= {name: self._set[name] for name in self._set if name in names}
        hidden = {*self._hide, reserved.METHOD} - self._set.keys()
        if lost := sorted(hidden & found.required):
            raise Unusable(f"{lost[0]!r} is hidden and required: give it a value under `set`")
        self._withheld += sorted((hidden & names) - self._hide)
        self.hidden_fields |= (hidden & names) | (hidden - self._met)  # an open object may have one that nothing names
        self._met |= self.fixed_fields.keys() | (hidden & names)
        gone = frozenset(self.fixed_fields) | (hidden & names)
        self.named_fields = names - gone
        self.must_be_object = bool(gone)
        if not gone:
            return body
        try:
            schema = without(body.schema, gone, self._leaner.definitions)
        except TooComposed:
            raise Unusable(f"{', '.join(sorted(gone))}: its body is composed of too much to take these out") from None
        return body if schema is body.schema else msgspec.structs.replace(body, schema=schema)

    def _says_method(self, body: Body) -> bool:
        """Whether it names a member that says a method; one that lies deeper is refused at a call."""
        shape = self._leaner.resolved(body.schema)
        named = shape.get("properties") if isinstance(shape, dict) else None
        return isinstance(named, dict) and any(reserved.says_method("field", name) for name in named)

    def problems(self) -> Iterable[str]:
        """A line for each name that the configuration has and the operation has not, or that nobody but us may have.

        Raises `Unusable` for one that has a value or is the size of a page, or is hidden and nearly the name of another
        one: what the operator meant would else be sent as a model wants.
        """
        for name in dict.fromkeys(self._withheld):
            yield f"{name!r} says another method, and is left out: `set` gives it a value, if that is meant"
        decided = dict.fromkeys(self._set, "set") | ({self._page.size: "page"} if self._page else {})
        for name in sorted({*decided, *self._hide} - self._met):
            near = difflib.get_close_matches(name.casefold(), [one.casefold() for one in self._known], 1, 0.8)
            text = f"no parameter {name!r}; there are: {', '.join(self._known[:12]) or 'none'}"
            if name in decided or near:
                raise Unusable(f"`{decided.get(name, 'hide')}` names {text}")
            yield text

    def _fixed(self, name: str, schema: Schema, *, required: bool, caseless: bool = False) -> Any:
        """The value that is sent unasked, UNSET if there is none: a chosen one, or the only one there is."""
        self._known.append(name)
        for key, value in self._set.items():
            if key == name or (caseless and key.lower() == name.lower()):
                self._met.add(key)
                return value
        found = self._leaner.resolved(schema)
        if not required or not isinstance(found, dict):
            return UNSET
        if isinstance(only := found.get("enum"), list) and len(only) == 1:
            return only[0]
        return found.get("const", UNSET)

    def _hidden(self, name: str, *, required: bool, caseless: bool = False, ours: bool) -> bool:
        found = [key for key in self._hide if key == name or (caseless and key.lower() == name.lower())]
        self._met |= set(found)
        if ours and required:
            raise Unusable(f"{name!r} says another method, and is required: give it a value under `set`")
        if found and required:
            raise Unusable(f"{name!r} is hidden and required: give it a value under `set`")
        if ours and not found:
            self._withheld.append(name)
        return ours or bool(found)

    def _paged(self, slot: Slot, *, typed: bool = False) -> Slot:
        """The size of a page with its default and its cap, where this argument is that; raises `Unusable`.

        It is a whole number whatever the document says: a text, or one of two alternatives, would have no cap. Where
        values are `typed`, as in JSON, a document's text could not be sent as a number.
        """
        if self._page is None or slot.wire != self._page.size:
            return slot
        self._met.add(slot.wire)
        admitted = kinds(slot.schema, self._leaner.definitions)
        if not admitted & {"integer", "number", *(() if typed else ("string",))}:
            raise Unusable(f"`page` names {slot.wire!r}, which is no number")
        found = self._leaner.resolved(slot.schema)
        base = {key: found[key] for key in _OF_A_SIZE if key in found} if isinstance(found, dict) else {}
        bounds = {"type": "integer", "maximum": self._page.max, "default": min(self._page.default, self._page.max)}
        if fits(least := base.get("minimum", 1), "number") and least <= 1:
            bounds["minimum"] = 1  # many an API reads 0 or -1 as all there is
        return msgspec.structs.replace(slot, schema={**base, **bounds}, made=True, required=False)


def _keyed(asked: list[Slot]) -> list[Slot]:
    """The arguments with keys of their own: a name that needs no change first, then the places in a fixed order."""
    taken: set[str] = set()
    keys: dict[tuple[str, str], str] = {}

    def rank(one: Slot) -> tuple[bool, bool, int, str]:
        wanted = names.argument_key(one.wire) if one.place != "body" else BODY
        return one.place != "body", wanted != one.wire, _PLACES.index(one.place), one.wire

    for one in sorted(asked, key=rank):
        wanted = BODY if one.place == "body" else names.argument_key(one.wire)
        if wanted in taken:
            wanted = f"{one.place}_{wanted}"
        if wanted in taken or len(wanted) > names.HARD_LIMIT:
            wanted = names.hashed(wanted, names.HARD_LIMIT, one.place, one.wire)
        taken.add(wanted)
        keys[one.place, one.wire] = wanted
    return [msgspec.structs.replace(one, key=keys[one.place, one.wire]) for one in asked]


def header(slot: Slot) -> str:
    """The header that a client repeats an argument in, if the document names one and clients would take it."""
    schema = slot.schema
    if not isinstance(schema, dict) or not isinstance(name := schema.get(param_headers.KEYWORD), str):
        return ""
    try:
        found = param_headers.find(
            {"properties": {slot.key: {"type": schema.get("type"), param_headers.KEYWORD: name}}}
        )
    except param_headers.BadAnnotation:
        return ""
    return name if found else ""
