"""`plan(document, config)`: one API as tools. Read this first: each other module of `offer` is one step of it.

An operation that cannot be offered is a reported fault of that operation, and no other one suffers for it.
"""

import difflib
from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Document, Fault, Operation
from mcp_server.rest.offer import arguments, budget, names, security, selection, slots, words
from mcp_server.rest.offer.arguments import Arguments
from mcp_server.rest.offer.config import ApiConfig, Identity
from mcp_server.rest.offer.offered import CallSettings, Offer, Offered
from mcp_server.rest.offer.report import Count, Rename, Report
from mcp_server.rest.offer.schemas.assembly import Assembler
from mcp_server.rest.offer.schemas.costs import fans_out
from mcp_server.rest.offer.schemas.outputs import output_schema
from mcp_server.rest.offer.security import Needs, Rules, Unusable
from mcp_server.rest.offer.selection import Selected

SEARCH_TOOLS: Final = frozenset({"search_tools", "describe_tool", "call_tool", "call_read_tool"})
"""Names that no operation may have: another list, and they would be another thing."""
_UNREADABLE: Final = (UnicodeEncodeError, OverflowError, RecursionError)
"""What the encoder raises for texts and numbers that JSON cannot have, and YAML can."""


def plan(document: Document, config: ApiConfig, reserved: Collection[str] = ()) -> Offered:
    """What is offered of a document; `reserved` are names that other tools have already."""
    selected = selection.select(document, config)
    planner = _Planner(document, config, selected.kept, frozenset(reserved) | SEARCH_TOOLS)
    offers = [offer for one in selected.kept if (offer := planner.offer(one)) is not None]
    cost = {one.name: budget.tokens(_entry_size(one)) for one in offers}
    total = sum(cost.values())
    search = budget.is_search(config.choice.list, len(offers), total)
    pinned = [cost[one.name] for one in offers if search and one.manner.pinned]
    if budget.is_search("auto", len(pinned), sum(pinned)):
        planner.remarks.append(
            Fault(f"apis.{config.name}.pin", f"{len(pinned)} pinned tools cost ≈ {sum(pinned)} tokens in each list")
        )
    report = Report(
        api=config.name,
        count=Count(
            operations=len(document.operations),
            tools=len(offers),
            left_out=selected.left_out,
            tokens=total,
            pinned=len(pinned),
        ),
        refused=(*document.faults, *planner.refused),
        remarks=(
            *selection.unsent(config),
            *selection.unkeyed(document, ((one.name, one.operation, one.manner.identity) for one in offers)),
            *selected.problems,
            *planner.remarks,
            *_unaudited(config, offers),
        ),
        renames=tuple(_renames(offers)),
        cost=cost,
        scopes={one.name: _shown_needs(one) for one in offers},
        unmapped=security.unmapped((one.operation.security for one in selected.kept), planner.rules),
        search=search,
    )
    texts = security.texts((one.needs for one in offers), planner.rules)
    return Offered(
        document=document, config=config, offers=tuple(offers), search=search, report=report, scope_texts=texts
    )


