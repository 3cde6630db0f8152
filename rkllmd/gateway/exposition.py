"""``server.metrics`` as text for Prometheus: in the form of OpenMetrics, or in the older one, as it asks for."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from rkllmd.json_types import Json, JsonObject


class _Families(Collector):
    """What the daemon has counted, for the library to render."""

    def __init__(self, families: Iterable[JsonObject]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return [_metric(family) for family in self._families]


def render(families: Iterable[JsonObject], accept: str) -> tuple[bytes, str]:
    """Return the text for an Accept header, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _metric(family: JsonObject) -> Metric:
    name, kind = family["name"], family["type"]
    metric = Metric(name, family["help"], kind, family["unit"])
    for sample in family["samples"]:
        labels, value = sample["labels"], sample["value"]
        if kind == "histogram":
            _add_histogram(metric, name, labels, value)
        else:
            metric.add_sample(f"{name}_total" if kind == "counter" else name, labels, value)
    return metric


def _add_histogram(metric: Metric, name: str, labels: dict[str, str], value: Json) -> None:
    buckets = [(str(float(bucket["le"])), bucket["count"]) for bucket in value["buckets"]]
    for bound, count in [*buckets, ("+Inf", value["count"])]:
        metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{name}_count", labels, value["count"])
    metric.add_sample(f"{name}_sum", labels, value["sum"])
