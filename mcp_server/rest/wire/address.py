"""Where a call goes: base, template and values → one request, its address compared with the base once it is made."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest import header_names
from mcp_server.rest.model import CallValues, Fault, Operation, Parameter, Place, Schema, WireRequest
from mcp_server.rest.wire import bodies, encoding, values
from mcp_server.rest.wire.transport import network

MAX_URL: Final = 32 * 1024
"""Characters: what servers take at most, and what a value of a megabyte would pass."""
PORTS: Final = {"https": 443, "http": 80}
_NAME: Final = re.compile(r"\{([^{}]+)\}")
_NUMBER: Final = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
"""What resolvers take for an IPv4 address though it is not written as one (URL Standard, "ends in a number")."""
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LITERAL: Final = "/:@!$&'()*+,;=%~-._"


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What the addresses of an API begin with; `private` is whether its host may be inside, as an operator named it.

    `path` has no slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str
    private: bool = False

    @property
    def origin(self) -> str:
        """Scheme, host, and the port if it is not the scheme's own."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port != PORTS[self.scheme] else "")


def base_of(url: str, *, private: bool = False) -> Base:
    """An absolute address as a base; raises `ValueError` with the reason, which names no more than the address."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else parts.hostname
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"{url!r} is no address") from error
    host = f"[{host}]" if host and ":" in host else host
    odd = _NUMBER.fullmatch(host or "") and not network.is_literal(host or "")
    if parts.scheme not in PORTS or not host or odd or not _HOST.fullmatch(host):
        raise ValueError(f"{url!r} must be an absolute http or https address")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} must have no user, query or fragment")
    path = values.encoded(_BROKEN.sub("%25", parts.path), "base address", _LITERAL).rstrip("/")
    if values.leads_out(path) or "\\" in url:
        raise ValueError(f"{url!r} must have no '.' or '..' segments")
    return Base(scheme=parts.scheme, host=host, port=port or PORTS[parts.scheme], path=path, private=private)


def document_base(servers: tuple[str, ...], *, configured: str = "", fetched_from: str = "") -> Base | Fault:
    """The base of a document: the operator's, else its one https server, else a fault that lists what there is.

    Relative servers lie where the document was fetched, an address that the operator named. `{…}` is a variable that
    nothing has filled in.
    """
    if configured:
        try:
            return base_of(configured, private=True)
        except ValueError as error:
            return Fault("", f"base_url: {error}")
    own = (
        base_of(urljoin(fetched_from, "/"), private=True) if fetched_from.startswith(("http://", "https://")) else None
    )
    found: dict[str, Base] = {}
    for server in servers or ("/",):
        try:
            base = base_of(urljoin(fetched_from, server)) if "{" not in server else None
        except ValueError:
            continue
        if base is not None and own is not None and base.origin == own.origin:
            base = msgspec.structs.replace(base, private=True)
        if base is not None and (base.scheme == "https" or base.private):
            found[base.origin + base.path] = base
    if len(found) == 1:
        return next(iter(found.values()))
    return Fault("/servers", _unclear(servers)[:1000])


def _unclear(servers: tuple[str, ...]) -> str:
    """Why the servers of a document do not say where to call, and what to do."""
    if not servers:
        return "the document names no server: set base_url to the API's address"
    if len(servers) > 1:
        return f"cannot tell which server to call; set base_url to one of them: {', '.join(servers)}"
    (only,) = servers
    if "{" in only:
        return f"its one server, {only}, has a variable that nothing fills in: set base_url to the whole address"
    if only.startswith("http://"):
        return (
            f"its one server, {only}, is not https, and no document may choose such an address, on this machine or "
            f"inside a network: if it is the right one, set base_url to it"
        )
    return f"its one server, {only}, is no whole https address: set base_url to one"


def operation_base(
    base: Base,
    operation: Operation,
    *,
    fetched_from: str = "",
    allow: Iterable[str] = (),
    replaced: tuple[str, ...] = (),
) -> Base | Fault:
    """The base of one operation: that of the document, unless servers of its own say otherwise (OAS 3.2 §4.9, §4.10).

    On the same host they change the base path. Another host is refused unless `allow` names it, for the credential
    would go there; it has to be https and public, too. `replaced` are the document's servers, in whose place `base`
    stands: an operation that names one of them again (Kubernetes' do) means the document's.
    """
    servers = operation.surroundings.servers
    if not servers or {_place(one) for one in servers} & {_place(one) for one in replaced}:
        return base
    allowed = {name.lower() for name in allow}
    for server in servers:
        try:
            own = base_of(urljoin(fetched_from or base.origin + base.path + "/", server)) if "{" not in server else None
        except ValueError:
            continue
        if own is None:
            continue
        if own.origin == base.origin:
            return msgspec.structs.replace(own, private=base.private)
        if own.scheme == "https" and allowed & {own.host, f"{own.host}:{own.port}"}:
            return own
    text = f"its own server is on another host; name it in allow_hosts to call it: {', '.join(servers)}"
    return Fault(operation.pointer, text[:1000])


def _place(server: str) -> tuple[str, str]:
    """Host and path of a server, which is written with its scheme or without; relative ones are not told apart."""
    try:
        parts = urlsplit(server)
    except ValueError:
        return server, ""
    return parts.netloc or server, parts.path.rstrip("/")


Given = Mapping[Place, list[tuple[Parameter, Any]]]
"""What a call says, by its place."""


class Requests:
    """Makes the requests of one operation: what is the same in all of them is made once."""

    def __init__(self, operation: Operation, base: Base, definitions: Mapping[str, Schema] | None = None) -> None:
        """`definitions` are the document's."""
        self._operation, self._definitions = operation, definitions
        self._method, self._begins = operation.method.upper(), base.origin + base.path
        self._template = _template(operation.path)
        self._accept = _accept([answer.media_type for answer in operation.answers])
        self._parameters = [((one.place, one.name), one) for one in operation.parameters]

    def request(self, called: CallValues) -> WireRequest:
        """One call as it goes out, all but the credential; raises `BadArguments`."""
        operation = self._operation
        given: dict[Place, list[tuple[Parameter, Any]]] = {}
        for key, parameter in self._parameters:
            if (value := called.parameters.get(key)) is not None:
                given.setdefault(key[0], []).append((parameter, value))
        url = self._address(given, _query(operation, given))
        headers = {"accept": self._accept, **_headers(given)}
        if cookies := _cookies(operation, given):
            headers["cookie"] = values.checked_field("; ".join(cookies), "cookies")
        body = b""
        if called.body is not msgspec.UNSET and operation.body is not None:
            headers["content-type"], body = bodies.encode(operation.body, called.body, self._definitions)
        return WireRequest(method=self._method, url=url, headers=tuple(headers.items()), body=body)

    def _address(self, given: Given, query: list[str]) -> str:
        pieces, literal, slashes = self._template
        written = list(pieces)
        found = {parameter.name: (parameter, value) for parameter, value in given.get("path", ())}
        for place in range(1, len(pieces), 2):
            if pieces[place] not in found:
                raise BadArguments(f"{pieces[place]}: must not be empty, for it is a part of the path")
            written[place] = encoding.in_path(*found[pieces[place]])
        asked = "&".join([literal, *query] if literal else query)
        url = self._begins + "".join(written) + (f"?{asked}" if asked else "")
        if len(url) > MAX_URL:
            raise BadArguments(f"the arguments are too long for an address: over {MAX_URL} characters")
        _pinned(url, self._begins, slashes)
        return url


def request(
    operation: Operation, called: CallValues, base: Base, definitions: Mapping[str, Schema] | None = None
) -> WireRequest:
    """The one request of an operation that has no other; raises `BadArguments`."""
    return Requests(operation, base, definitions).request(called)


def _query(operation: Operation, given: Given) -> list[str]:
    pairs = [encoding.whole_query(*found) for found in given.get("querystring", ())]
    spread: set[str] = set()
    for parameter, value in given.get("query", ()):
        spread |= _members(operation, parameter, value, spread)
        pairs += encoding.in_query(parameter, value)
    return pairs


def _cookies(operation: Operation, given: Given) -> list[str]:
    pairs: list[str] = []
    spread: set[str] = set()
    for parameter, value in given.get("cookie", ()):
        spread |= _members(operation, parameter, value, spread)
        pairs += encoding.in_cookie(parameter, value)
    return pairs


def _members(operation: Operation, parameter: Parameter, value: Any, spread: set[str]) -> set[str]:
    """The names under which an exploded object stands beside the other parameters, and what others have `spread`.

    None may pass for another parameter, a fixed one above all, nor for a member of another object.
    """
    if not (
        isinstance(value, dict) and parameter.style.explode and parameter.style.name not in ("deepObject", "content")
    ):
        return set()
    others = {one.name for one in operation.parameters if one.place == parameter.place and one is not parameter}
    if taken := sorted((others | spread) & value.keys()):
        raise BadArguments(f"{parameter.name}.{taken[0]}: is another parameter's name")
    return set(value)


def _headers(given: Given) -> dict[str, str]:
    found: dict[str, str] = {}
    for parameter, value in given.get("header", ()):
        if not header_names.callers(name := parameter.name.lower()):
            raise BadArguments(f"{parameter.name}: is not for a caller to say")
        if (written := encoding.in_header(parameter, value)) is not None:
            found[name] = values.checked_field(written, parameter.name)
    return found


def _accept(media_types: Iterable[str]) -> str:
    named = ", ".join(dict.fromkeys(one for one in media_types if one and one != "*/*"))
    return f"{named}, */*;q=0.1" if named else "*/*"


def _template(path: str) -> tuple[tuple[str, ...], str, int]:
    """A template in pieces, literal and name by turns; the query some documents write into it; its slashes.

    What stands after `#` tells operations of one path apart, in documents that need it, and goes nowhere.
    """
    path, _, query = path.partition("#")[0].partition("?")
    pieces = _NAME.split("/" + path.lstrip("/"))
    pieces[::2] = [values.encoded(_BROKEN.sub("%25", piece), "path", _LITERAL) for piece in pieces[::2]]
    return (
        tuple(pieces),
        query and values.encoded(query, "path", _LITERAL + "?"),
        sum(one.count("/") for one in pieces[::2]),
    )


def _pinned(made: str, begins: str, slashes: int) -> None:
    """Compare what was made with what was meant: no value may have moved the call elsewhere, whatever encoded it.

    As a text, as it goes out: what takes an address apart also mends it, and would not see what is on the wire.
    """
    below = made.partition("?")[0].removeprefix(begins)
    same = (
        made.startswith(begins)
        and below[:1] == "/"
        and below.count("/") == slashes
        and "#" not in made
        and made.isascii()
        and not values.leads_out(below)
    )
    if not same:
        raise BadArguments("the arguments do not fit into the address of this operation")