def _unaudited(config: ApiConfig, offers: Iterable[Offer]) -> Iterable[Fault]:
    """A line for each of `audit_arguments` that no tool takes: misspelt, and then no audit has its value."""
    taken = {one.key for offer in offers for one in offer.arguments.asked} if config.audit_arguments else set()
    for name in config.audit_arguments:
        if name not in taken:
            near = difflib.get_close_matches(name, sorted(taken), 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield Fault(f"apis.{config.name}.audit_arguments", f"no tool has an argument {name!r}{hint}")


class _Planner:
    """The operations of one document on their way; what parts they share is made once."""

    def __init__(
        self, document: Document, config: ApiConfig, kept: Iterable[Selected], reserved: Collection[str]
    ) -> None:
        self._document, self._config = document, config
        self.rules = Rules(schemes=document.schemes, scopes=config.scopes, api=config.name)
        self._inputs = Assembler(document.definitions, "input")
        self._outputs = Assembler(document.definitions, "output")
        kept = list(kept)
        self._names = names.tool_names([_named(one) for one in kept], reserved)
        ids = Counter(one.operation.about.operation_id for one in kept)
        self._by_id = {
            one.operation.about.operation_id: self._name(one.operation)
            for one in kept
            if ids[one.operation.about.operation_id] == 1
        }
        self._taken: dict[Hashable, tuple[Arguments, tuple[str, ...]]] = {}
        """By the identity of parameters, body and tuning, which all live as long as the plan is made."""
        self.refused: list[Fault] = []
        self.remarks: list[Fault] = []

    def offer(self, one: Selected) -> Offer | None:
        """One operation as it is offered; None, and a fault, where it cannot be."""
        try:
            return self._offer(one)
        except Unusable as error:
            self.refused.append(Fault(one.operation.pointer, f"{_label(one.operation)}: {error}"))
        except _UNREADABLE as error:
            self.refused.append(Fault(one.operation.pointer, f"{_label(one.operation)}: no JSON: {error}"[:300]))
        return None

    def _offer(self, one: Selected) -> Offer:
        operation, tuning = one.operation, one.tuning
        needs = security.needs(operation.security, tuning, self.rules)
        taken, form = self._arguments(one), tuning.form or "tool"
        if form != "tool" and operation.method.upper() != "GET":
            self.remarks.append(Fault(operation.pointer, "only a GET is a resource; it stays a tool"))
            form = "tool"
        title = words.title(operation, tuning.shown.title)
        return Offer(
            operation=operation,
            name=self._name(operation),
            title=title,
            description=words.description(
                operation, tuning.shown.description, self._following(operation), _example(one)
            ),
            arguments=taken,
            output_schema=self._promised(operation),
            needs=needs,
            annotations=selection.hints(operation.method, tuning.shown.annotations),
            manner=CallSettings(
                identity=tuning.identity or self._config.identity,
                page=tuning.page,
                form=form,
                group=tuning.shown.group,
                pinned=one.pinned,
                limits=tuning.limits,
            ),
        )

    def _arguments(self, one: Selected) -> Arguments:
        operation = one.operation
        key = (tuple(map(id, operation.parameters)), id(operation.body), id(one.tuning))
        if (made := self._taken.get(key)) is None:
            made = self._taken[key] = self._made(one)
        self.remarks += [Fault(operation.pointer, text) for text in made[1]]
        return made[0]

    def _made(self, one: Selected) -> tuple[Arguments, tuple[str, ...]]:
        """The arguments of an operation, and of all that take the same; and what is to say of them."""
        identity = one.tuning.identity or self._config.identity
        found = slots.slots(one.operation, one.tuning, self._document.schemes, self._inputs.leaner, identity)
        parts = self._inputs.parts((slot.schema, slot.made) for slot in found.asked)
        rendered, definitions = self._inputs.assemble(zip(parts, arguments.notes(found.asked), strict=True))
        schema = arguments.input_schema(zip(found.asked, rendered, strict=True), definitions)
        if fans_out(schema):
            raise Unusable("its arguments are alternatives of alternatives, too many to hold a value against")
        return Arguments(found, schema, self._document.definitions, one.tuning.page), found.problems

    def _promised(self, operation: Operation) -> bytes | None:
        """The output schema; none where an answer could not be held against it, which takes nothing from the tool."""
        found = output_schema(operation, self._config.answers.output, self._outputs)
        if found is None or not fans_out(found):
            return found
        text = (
            "its answer's schema is alternatives of alternatives, too many to hold an answer against: none is promised"
        )
        self.remarks.append(Fault(operation.pointer, text))
        return None

    def _name(self, operation: Operation) -> str:
        return self._names[_key(operation)]

    def _following(self, operation: Operation) -> list[str]:
        """The tools that the links of an operation lead to."""
        found = dict.fromkeys(self._by_id[link] for link in operation.about.links if link in self._by_id)
        return list(found)[:5]


def asked(operation: Operation, document: Document, config: ApiConfig) -> tuple[Needs, Identity]:
    """What a call of an operation needs, and as whom it is made, whether it is offered or not: a handler may make it.

    Where nobody could be let in by the map, the API's own names are all that is known of it.
    """
    tuning = selection.tuning(operation, config)
    rules = Rules(schemes=document.schemes, scopes=config.scopes, api=config.name)
    try:
        needs = security.needs(operation.security, tuning, rules)
    except Unusable:
        needs = security.untranslated(operation.security, rules)
    return needs, tuning.identity or config.identity


def _named(one: Selected) -> names.Named:
    operation = one.operation
    return names.Named(
        method=operation.method,
        path=operation.path,
        operation_id=operation.about.operation_id,
        tags=operation.about.tags,
        pointer=operation.pointer,
        chosen=one.tuning.shown.name,
    )


def _key(operation: Operation) -> names.Key:
    return operation.path, operation.method, operation.about.operation_id, operation.pointer


def _label(operation: Operation) -> str:
    return operation.about.operation_id or f"{operation.method.upper()} {operation.path}"


def _example(one: Selected) -> str:
    """The example of the body's schema, where the document asks for it to be shown."""
    body = one.operation.body
    if not one.example or body is None or not isinstance(body.schema, dict):
        return ""
    found = body.schema.get("examples")
    return words.example(found[0]) if isinstance(found, list) and found else ""


def entry(offer: Offer) -> dict[str, Any]:
    """An offer as `tools/list` shows it, its schemas as they are encoded."""
    shown: dict[str, Any] = {"name": offer.name, "description": offer.description}
    if offer.title:
        shown["title"] = offer.title
    shown["inputSchema"] = msgspec.Raw(offer.arguments.schema)
    if offer.output_schema is not None:
        shown["outputSchema"] = msgspec.Raw(offer.output_schema)
    shown["annotations"] = offer.annotations
    return shown


def _entry_size(offer: Offer) -> int:
    return len(msgspec.json.encode(entry(offer))) + 1


def _renames(offers: Iterable[Offer]) -> Iterable[Rename]:
    """The tools that are not called what their operations are, in whatever letters and with whatever marks."""
    for one in offers:
        operation_id = one.operation.about.operation_id
        if operation_id and one.name != "_".join(names.words(operation_id)):
            yield Rename(operation_id, one.name)


def _shown_needs(offer: Offer) -> tuple[tuple[str, ...], ...]:
    if offer.needs.public:
        return ()
    return tuple(tuple(sorted(one)) for one in offer.needs.alternatives) or ((),)
