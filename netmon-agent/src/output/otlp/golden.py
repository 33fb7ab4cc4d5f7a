#!/usr/bin/env python3
"""Writes golden.bin: what the official messages (pip install opentelemetry-proto) make of the values in tests.rs."""

import pathlib

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

START, NOW = 1_700_000_000_000_000_000, 1_700_000_060_000_000_000


def attributes(**pairs):
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs.items()]


def metric(name, unit, kind, **data):
    metadata = [KeyValue(key="prometheus.type", value=AnyValue(string_value=kind))]
    return Metric(name=name, description="Help.", unit=unit, metadata=metadata, **data)


def number(start=0, **fields):
    return NumberDataPoint(start_time_unix_nano=start, time_unix_nano=NOW, **fields)


def summed(monotonic, point):
    cumulative = AGGREGATION_TEMPORALITY_CUMULATIVE
    return Sum(aggregation_temporality=cumulative, is_monotonic=monotonic, data_points=[point])


METRICS = [
    metric("n_info", "", "info", sum=summed(False, number(START, attributes=attributes(version="1.2"), as_int=1))),
    metric("n_bytes", "By", "gauge", gauge=Gauge(data_points=[number(attributes=attributes(device='e"\\\n'), as_int=0)])),
    metric(
        "n_ratio",
        "1",
        "gauge",
        gauge=Gauge(
            data_points=[
                number(attributes=attributes(target="a", probe="icmp"), as_double=0.0),
                number(attributes=attributes(target="", probe="é"), as_double=0.25),
            ]
        ),
    ),
    metric("n_total", "", "counter", sum=summed(True, number(START, attributes=attributes(result="ok"), as_double=2.0**64))),
    metric(
        "n_quantile_seconds",
        "s",
        "gauge",
        gauge=Gauge(data_points=[number(attributes=attributes(target="a", quantile="0.5"), as_double=0.001)]),
    ),
    metric(
        "n_length",
        "",
        "histogram",
        histogram=Histogram(
            aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE,
            data_points=[
                HistogramDataPoint(
                    attributes=attributes(target="a"),
                    start_time_unix_nano=START,
                    time_unix_nano=NOW,
                    count=3,
                    sum=9.5,
                    bucket_counts=[1, 0, 2],
                    explicit_bounds=[1, 2.5],
                ),
                HistogramDataPoint(
                    attributes=attributes(target="lean"),
                    start_time_unix_nano=START,
                    time_unix_nano=NOW,
                    count=0,
                    sum=0.0,
                    bucket_counts=[0],
                ),
            ],
        ),
    ),
    metric(
        "n_rtt_seconds",
        "s",
        "histogram",
        exponential_histogram=ExponentialHistogram(
            aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE,
            data_points=[
                ExponentialHistogramDataPoint(
                    attributes=attributes(target="a"),
                    start_time_unix_nano=START,
                    time_unix_nano=NOW,
                    count=5,
                    sum=2.75,
                    scale=3,
                    zero_count=1,
                    # One up to 1/4 s, one up to 1/2 s, two up to 1 s.
                    positive=ExponentialHistogramDataPoint.Buckets(
                        offset=-17, bucket_counts=[1] + 7 * [0] + [1] + 7 * [0] + [2]
                    ),
                    zero_threshold=2.0**-128,
                ),
                ExponentialHistogramDataPoint(
                    attributes=attributes(target="b"),
                    start_time_unix_nano=START,
                    time_unix_nano=NOW,
                    sum=0.0,
                    scale=3,
                    zero_threshold=2.0**-128,
                ),
            ],
        ),
    ),
]

resource = [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in [("service.name", "netmon"), ("host.name", "web-1")]]
scope = ScopeMetrics(scope=InstrumentationScope(name="netmon", version="0.1.0"), metrics=METRICS)
request = ExportMetricsServiceRequest(
    resource_metrics=[ResourceMetrics(resource=Resource(attributes=resource), scope_metrics=[scope])]
)
pathlib.Path(__file__).with_name("golden.bin").write_bytes(request.SerializeToString(deterministic=True))
