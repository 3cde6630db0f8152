"""What OpenMetrics allows of families."""

from __future__ import annotations

import re
from typing import Any, Final

# OpenMetrics 1.0, "MetricFamily", "Label", "Suffixes".
NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
SUFFIXES: Final = {
    "counter": ("_total", "_created"),
    "gauge": ("",),
    "histogram": ("_count", "_sum", "_bucket", "_created"),
}


def check_families(families: list[dict[str, Any]]) -> None:
    """Fail if the families could not be rendered as OpenMetrics."""
    names = [item["name"] for item in families]
    assert len(set(names)) == len(names)
    rendered = [item["name"] + suffix for item in families for suffix in SUFFIXES[item["type"]]]
    assert len(set(rendered)) == len(rendered), "no sample of one family may look like that of another"
    for item in families:
        assert set(item) == {"name", "type", "unit", "help", "samples"}
        name = item["name"]
        assert NAME.fullmatch(name)
        assert not name.endswith(("_total", "_created", "_count", "_sum", "_bucket", "_info"))
        assert not item["unit"] or name.endswith(f"_{item['unit']}")
        assert item["help"].endswith(".")
        seen = [tuple(sorted(sample["labels"].items())) for sample in item["samples"]]
        assert len(set(seen)) == len(seen)
        for sample in item["samples"]:
            assert all(LABEL.fullmatch(label) and label != "le" for label in sample["labels"])
            assert all(isinstance(value, str) for value in sample["labels"].values())
            _check_value(item["type"], sample["value"])


def _check_value(kind: str, value: Any) -> None:
    if kind != "histogram":
        assert isinstance(value, int | float)
        assert kind == "gauge" or value >= 0
        return
    assert set(value) == {"count", "sum", "buckets"}
    counts = [bucket["count"] for bucket in value["buckets"]]
    bounds = [bucket["le"] for bucket in value["buckets"]]
    assert counts == sorted(counts)
    assert bounds == sorted(set(bounds))
    assert counts[-1] <= value["count"]
