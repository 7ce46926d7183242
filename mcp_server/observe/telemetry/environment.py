"""What the `OTEL_*` variables ask for, as a value; what cannot be done is said, and never keeps a server from starting.

Platforms set these variables for whatever runs on them. A span is less than a call.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from mcp_server.observe.tracing import SAMPLED, SpanContext

Signal = Literal["traces", "metrics"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics")
SECRETS: Final = tuple(f"OTEL_EXPORTER_OTLP_{one}HEADERS" for one in ("", "TRACES_", "METRICS_"))
"""Variables that may hold a key of whoever takes telemetry."""
MAX_VALUE: Final = 16 * 1024
"""Characters of a text that a handler adds to a span, unless OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise: a caller
chooses what an exception says, and two thousand spans of it may wait for a collector."""
_MANY: Final = 128
"""Of attributes, events and links, unless said (OpenTelemetry SDK §Span limits)."""
_UNLIMITED: Final = -1
_LOCAL: Final = "http://localhost:4318"
_HTTP: Final = "http/protobuf"
_MOST: Final = 1 << 64
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"[\t -~]+")
"""RFC 9110 §5.5, in ASCII: who refuses another one says so with the value."""
_OF_THE_REQUEST: Final = frozenset({
    "connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
"""Fields that say how this request is to be read: another length cuts each batch, and the rest is the next request."""


class UnusableFileError(Exception):
    """A file that a variable names cannot be used; the message begins with the variable."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where one signal goes. `ca_file` and the client's files are the standard variables'; `headers` are secret."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 10.0
    gzip: bool = False
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""

    def __repr__(self) -> str:
        return f"Target({urlsplit(self.url).hostname})"


class Sampling(msgspec.Struct, frozen=True):
    """Which traces are recorded: `bound` of 2**64 by the trace's id, and a parent's word where it counts."""

    bound: int = _MOST
    by_parent: bool = True

    def takes(self, parent: SpanContext | None, bits: int) -> bool:
        """Whether this one is; `bits` are the last 64 of its id, which all services of one ratio look at."""
        if parent is not None and self.by_parent:
            return parent.flags & SAMPLED == SAMPLED
        return bits < self.bound


class TelemetryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is exported: a signal without a target is not."""

    traces: Target | None = None
    metrics: Target | None = None
    sampling: Sampling = Sampling()
    service: str = ""
    resource: tuple[tuple[str, str], ...] = ()
    queue: int = 2048
    batch: int = 512
    delay_s: float = 5.0
    interval_s: float = 60.0

    @property
    def wanted(self) -> bool:
        """Whether anything is."""
        return self.traces is not None or self.metrics is not None


class Asked(msgspec.Struct, frozen=True):
    """What the variables ask for, and a line for each that is not done."""

    config: TelemetryConfig
    problems: tuple[str, ...] = ()


def read(environment: Mapping[str, str]) -> Asked:
    """An empty value counts as none, as the specification has it. Where `is_named` is false nothing is exported."""
    stated = _stated(environment)
    if (disabled := stated.get("OTEL_SDK_DISABLED", "false").lower()) == "true":
        return Asked(TelemetryConfig())
    problems = [] if disabled == "false" else ["OTEL_SDK_DISABLED: must be true or false; false is taken"]
    targets = {signal: _target(signal, stated, problems) for signal in SIGNALS}
    if not any(targets.values()):
        return Asked(TelemetryConfig(), tuple(problems))
    if stated.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative").lower() != "cumulative":
        problems.append("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: metrics are cumulative")
    limits(environment, problems)
    queue = _number(stated, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, problems)
    config = TelemetryConfig(
        traces=targets["traces"],
        metrics=targets["metrics"],
        sampling=_sampling(stated, problems),
        service=stated.get("OTEL_SERVICE_NAME", ""),
        resource=tuple(_pairs(stated.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES", problems)),
        queue=int(queue),
        batch=int(min(queue, _number(stated, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, problems))),
        delay_s=_number(stated, "OTEL_BSP_SCHEDULE_DELAY", 5000, problems) / 1000,
        interval_s=_number(stated, "OTEL_METRIC_EXPORT_INTERVAL", 60_000, problems) / 1000,
    )
    return Asked(config, tuple(dict.fromkeys(problems)))


def is_named(environment: Mapping[str, str]) -> bool:
    """Whether anybody speaks of an endpoint or an exporter of what is exported here, rightly or not."""
    ours = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
    for signal in SIGNALS:
        ours |= {f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", f"OTEL_{signal.upper()}_EXPORTER"}
    return not ours.isdisjoint(_stated(environment))


def limits(environment: Mapping[str, str], problems: list[str]) -> dict[str, int]:
    """The limits of what handlers add to spans, by the SDK's names: it would not start with one that is none."""
    stated = _stated(environment)

    def of(name: str, default: int) -> int:
        text = stated.get(f"OTEL_{name}_LIMIT", "")
        if text.lower() == "unset":
            return _UNLIMITED
        if not text or (text.isdecimal() and int(text) < 1 << 31):
            return int(text or default)
        said = "unset" if default == _UNLIMITED else default
        problems.append(f"OTEL_{name}_LIMIT: must be a whole number, or unset; {said} is taken")
        return default

    attributes, length = of("ATTRIBUTE_COUNT", _MANY), of("ATTRIBUTE_VALUE_LENGTH", MAX_VALUE)
    return {
        "max_attributes": attributes,
        "max_events": of("SPAN_EVENT_COUNT", _MANY),
        "max_links": of("SPAN_LINK_COUNT", _MANY),
        "max_span_attributes": of("SPAN_ATTRIBUTE_COUNT", attributes),
        "max_event_attributes": of("EVENT_ATTRIBUTE_COUNT", attributes),
        "max_link_attributes": of("LINK_ATTRIBUTE_COUNT", attributes),
        "max_attribute_length": length,
        "max_span_attribute_length": of("SPAN_ATTRIBUTE_VALUE_LENGTH", length),
    }


