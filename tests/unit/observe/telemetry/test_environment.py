"""What the standard `OTEL_*` variables ask for."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanLimits

from mcp_server.observe.telemetry.environment import MAX_VALUE, Sampling, limits, read

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}
HALF = 1 << 63


def test_nothing_is_exported_unless_an_endpoint_is_named() -> None:
    for nothing in (
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_SERVICE_NAME": "s"},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
    ):
        asked = read(nothing)
        assert (asked.config.wanted, asked.problems) == (False, ())


@pytest.mark.parametrize(
    ("more", "traces", "metrics"),
    [
        (ENDPOINT, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/base/"}, "https://c/base/v1/traces", "https://c/base/v1/metrics"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, "http://t/x", None),
        (ENDPOINT | {"OTEL_METRICS_EXPORTER": "none"}, "http://c:4318/v1/traces", None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces", None),
    ],
)
def test_where_signals_go(more: dict[str, str], traces: str | None, metrics: str | None) -> None:
    asked = read(more)
    found = [None if one is None else one.url for one in (asked.config.traces, asked.config.metrics)]
    assert (found, asked.problems) == ([traces, metrics], ())


def test_a_signals_own_variables_count_before_those_of_all() -> None:
    config = read(
        ENDPOINT
        | {
            "OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%3Db, x = y ,,",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "other=1",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1500",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
        }
    ).config
    traces, metrics = config.traces, config.metrics
    assert traces is not None
    assert metrics is not None
    assert (dict(traces.headers), dict(metrics.headers)) == ({"api-key": "a=b", "x": "y"}, {"other": "1"})
    assert (traces.timeout_s, metrics.timeout_s, traces.gzip, metrics.gzip) == (1.5, 2.5, True, False)
    assert traces.ca_file == "/ca"
    assert repr(traces) == "Target(c)"  # its headers are secrets


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, Sampling()),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, Sampling(by_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Sampling(0)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, Sampling(HALF, by_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, Sampling(HALF)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, Sampling(by_parent=False)),
    ],
)
def test_samplers(more: dict[str, str], found: Sampling) -> None:
    assert read(ENDPOINT | more).config.sampling == found


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:99999"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "c:4317"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zstd"}, "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"),
        ({"OTEL_SDK_DISABLED": "yes"}, "OTEL_SDK_DISABLED: must be true or false"),
        ({"OTEL_SPAN_EVENT_COUNT_LIMIT": "s3cret"}, "OTEL_SPAN_EVENT_COUNT_LIMIT: must be a whole number"),
        ({"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-1"}, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT: must be"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "OTEL_EXPORTER_OTLP_COMPRESSION"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "s3cret"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=s3cret%0a"}, "OTEL_EXPORTER_OTLP_HEADERS: has a name or a value"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a b=s3cret"}, "OTEL_EXPORTER_OTLP_HEADERS: has a name or a value"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "Host=s3cret"}, "OTEL_EXPORTER_OTLP_HEADERS: host belongs to each request"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "content-length=s3cret"}, "OTEL_EXPORTER_OTLP_HEADERS: content-length belongs"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "s3cret"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREF"),
    ],
)
def test_what_cannot_be_done_is_said_and_not_quoted(more: dict[str, str], problem: str) -> None:
    problems = read(ENDPOINT | more).problems
    assert any(one.startswith(problem) for one in problems)
    assert "s3cret" not in "".join(problems)


def test_limits_are_the_sdks_own_but_for_the_length_of_a_text() -> None:
    assert set(limits({}, []).values()) == {128, MAX_VALUE}
    stated = {
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "9",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "unset",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "3",
    }
    ours = limits(stated, [])
    assert (ours["max_span_attributes"], ours["max_event_attributes"], ours["max_link_attributes"]) == (9, 9, 3)
    assert vars(SpanLimits(**ours))["max_span_attribute_length"] is None


def test_the_batch_is_no_larger_than_the_queue() -> None:
    more: dict[str, Any] = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "10",
        "OTEL_SERVICE_NAME": "s",
        "OTEL_RESOURCE_ATTRIBUTES": "a=1",
    }
    config = read(ENDPOINT | more).config
    assert (config.queue, config.batch, config.service, config.resource) == (10, 10, "s", (("a", "1"),))
