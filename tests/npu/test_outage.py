"""Which lines mean a stuck NPU, and what is said about it."""

from __future__ import annotations

import time

import pytest

from rkllmd.npu import outage


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("E RKNN: [05:29:16.500] failed to submit!, op id: 1, op name: Conv, flags: 0x5", "Restart"),
        ("[  101.2] RKNPU: job timeout, flags: 0x5:", "Restart"),
        ("RKNPU: failed to wait job, task counter: 12", "Restart"),
        ("RKNPU: switch iommu domain time out", "base_domain_id"),
        ("E RKNN: failed to sync memory, ret: -1, errno: 22, errstr: Invalid argument", "base_domain_id"),
        ("E RKNN: failed to submit!, op id: 0, ret: -1, errno: 22", "base_domain_id"),
    ],
)
def test_lines_that_mean_a_stuck_npu(line: str, advice: str) -> None:
    before = time.monotonic()
    found = outage.from_line(line, 30)
    assert found is not None
    assert line in found.reason
    assert advice in found.advice
    assert before + 30 <= found.retry_at <= time.monotonic() + 30


@pytest.mark.parametrize(
    "line",
    [
        "I rkllm: loading rkllm model from /models/failed.rkllm",
        "switch iommu domain from 0 to 1",
        "E RKNN: [00:00:00.000] failed to submit!, op id: 0, ret: -1, errno: 14",
        "E RKNN: failed to allocate handle, ret: -1, errno: 12, errstr: Cannot allocate memory",
        "E RKNN: failed to sync memory, ret: -1, errno: 222",
        "",
        "E rkllm: no LoRA adapter of the name failed to submit! is loaded",
        "I rkllm: loading rkllm model from /models/failed to submit!.rkllm",
        "E RKNN: [name] failed to submit!",
        "he said: failed to submit!",
    ],
)
def test_lines_that_do_not(line: str) -> None:
    assert outage.from_line(line, 30) is None


def test_a_long_line_is_told_in_part() -> None:
    found = outage.from_line("failed to submit!" + "x" * 100_000, 30)
    assert found is not None
    assert len(found.reason) < 300


def test_the_error_has_the_sentence_and_the_facts() -> None:
    found = outage.from_call("rknn.run", 70)
    error = found.error()
    assert error.data["retry_after_ms"] is None, "it is back when the call returns"
    assert error.data["for_ms"] >= 0
    assert found.advice in error.message
    assert "rknn.run has not returned for 70 s" in error.message
