"""Which operations are offered, and what is said of each: `mcp.toml` first, then the extensions of the document.

Extensions of the field are read beside ours: `x-mcp` (a truth or a table), `x-mcp-tool`, `x-mcp-annotations`,
`x-mcp-example`, `x-speakeasy-mcp`. HEAD, OPTIONS and TRACE tell a model nothing, and wait to be named.
"""

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.protocol.types.tools import ToolAnnotations
from mcp_server.rest.model import Document, Fault, Operation
from mcp_server.rest.offer import config_file
from mcp_server.rest.offer.config import WITH_TOKEN, ApiConfig, DisplayOverrides, Identity, OperationOverrides

_WAITING: Final = frozenset({"head", "options", "trace"})
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_NOTHING: Final = OperationOverrides()
_UNSENT: Final = 'is ignored, for mode is {}: a secret is sent where it is "secret"'
_UNKEYED: Final = (
    "the document asks for an API key, and a token is sent: a key is sent where identity.mode is 'secret', of the "
    "operation or of the API"
)
Match = Callable[[Operation], bool]


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that is offered, with what is said of it; `example` is whether its description shows one.

    One that is `pinned` is listed though the others have to be searched for.
    """

    operation: Operation
    tuning: OperationOverrides
    example: bool = False
    pinned: bool = False


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is offered, deprecated ones last, how many are not, and what is said of operations that are not there."""

    kept: tuple[Selected, ...]
    left_out: int
    problems: tuple[Fault, ...]


def select(document: Document, config: ApiConfig) -> Selection:
    """The operations of a document that a configuration offers."""
    included = [_matcher(pattern) for pattern in config.choice.include]
    naming = [_matcher(pattern) for pattern in config.choice.include if _names_method(pattern)]
    pinned = [_matcher(pattern) for pattern in config.choice.pin]
    excluded = [_matcher(pattern) for pattern in config.choice.exclude]
    opted = any(one.surroundings.extensions.get("x-mcp-tool") is True for one in document.operations)
    kept, problems = list[Selected](), list(_unmatched(document, config))
    for one in document.operations:
        if any(match(one) for match in excluded):
            problems += _unheard(one, config)
            continue
        if one.method.lower() in _WAITING and not any(match(one) for match in naming) and not _entries(one, config):
            continue
        if not (any(match(one) for match in included) if included else _is_offered(one, document, opted=opted)):
            problems += _unheard(one, config)
            continue
        said, wrong = _extensions(one, config)
        problems += [Fault(one.pointer, text) for text in wrong]
        entries = _entries(one, config)
        problems += [Fault(one.pointer, text) for text in _of_scopes(one, said, entries)]
        tuning = _tuned(said, entries)
        example, pin = bool(_own(one, "x-mcp-example")), any(match(one) for match in pinned)
        kept.append(Selected(operation=one, tuning=tuning, example=example, pinned=pin))
    kept.sort(key=lambda found: found.operation.about.deprecated)
    return Selection(kept=tuple(kept), left_out=len(document.operations) - len(kept), problems=tuple(problems))


def tuning(one: Operation, config: ApiConfig) -> OperationOverrides:
    """What is said of an operation, whether it is offered or not."""
    return _tuned(_extensions(one, config)[0], _entries(one, config))


def _tuned(said: OperationOverrides, entries: list[OperationOverrides]) -> OperationOverrides:
    for entry in entries:
        said = _over(entry, said)
    return said


def _names_method(pattern: str) -> bool:
    return pattern.startswith("id:") or pattern.partition(" ")[0].lower() in _WAITING


def _matcher(pattern: str) -> Match:
    """What tells whether an operation is meant by a pattern."""
    if pattern == "deprecated":
        return lambda one: one.about.deprecated
    kind, colon, glob = pattern.partition(":")
    if colon and kind == "tag":
        return lambda one: any(fnmatch.fnmatchcase(tag, glob) for tag in one.about.tags)
    if colon and kind == "id":
        return lambda one: fnmatch.fnmatchcase(one.about.operation_id, glob)
    method, _, path = pattern.rpartition(" ")
    wanted, fits = method.strip().lower(), _path(path)
    return lambda one: wanted in ("", "*", one.method.lower()) and fits(one.path) is not None


