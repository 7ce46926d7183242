"""What an OpenAPI document is read into, what a call of it is on the wire, and what comes back: values, all pure.

Read this first: every other module of `rest` is a function from one of these values to the next.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Schema = dict[str, Any] | bool
"""A JSON Schema in dialect 2020-12. A `$ref` in it is `#/$defs/<name>`, and names one of `Document.definitions`."""
Place = Literal["path", "query", "header", "cookie", "querystring"]
BodyKind = Literal["json", "form", "multipart", "text", "bytes"]
Header = tuple[str, str]
_IDENTITIES: Final = ("binary", "7bit", "8bit")
REF: Final = "#/$defs/"
"""What a `$ref` begins with, in every schema that is read."""
FORM_TYPE: Final = "application/x-www-form-urlencoded"
MAX_DECODED: Final = 4
"""How often proxies and frameworks may percent-decode a text before somebody takes it for a path or a name."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a document or an operation, and where: a JSON pointer, `file#pointer` if in another file."""

    pointer: str
    text: str


class UnusableDocument(Exception):
    """Nothing can be imported from this document; `fault` says why and where, and `api` of which API it is."""

    api = ""

    def __init__(self, fault: Fault) -> None:
        text = "".join(one if one.isprintable() else "\ufffd" for one in fault.text)  # a terminal reads it
        fault = Fault(fault.pointer, text)
        super().__init__(f"{fault.pointer or 'document'}: {fault.text}")
        self.fault, self.api = fault, ""
        self.others: tuple[UnusableDocument, ...] = ()
        """Where those of several APIs were read: the others that cannot be used, each with its `api`."""


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How a value is written on the wire (OAS 3.2 §4.12.2): `name` is a style of the table, `content` goes by its type.

    `media_type` is that of a `content` parameter or of an encoded property, empty where the style writes it.
    """

    name: str
    explode: bool
    allow_reserved: bool = False
    media_type: str = ""


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of an operation by its name on the wire; path-level ones are merged in already."""

    name: str
    place: Place
    required: bool
    schema: Schema
    style: Style
    description: str = ""
    deprecated: bool = False
    example: Any = None


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The request body in the one media type that was chosen; `encoding` is by property, for forms and multipart."""

    kind: BodyKind
    media_type: str
    required: bool
    schema: Schema
    encoding: Mapping[str, Style] = msgspec.field(default_factory=dict)
    description: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A documented answer of the good kind: `status` is `200`, `2XX` or `default`; `stream` where items follow on."""

    status: str
    media_type: str
    schema: Schema
    description: str = ""
    stream: bool = False


class OperationDocs(msgspec.Struct, frozen=True, kw_only=True):
    """Documentation of an operation: what the document says of it to people."""

    operation_id: str = ""
    summary: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    deprecated: bool = False
    links: tuple[str, ...] = ()
    """The operation ids of what may be called next."""


Alternative = Mapping[str, tuple[str, ...]]
"""One object of `security`: scheme → the scopes it asks for. All schemes of it must hold."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around an operation: servers of its own, and extensions (`x-…`), the nearest one first."""

    servers: tuple[str, ...] = ()
    extensions: Mapping[str, Any] = msgspec.field(default_factory=dict)
    path_extensions: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path, complete: nothing of the document has to be looked up to offer or to call it.

    `security` are the alternatives, of the operation or else of the document; None where neither says anything.
    `servers` are those of the operation or the path, absolute or relative as written; empty for the document's own.
    """

    method: str
    path: str
    pointer: str
    about: OperationDocs
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    answers: tuple[Answer, ...] = ()
    security: tuple[Alternative, ...] | None = None
    surroundings: Surroundings = msgspec.field(default_factory=Surroundings)


SchemeKind = Literal["oauth2", "openIdConnect", "http", "apiKey", "mutualTLS"]


class SecurityScheme(msgspec.Struct, frozen=True, kw_only=True):
    """How the API is asked in; `place` and `parameter` are where an API key goes, which is never an argument."""

    kind: SchemeKind
    scopes: Mapping[str, str] = msgspec.field(default_factory=dict)
    place: Place | None = None
    parameter: str = ""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One API as it is imported; `faults` are those of operations and places that were left out."""

    title: str
    version: str
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...] = ()
    description: str = ""
    servers: tuple[str, ...] = ()
    schemes: Mapping[str, SecurityScheme] = msgspec.field(default_factory=dict)
    definitions: Mapping[str, Schema] = msgspec.field(default_factory=dict)
    extensions: Mapping[str, Any] = msgspec.field(default_factory=dict)


class CallValues(msgspec.Struct, frozen=True, kw_only=True):
    """What one call sends, by place and name on the wire: absent and null parameters are not in it.

    `body` is UNSET where none is sent.
    """

    parameters: Mapping[tuple[Place, str], Any] = msgspec.field(default_factory=dict)
    body: Any = msgspec.UNSET


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it goes out: `url` is absolute, encoded and pinned; headers hold no credential yet."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class WireAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: header names in small letters, the body decompressed; `cut` when it was longer than allowed."""

    status: int
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    cut: bool = False


FaultKind = Literal["unreachable", "tls", "timeout", "reset", "protocol", "open_circuit"]


class UpstreamFault(Exception):
    """No answer came; `sent` is whether the request may have reached the API, and `text` names no host."""

    def __init__(self, kind: FaultKind, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.kind, self.text, self.sent = kind, text, sent


def is_bytes(schema: dict[str, Any]) -> bool:
    """Whether a text is bytes as they are: by the format of OAS 3.0, or a media type and nothing that makes text of it.

    `binary` and its like encode nothing (RFC 2045 §6.2); people write them where 3.0 had `format: binary`. JSON in a
    text is no file.
    """
    if schema.get("format") == "binary":
        return True
    encoding, media_type = schema.get("contentEncoding"), schema.get("contentMediaType")
    return encoding in _IDENTITIES or (encoding is None and media_type not in (None, "application/json"))