def _stated(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_") and value.strip()}


def _target(signal: Signal, stated: Mapping[str, str], problems: list[str]) -> Target | None:
    """Where a signal goes, if anywhere: its own variables count before those of all signals."""
    upper = signal.upper()

    def variable(name: str) -> str:
        own = f"OTEL_EXPORTER_OTLP_{upper}_{name}"
        return own if own in stated else f"OTEL_EXPORTER_OTLP_{name}"

    def of(name: str, default: str = "") -> str:
        return stated.get(variable(name), default)

    exporter = stated.get(f"OTEL_{upper}_EXPORTER", "")
    if exporter not in ("", "otlp", "none"):
        problems.append(f"OTEL_{upper}_EXPORTER: only otlp and none are known here")
        return None
    if exporter == "none" or not (exporter or of("ENDPOINT")):
        return None
    if of("PROTOCOL", _HTTP).lower() != _HTTP:
        problems.append(f"{variable('PROTOCOL')}: only {_HTTP} is spoken here; no {signal} are exported")
        return None
    # The endpoint of all signals is a base; that of one is its whole address (OTLP exporter specification).
    url = stated.get(f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT") or f"{of('ENDPOINT', _LOCAL).rstrip('/')}/v1/{signal}"
    if not _is_http(url):
        problems.append(f"{variable('ENDPOINT')}: must be http:// or https://; no {signal} are exported")
        return None
    compression = of("COMPRESSION", "none").lower()
    if compression not in ("none", "gzip"):
        problems.append(f"{variable('COMPRESSION')}: only gzip and none are known here")
    return Target(
        url=url,
        headers=headers(of("HEADERS"), variable("HEADERS"), problems),
        timeout_s=_number(stated, variable("TIMEOUT"), 10_000, problems) / 1000,
        gzip=compression == "gzip",
        ca_file=of("CERTIFICATE"),
        client_certificate=of("CLIENT_CERTIFICATE"),
        client_key=of("CLIENT_KEY"),
    )


def headers(text: str, name: str, problems: list[str]) -> tuple[tuple[str, str], ...]:
    """Header fields as `key=value` between commas; what can be none is left out, and never quoted."""
    found = []
    for key, value in _pairs(text, name, problems):
        if key.lower() in _OF_THE_REQUEST:
            problems.append(f"{name}: {key.lower()} belongs to each request")
        elif _FIELD_NAME.fullmatch(key) and _FIELD_VALUE.fullmatch(value):
            found.append((key.lower(), value))
        else:
            problems.append(f"{name}: has a name or a value that no header can have")
    return tuple(found)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _pairs(text: str, name: str, problems: list[str]) -> list[tuple[str, str]]:
    """`key=value` between commas, percent-encoded as W3C Baggage; what is none is left out, and never quoted."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        key, equals, value = part.partition("=")
        if not (equals and key.strip()):
            problems.append(f"{name}: must be key=value between commas")
            continue
        found.append((unquote(key.strip()), unquote(value.strip())))
    return found


def _number(stated: Mapping[str, str], name: str, default: int, problems: list[str]) -> float:
    text = stated.get(name, "")
    if not text:
        return default
    if text.isdecimal() and 0 < int(text) < 1 << 31:
        return int(text)
    problems.append(f"{name}: must be a whole number above 0; {default} is taken")
    return default


def _sampling(stated: Mapping[str, str], problems: list[str]) -> Sampling:
    name = stated.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    by_parent = name.startswith("parentbased_")
    bounds: dict[str, Callable[[], int]] = {
        "always_on": lambda: _MOST,
        "always_off": lambda: 0,
        "traceidratio": lambda: _ratio(stated.get("OTEL_TRACES_SAMPLER_ARG", ""), problems),
    }
    found = bounds.get(name.removeprefix("parentbased_"))
    if found is None:
        problems.append("OTEL_TRACES_SAMPLER: this one is not known here; parentbased_always_on is taken")
        return Sampling()
    return Sampling(found(), by_parent)


def _ratio(text: str, problems: list[str]) -> int:
    try:
        ratio = float(text or "1")
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        problems.append("OTEL_TRACES_SAMPLER_ARG: must be a ratio between 0 and 1; 1 is taken")
        return _MOST
    return round(ratio * _MOST)
