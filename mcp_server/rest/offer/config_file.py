"""`mcp.toml` → the configuration of APIs: every problem in one report, each with its place and the nearest right key.

A key that is misspelt and passed over is how an `exclude` or a `public` gets lost.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_args

import msgspec

from mcp_server.limits import rule
from mcp_server.observe.redaction import is_secret
from mcp_server.protocol.types.tools import ToolAnnotations
from mcp_server.rest import header_names
from mcp_server.rest.offer import names
from mcp_server.rest.offer.config import (
    Answers,
    ApiConfig,
    ConfigError,
    DisplayOverrides,
    Form,
    Identity,
    IdentityMode,
    Listing,
    OperationFilter,
    OperationOverrides,
    Origin,
    Output,
    Page,
    ScopeMap,
    Unmapped,
)

_API: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")
_URL: Final = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_PATTERN: Final = re.compile(r"deprecated|(?:tag|id):.+|(?:[A-Za-z*]+ )?/\S*")
_METHOD_PATH: Final = re.compile(r"([A-Za-z]+)\s+(/\S*)")
Check = Callable[["_Report", str, Any], Any]


def read(data: bytes) -> dict[str, ApiConfig]:
    """The APIs of a configuration file by their names; raises `ConfigError`."""
    return of_tables(tables(data))


def tables(data: bytes, place: str = "mcp.toml") -> Mapping[str, Any]:
    """The tables of a configuration file; raises `ConfigError` with its place where it is no TOML."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"{place}: {error}"]) from error


def of_tables(values: Mapping[str, Any]) -> dict[str, ApiConfig]:
    """The APIs of tables that are decoded already, as `read`; raises `ConfigError`."""
    problems: list[str] = []
    found = validated(values, problems)
    if problems:
        raise ConfigError(problems)
    return found


def validated(values: Mapping[str, Any], problems: list[str]) -> dict[str, ApiConfig]:
    """The same as far as they can be read; a line for each problem is added."""
    report = _Report()
    apis = report.table("", values, {"apis": _any_table}).get("apis", {})
    found = {}
    for name, value in apis.items():
        if not _API.fullmatch(name):
            report.add(f"apis.{name}", "a name of letters, digits, _ and - is wanted, 41 at most")
        found[name] = _api(report, f"apis.{name}", name, value)
    problems += report.problems
    return found


