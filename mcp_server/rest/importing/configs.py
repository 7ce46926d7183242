"""Which APIs there are, and how: `mcp.toml`, the settings and the author's `include_openapi` as one list of values."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from mcp_server.registry.server import Import
from mcp_server.rest.offer import config_file
from mcp_server.rest.offer.config import WITH_TOKEN, ApiConfig, ConfigError, Identity, Origin

_replace: Final = msgspec.structs.replace


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of the API behind the server; `config` is where `mcp.toml` lies."""

    openapi: str = ""
    url: str = ""
    audience: str = ""
    scopes: frozenset[str] | None = None
    secrets: Mapping[str, str] = msgspec.field(default_factory=dict)
    config: Path | None = None


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the document of the only API says of itself."""

    api: str
    title: str
    version: str
    description: str


class PreloadedApis(msgspec.Struct, frozen=True, kw_only=True):
    """APIs that a parent has read for its workers, so that all serve the same: nothing of it is read again.

    The `folder` is that of `importing/shared.py`; `about` is what a server without a name of its own is called by.
    """

    folder: Path
    apis: tuple[ApiConfig, ...]
    about: DocumentInfo | None = None


class ValidatedApis(NamedTuple):
    """Validated APIs, as far as they could be read, a line for what could not, and one for what nothing says."""

    apis: tuple[ApiConfig, ...]
    unread: list[str]
    missing: list[str]


def apis(stated: Stated, imports: Iterable[Import] = ()) -> tuple[ApiConfig, ...]:
    """All APIs; raises `ConfigError` with every problem."""
    found = validated(stated, imports)
    if problems := found.unread + found.missing:
        raise ConfigError(problems)
    return found.apis


def validated(stated: Stated, imports: Iterable[Import] = ()) -> ValidatedApis:
    """The same for who wants to say what else is wrong, whatever is wrong here."""
    problems: list[str] = []
    try:
        found = _of_file(stated.config, problems) if stated.config is not None else {}
    except ConfigError as error:  # what it says is not known, and nothing is missing because of that
        return ValidatedApis((), error.problems, [])
    for one in imports:
        if one.name in found:
            found[one.name] = _document(found[one.name], one.document)
            continue
        table = {"document": one.document, **options(one.options)}
        found |= config_file.validated({"apis": {one.name: table}}, problems)
    if stated.openapi:
        found = _with_document(found, stated.openapi)
    elif stated.url and not found:
        found = {"api": ApiConfig()}  # called by hand-written tools alone
    complete = [_filled(one, stated, alone=len(found) == 1) for one in found.values()]
    missing = [line for one in complete for line in _problems(one, stated) if not _is_explained(line, problems)]
    return ValidatedApis(tuple(complete), problems, missing)


def _is_explained(line: str, problems: Iterable[str]) -> bool:
    """Whether what is missing may stand in the same table, and could not be read: `mode = "nane"` wants no audience."""
    table = line.partition(": ")[0].rpartition(".")[0]
    return any(one.startswith(f"{table}.") for one in problems)


def name_of(document: str) -> str:
    """The name of an API of which only the document is told: that of the file."""
    path = urlsplit(document).path if "://" in document else document.replace("\\", "/")
    stem = PurePosixPath(path).name.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:40] or "api"


def _of_file(place: Path, problems: list[str]) -> dict[str, ApiConfig]:
    try:
        data = place.read_bytes()
    except OSError as error:
        raise ConfigError([f"{place} (MCP_CONFIG): cannot be read ({error.strerror})"]) from error
    read = config_file.validated(config_file.tables(data, str(place)), problems)
    return {name: _beside(one, place.parent) for name, one in read.items()}


def _beside(one: ApiConfig, folder: Path) -> ApiConfig:
    """Paths of a file are meant from where it lies."""

    def placed(path: str) -> str:
        return path if not path or "://" in path else str(folder / path)

    origin = one.origin
    overlays = tuple(placed(path) for path in origin.overlays)
    return _replace(one, origin=_replace(origin, document=placed(origin.document), overlays=overlays))


def _with_document(found: dict[str, ApiConfig], document: str) -> dict[str, ApiConfig]:
    """The document of the settings is that of the one API that has none, or is another API."""
    without = [name for name, one in found.items() if not one.origin.document]
    name = without[0] if len(without) == 1 else name_of(document)
    known = found.get(name, ApiConfig(name=name))
    return {**found, name: _document(known, document)}


def _document(one: ApiConfig, document: str) -> ApiConfig:
    return one if one.origin.document else _replace(one, origin=_replace(one.origin, document=document))


def _filled(one: ApiConfig, stated: Stated, *, alone: bool) -> ApiConfig:
    """What the file leaves open is what the settings say; an address is that of one API only."""
    origin: Origin = one.origin
    if alone and stated.url and not origin.base_url:
        origin = _replace(origin, base_url=stated.url)
    operations = {
        key: tuning if tuning.identity is None else _replace(tuning, identity=_identity(tuning.identity, stated))
        for key, tuning in one.operations.items()
    }
    return _replace(one, origin=origin, identity=_identity(one.identity, stated), operations=operations)


def _identity(one: Identity, stated: Stated) -> Identity:
    scopes = stated.scopes if one.scopes is None else one.scopes
    return _replace(one, audience=one.audience or stated.audience, scopes=scopes)


def _problems(one: ApiConfig, stated: Stated) -> list[str]:
    place = f"apis.{one.name}"
    identities: list[tuple[str, Identity]] = [(f"{place}.identity", one.identity)]
    identities += [
        (f'{place}.operations."{key}".identity', tuning.identity)
        for key, tuning in one.operations.items()
        if tuning.identity is not None
    ]
    found = [f"{where}.{line}" for where, identity in identities for line in _wrong(identity, stated)]
    if not one.origin.document and not one.origin.base_url:
        found.append(f"{place}.document: is required, in mcp.toml or as MCP_OPENAPI")
    return found


def _wrong(identity: Identity, stated: Stated) -> Iterable[str]:
    if identity.mode == "exchange" and not identity.audience:
        yield (
            "audience: is required, as MCP_UPSTREAM_AUDIENCE or in mcp.toml: the caller's token is exchanged for one "
            'of this audience; there, mode = "none" calls the API without a token'
        )
    if identity.mode == "secret" and identity.secret not in stated.secrets:
        yield "secret: MCP_UPSTREAM_SECRETS has none of this name"


def require_no_client(apis: Iterable[ApiConfig]) -> None:
    """Where this server has no secret, no API may want a token; raises `ConfigError`."""
    if problems := without_client(apis):
        raise ConfigError(problems)


def without_client(apis: Iterable[ApiConfig]) -> list[str]:
    """A line for the secret that this server has not, where an API wants a token."""
    wanting = sorted(one.name for one in apis if any(mode in WITH_TOKEN for mode in _modes(one)))
    text = f"is required: this server asks its issuer for tokens for {', '.join(wanting)}, as a client with a secret"
    return [f"MCP_CLIENT_SECRET: {text}"] if wanting else []


def _modes(one: ApiConfig) -> list[str]:
    return [one.identity.mode, *(tuning.identity.mode for tuning in one.operations.values() if tuning.identity)]


def options(value: Any) -> Any:
    """An author's keywords as the tables of `mcp.toml` have them: sets and tuples become lists."""
    if isinstance(value, Mapping):
        return {key: options(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
