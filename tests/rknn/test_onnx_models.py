"""A sample of ONNX's backend tests, seconds long; `make onnx-models` runs all of them."""

from __future__ import annotations

from pathlib import Path

from tests.rknn.onnx_models import KINDS, VARIANTS, cases, run

# Beside every so manieth of each kind: those whose outputs' shapes follow from values, are empty or have no dimensions.
EVERY = 50
SHAPES = ("nonzero", "nonmaxsuppression_s", "test_compress", "top_k", "sizes_nearest", "test_unique_sorted", "zero_dim")
# Three quarters of the time that the package takes for all.
SLOW = ("averagepool", "lppool", "maxpool")
SCALARS = ("empty_set", "scalar", "test_if", "test_loop", "range_int32", "test_constant")


def test_a_sample_gives_what_onnx_runtime_gives(tmp_path: Path) -> None:
    sample = list(cases(every=EVERY, always=SHAPES + SCALARS, without=SLOW))
    assert {case.kind for case in sample} == set(KINDS)
    report = run(tmp_path, iter(sample))
    assert report.faults == []
    # Not all are refused, whatever the reason.
    assert report.counts["compared"] > len(sample) * len(VARIANTS) // 2