def _path(glob: str) -> Callable[[str], re.Match[str] | None]:
    """A pattern of paths: `*` within a segment, `**` across them; braces are those of the template."""
    pieces = re.split(r"(/\*\*$|\*\*|\*)", glob)
    special = {"/**": "(?:/.*)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(special.get(one, re.escape(one)) for one in pieces), re.DOTALL).fullmatch


def _is_offered(one: Operation, document: Document, *, opted: bool) -> bool:
    """What the document says, the nearest first."""
    speakeasy = _own(one, "x-speakeasy-mcp")
    if isinstance(speakeasy, Mapping) and speakeasy.get("disabled") is True:
        return False
    if opted:
        return _own(one, "x-mcp-tool") is True
    for extensions in (one.surroundings.extensions, one.surroundings.path_extensions, document.extensions):
        said = extensions.get("x-mcp")
        if isinstance(said, Mapping):
            said = said.get("enabled", True)
        if isinstance(said, bool):
            return said
    return True


def _own(one: Operation, name: str) -> Any:
    return one.surroundings.extensions.get(name)


def _entries(one: Operation, config: ApiConfig) -> list[OperationOverrides]:
    """What the configuration says of an operation: by its id, and over that by method and path."""
    return [config.operations[key] for key in _keys(one) if key in config.operations]


def _keys(one: Operation) -> list[str]:
    """The names of its table."""
    return [key for key in (one.about.operation_id, f"{one.method.lower()} {one.path}") if key]


def _table(config: ApiConfig, key: str) -> str:
    return f"apis.{config.name}.operations.{config_file.quoted(key)}"


def _extensions(one: Operation, config: ApiConfig) -> tuple[OperationOverrides, list[str]]:
    """What the document itself says of an operation, and what it may not say or says wrongly."""
    said: dict[str, Any] = {}
    speakeasy, hints, own = _own(one, "x-speakeasy-mcp"), _own(one, "x-mcp-annotations"), _own(one, "x-mcp")
    if isinstance(speakeasy, Mapping):
        said |= {key: speakeasy[key] for key in ("name", "title", "description") if key in speakeasy}
        groups = speakeasy.get("scopes")
        if isinstance(groups, list) and groups:  # where its tool is mounted; no scope of OAuth
            said["group"] = ", ".join(map(str, groups))
        said["annotations"] = _hints(speakeasy)
    if isinstance(hints, Mapping):
        said["annotations"] = {**said.get("annotations", {}), **_hints(hints)}
    if isinstance(own, Mapping):
        said |= own
    return config_file.of_extension(said, config.identity) if said else (_NOTHING, [])


def _of_scopes(one: Operation, said: OperationOverrides, entries: list[OperationOverrides]) -> Iterable[str]:
    """What became of the scopes that an extension names: they are who may call, so whoever reviews it is told."""
    speakeasy = _own(one, "x-speakeasy-mcp")
    if isinstance(speakeasy, Mapping) and speakeasy.get("scopes"):
        yield "x-speakeasy-mcp.scopes are read as groups: they say where a tool is mounted, not who may call it"
    if said.scopes is None:
        return
    named = " ".join(sorted(said.scopes))
    if any(entry.scopes is not None or entry.public for entry in entries):
        yield f"x-mcp.scopes ({named}) is ignored: mcp.toml says who may call it"
    else:
        yield f"x-mcp.scopes: {named} is needed, as the realm's and not translated, whatever `security` says"


def _hints(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _HINTS if name in found}


def _over(first: OperationOverrides, second: OperationOverrides) -> OperationOverrides:
    """One over the other: what the first leaves open, the second says."""
    return OperationOverrides(
        shown=DisplayOverrides(
            **{name: getattr(first.shown, name) or getattr(second.shown, name) for name in config_file.SHOWN}
        ),
        set={**second.set, **first.set},
        hide=(*first.hide, *second.hide),
        page=first.page or second.page,
        form=first.form or second.form,
        public=first.public or second.public,
        scopes=first.scopes or second.scopes,
        identity=first.identity or second.identity,
        limits=first.limits or second.limits,
    )


def hints(method: str, chosen: ToolAnnotations | None) -> ToolAnnotations:
    """The hints of a method (RFC 9110 §9.2, and QUERY), and those that somebody has chosen over them.

    What is left out is the specification's default, which is open world; POST and PATCH may destroy until told
    otherwise, for a client asks its user about those that say so.
    """
    name = method.lower()
    if name in ("get", "head", "options", "query"):
        own = {"readOnlyHint": True}
    else:
        own = {"destructiveHint": True, **({"idempotentHint": True} if name in ("put", "delete") else {})}
    if chosen is not None:
        own |= msgspec.to_builtins(chosen)
        if chosen.read_only_hint and chosen.destructive_hint is None:
            own.pop("destructiveHint", None)
    return msgspec.convert(own, ToolAnnotations)


def _unheard(one: Operation, config: ApiConfig) -> Iterable[Fault]:
    """A line for each table of an operation that is not selected, with why it is not."""
    keys = [key for key in _keys(one) if key in config.operations]
    if not keys:
        return
    if any(_matcher(pattern)(one) for pattern in config.choice.exclude):
        why = "exclude takes it out"
    else:
        why = "no pattern of include names it" if config.choice.include else "the document itself does not offer it"
    for key in keys:
        text = f"its operation is not selected, for {why}: this table only affects ctx.upstream calls"
        yield Fault(_table(config, key), text)


def unsent(config: ApiConfig) -> Iterable[Fault]:
    """A line for each secret, and header of one, that is not sent, for the mode is another."""
    base, own = config.identity, {key: one.identity for key, one in config.operations.items() if one.identity}
    for member in ("secret", "header"):
        stated = getattr(base, member)
        sent = any(one.mode == "secret" and getattr(one, member) == stated for one in (base, *own.values()))
        if stated and not sent:
            yield Fault(f"apis.{config.name}.identity.{member}", _UNSENT.format(base.mode))
        for key, one in own.items():
            if one.mode != "secret" and getattr(one, member) not in ("", stated):
                yield Fault(f"{_table(config, key)}.identity.{member}", _UNSENT.format(one.mode))


def unkeyed(document: Document, offered: Iterable[tuple[str, Operation, Identity]]) -> Iterable[Fault]:
    """A line for the tools whose operations ask for a key, in every alternative, and are called with a token."""
    asking: dict[str, list[str]] = {}
    for name, operation, identity in offered:
        if identity.mode not in WITH_TOKEN or not operation.security:
            continue
        keys = [_key_of(document, one) for one in operation.security]
        if all(keys):
            asking.setdefault(str(keys[0]), []).append(name)
    for key, names in asking.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"{', '.join(names[:3])}{more}: {_UNKEYED}"
        yield Fault(f"/components/securitySchemes/{key.replace('~', '~0').replace('/', '~1')}", text)


def _key_of(document: Document, alternative: Mapping[str, Any]) -> str | None:
    """The scheme of an alternative that is an API key; one in `Authorization` is a token in all but name."""
    found = ((name, document.schemes.get(name)) for name in alternative)
    keys = (name for name, one in found if one and one.kind == "apiKey" and one.parameter.lower() != "authorization")
    return next(keys, None)


def _unmatched(document: Document, config: ApiConfig) -> Iterable[Fault]:
    """A line for each entry of the configuration that means no operation: misspelt, or gone from the document."""
    ids = {one.about.operation_id for one in document.operations}
    paths = {f"{one.method.lower()} {one.path}" for one in document.operations}
    refused = [one.pointer for one in document.faults]
    for key in config.operations:
        if key not in ids and key not in paths:
            method, _, path = key.rpartition(" ")
            place = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method}"
            if any(pointer == place or pointer.startswith(f"{place}/") for pointer in refused):
                yield Fault(_table(config, key), "its operation cannot be read, and is refused")
                continue
            yield Fault(_table(config, key), f"no such operation{_hint(key, {*ids, *paths}, 0.5)}")
    names = (
        {f"tag:{tag}" for one in document.operations for tag in one.about.tags} | {f"id:{one}" for one in ids} | paths
    )
    for pattern in (*config.choice.include, *config.choice.exclude, *config.choice.pin):
        if not any(map(_matcher(pattern), document.operations)):
            yield Fault(f"apis.{config.name}", f"pattern {pattern!r} matches no operation{_hint(pattern, names, 0.75)}")


def _hint(given: str, known: set[str], likeness: float) -> str:
    near = difflib.get_close_matches(given, sorted(known - {"", "id:"}), 1, likeness)
    return f"; did you mean {near[0]!r}?" if near else ""