class _Report:
    """The problems that were met, and tables read with what is known of their keys."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, place: str, text: str) -> Any:
        """Note a problem; None, which stands for what could not be read."""
        self.problems.append(f"{place}: {text}")
        return None

    def table(self, place: str, value: Any, known: Mapping[str, Check]) -> dict[str, Any]:
        """The members of a table that could be read."""
        if not isinstance(value, dict):
            self.add(place or "mcp.toml", "a table is wanted")
            return {}
        found = {}
        for key, inner in value.items():
            where = f"{place}.{quoted(key)}".removeprefix(".")
            if key not in known:
                self.add(where, f"no such key{_hint(place, key, known)}")
            elif (read := known[key](self, where, inner)) is not None:
                found[key] = read
        return found


def _hint(place: str, key: str, known: Iterable[str]) -> str:
    """Where a key stands that was written a table too high, else the nearest one, else what there is."""
    if place.count(".") == 1 and (table := _BELOW_API.get(key)):
        return f"; it stands in [{place}.{table}]"
    if near := difflib.get_close_matches(key, known, 1, 0.5):
        return f"; did you mean {near[0]}?"
    return f"; there are {_list(known)}" if place else "; what is said of an API stands in [apis.NAME]"


def quoted(key: str) -> str:
    """A key as TOML writes it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _any_table(report: _Report, place: str, value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return report.add(place, "a table is wanted")


def _of(wanted: str, right: Callable[[Any], bool], made: Callable[[Any], Any] = lambda value: value) -> Check:
    """A check by a condition, which says what is wanted and not what was given: it may be a secret."""

    def check(report: _Report, place: str, value: Any) -> Any:
        return made(value) if right(value) else report.add(place, f"{wanted} is wanted")

    return check


def _one_of(kind: Any) -> Check:
    values = get_args(kind)

    def check(report: _Report, place: str, value: Any) -> Any:
        if value in values:
            return value
        return report.add(place, f"one of {', '.join(values)} is wanted{_near(value, values)}")

    return check


def _near(value: Any, known: Iterable[str]) -> str:
    """The nearest right word; what was given is never said, for it may be a secret."""
    near = difflib.get_close_matches(value, known, 1, 0.5) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(one) for one in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_scopes(value: Any) -> bool:
    return _is_texts(value) and bool(value) and all(_SCOPE.fullmatch(one) for one in value)


_text: Final = _of("a text", _is_text)
_texts: Final = _of("a list of texts", _is_texts, tuple)
_count: Final = _of("a whole number above 0", _is_count)
_truth: Final = _of("true or false", lambda value: isinstance(value, bool))
_scopes: Final = _of("a list of scopes, one at least", _is_scopes, frozenset)


def _patterns(report: _Report, place: str, value: Any) -> Any:
    wrong = [one for one in value if not _PATTERN.fullmatch(one)] if _is_texts(value) else []
    if _is_texts(value) and not wrong:
        return tuple(value)
    hint = next(filter(None, (_near(f"{one.partition(':')[0]}", ("tag", "id", "deprecated")) for one in wrong)), "")
    wanted = 'a list of patterns like "tag:orders", "id:list*", "get /orders/**", "deprecated" is wanted'
    return report.add(place, f"{wanted}{hint}")


_url: Final = _of(
    "an http or https URL without user, query and fragment",
    lambda value: bool(_is_text(value) and _URL.fullmatch(value)),
)
_name: Final = _of(
    "a name of 1 to 64 of a-z A-Z 0-9 _ -", lambda value: bool(_is_text(value) and names.NAME.fullmatch(value))
)
_header: Final = _of(
    f"the name of a header, and none that frames the request ({_list(header_names.TRANSPORT)}, proxy-*),",
    lambda value: bool(_is_text(value) and header_names.is_token(value) and not header_names.transports(value)),
)
_NOT_FORWARDED: Final = _list(
    header_names.CREDENTIALS | header_names.BODY | header_names.TRANSPORT | header_names.METHOD | header_names.TARGET
)
_forwarded: Final = _of(
    f"a list of header names, and never {_NOT_FORWARDED}, proxy-*: the caller's credential, another frame or request,",
    lambda value: (
        _is_texts(value) and all(header_names.is_token(one) and header_names.forwardable(one) for one in value)
    ),
    lambda value: tuple(one.lower() for one in value),
)
_sha256: Final = _of(
    "64 hexadecimal digits", lambda value: bool(_is_text(value) and re.fullmatch(r"[0-9a-fA-F]{64}", value)), str.lower
)
_identity_scopes: Final = _of(
    '"operation" or a list of scopes', lambda value: value == "operation" or _is_scopes(value)
)


_audited: Final = _of(
    "a list of arguments, none of whose names is a secret's,",
    lambda value: _is_texts(value) and not any(map(is_secret, value)),
    tuple,
)


_IDENTITY: Final[Mapping[str, Check]] = {
    "mode": _one_of(IdentityMode), "audience": _text, "scopes": _identity_scopes, "forward": _forwarded,
    "secret": _text, "header": _header,
}  # fmt: skip
_PAGE: Final[Mapping[str, Check]] = {"size": _text, "max": _count, "default": _count}
_ANNOTATIONS: Final[Mapping[str, Check]] = {
    "readOnlyHint": _truth, "destructiveHint": _truth, "idempotentHint": _truth, "openWorldHint": _truth,
}  # fmt: skip
_ANSWERS: Final[Mapping[str, Check]] = {"max_tokens": _count, "output": _one_of(Output)}


def _identity_table(report: _Report, place: str, value: Any) -> Any:
    return report.table(place, value, _IDENTITY)


def _identity(read: Mapping[str, Any], base: Identity) -> Identity:
    """An identity with what is said of it; an operation's says only what differs from its API's."""
    named = {key: inner for key, inner in read.items() if key != "scopes"}
    scopes = read.get("scopes", base.scopes)
    made = {key: getattr(base, key) for key in ("mode", "audience", "forward", "secret", "header")} | named
    return Identity(**made, scopes=None if scopes in ("operation", None) else frozenset(scopes))


def _page(report: _Report, place: str, value: Any) -> Any:
    read = report.table(place, value, _PAGE)
    if "size" not in read:
        return report.add(place, "size is wanted: the parameter that is the size of a page") if read else None
    most = read.get("max", 100)
    return Page(read["size"], most, min(read.get("default", 25), most))


def _annotations(report: _Report, place: str, value: Any) -> Any:
    return msgspec.convert(report.table(place, value, _ANNOTATIONS), ToolAnnotations)


def _fixed(report: _Report, place: str, value: Any) -> Any:
    return value if isinstance(value, dict) else report.add(place, "a table of names and values is wanted")


def _limits(report: _Report, place: str, value: Any) -> Any:
    """Limits of the operation's tool; as an author of a function writes them."""
    if not _is_texts(value):
        return report.add(place, "a list of limits is wanted")
    try:
        rule.bounds(value)
    except ValueError as error:
        return report.add(place, str(error))
    return tuple(value)


_OPERATION: Final[Mapping[str, Check]] = {
    "name": _name, "title": _text, "description": _text, "group": _text, "annotations": _annotations, "set": _fixed,
    "hide": _texts, "page": _page, "as": _one_of(Form), "public": _truth, "scopes": _scopes,
    "identity": _identity_table, "limits": _limits,
}  # fmt: skip
SHOWN: Final = ("name", "title", "description", "group", "annotations")


def tuning(read: Mapping[str, Any], base: Identity) -> OperationOverrides:
    """What is said of an operation, from the members of its table."""
    return OperationOverrides(
        shown=DisplayOverrides(**{key: read[key] for key in SHOWN if key in read}),
        set=read.get("set", {}),
        hide=read.get("hide", ()),
        page=read.get("page"),
        form=read.get("as"),
        public=read.get("public", False),
        scopes=read.get("scopes"),
        identity=_identity(read["identity"], base) if "identity" in read else None,
        limits=read.get("limits", ()),
    )


def _operators(report: _Report, place: str, _: Any) -> Any:
    return report.add(place, "ignored: only mcp.toml says that, and no document")


def of_extension(value: Mapping[str, Any], base: Identity) -> tuple[OperationOverrides, list[str]]:
    """What `x-mcp` says of an operation in the same words, and a line for each that it may not say.

    A document decides neither who may call (`public`) nor as whom (`identity`): that is the operator's.
    """
    report = _Report()
    known = {key: check for key, check in _OPERATION.items() if key not in ("public", "identity")}
    known |= dict.fromkeys(("public", "identity"), _operators)
    read = report.table("x-mcp", {key: inner for key, inner in value.items() if key != "enabled"}, known)
    return tuning(read, base), report.problems


def _operations(report: _Report, place: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return report.add(place, "a table is wanted")
    found = {}
    for key, inner in value.items():
        where = f"{place}.{quoted(key)}"
        found[_operation_key(key)] = read = report.table(where, inner, _OPERATION)
        if read.get("public") and "scopes" in read:
            report.add(where, "public and scopes: what is open to everybody needs no scope")
        if read.get("as") == "resource" and "limits" in read:
            report.add(where, "limits and as = resource: limits are of tools")
    return found


def _operation_key(key: str) -> str:
    """An operationId, or method and path with the method in small letters."""
    found = _METHOD_PATH.fullmatch(key.strip())
    return f"{found[1].lower()} {found[2]}" if found else key


def _scope_map(report: _Report, place: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return report.add(place, "a table is wanted")
    mapped: dict[str, frozenset[str]] = {}
    unmapped: Unmapped = "refuse"
    for name, inner in value.items():
        where = f"{place}.{quoted(name)}"
        if name == "unmapped":
            unmapped = _one_of(Unmapped)(report, where, inner) or unmapped
        elif not _is_scopes([inner] if isinstance(inner, str) else inner):
            report.add(where, "a scope of the realm is wanted, or a list of them")
        else:
            mapped[name] = frozenset([inner] if isinstance(inner, str) else inner)
    return ScopeMap(names=mapped, unmapped=unmapped)


_API_KEYS: Final[Mapping[str, Check]] = {
    "document": _text, "sha256": _sha256, "overlays": _texts, "base_url": _url,
    "allow_hosts": _of("a list of host names", _is_texts, lambda value: frozenset(one.lower() for one in value)),
    "list": _one_of(Listing), "include": _patterns, "exclude": _patterns, "pin": _patterns, "identity": _identity_table,
    "scopes": _scope_map, "answers": lambda report, place, value: report.table(place, value, _ANSWERS),
    "operations": _operations, "audit_arguments": _audited,
}  # fmt: skip


_BELOW_API: Final[Mapping[str, str]] = {
    **dict.fromkeys(("mode", "audience", "forward", "secret", "header"), "identity"),
    **dict.fromkeys(_ANSWERS, "answers"),
    "unmapped": "scopes",
}
"""Keys that people write into an API's table itself, and the table below it that they belong to."""


def _api(report: _Report, place: str, name: str, value: Any) -> ApiConfig:
    read = report.table(place, value, _API_KEYS)
    identity = _identity(read.get("identity", {}), Identity())
    operations = {key: tuning(inner, identity) for key, inner in read.get("operations", {}).items()}
    for key, count in _repeated(one.shown.name for one in operations.values() if one.shown.name).items():
        report.add(f"{place}.operations", f"{count} operations are named {key}")
    if identity.mode == "secret" and not identity.secret:
        report.add(f"{place}.identity.secret", "mode secret wants the name of the setting that has it")
    return ApiConfig(
        name=name,
        origin=Origin(**_members(read, "document", "sha256", "overlays", "base_url", "allow_hosts")),
        choice=OperationFilter(**_members(read, "list", "include", "exclude", "pin")),
        identity=identity,
        scopes=read.get("scopes", ScopeMap()),
        answers=Answers(**read.get("answers", {})),
        operations=operations,
        audit_arguments=read.get("audit_arguments", ()),
    )


def _members(read: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: read[key] for key in keys if key in read}


def _repeated(values: Iterable[str]) -> dict[str, int]:
    listed = list(values)
    return {one: listed.count(one) for one in sorted(set(listed)) if listed.count(one) > 1}
