"""The daemon's families as text, read back by the library's own parsers."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_old

from rkllmd.gateway import exposition
from rkllmd.metrics import Metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain", ""])
def test_all_families_can_be_read_back(accept: str) -> None:
    metrics = Metrics()
    metrics.calls.add("rkllm.run", "ok", by=3)
    metrics.waits.observe(0.2)
    metrics.first_tokens.observe(200.0, "demo")
    text, content_type = exposition.render(metrics.describe(), accept)
    parse = openmetrics.text_string_to_metric_families if "openmetrics" in content_type else parse_old
    families = list(parse(text.decode()))
    samples = {(item.name, item.labels.get("le")): item.value for family in families for item in family.samples}
    assert samples["rkllmd_calls_total", None] == 3
    assert samples["rkllmd_queue_wait_seconds_bucket", "0.1"] == 0
    assert samples["rkllmd_queue_wait_seconds_bucket", "0.5"] == 1
    assert samples["rkllmd_queue_wait_seconds_sum", None] == pytest.approx(0.2)
    assert samples["rkllmd_time_to_first_token_seconds_bucket", "+Inf"] == 1
    assert ("openmetrics" in content_type) == (accept == OPENMETRICS)
