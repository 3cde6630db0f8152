"""What is said of a C call that failed, and which runtime is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.machine.c_runtime import choose, last_words, no_handle
from rkllmd.machine.platform import Platform


def test_what_the_runtime_said_last_ends_the_sentence() -> None:
    assert last_words(["I: loading", "E: no memory"]) == ": E: no memory"
    assert last_words([]) == "."
    error = no_handle("rkllm_init", 0, ["E: no memory"])
    assert error.message == "rkllm_init failed: E: no memory"
    assert error.data == {"function": "rkllm_init", "status": 0, "log": ["E: no memory"]}


@pytest.mark.parametrize(
    ("configured", "library", "device", "chosen"),
    [
        ("simulator", "/lib/x.so", True, "simulator"),
        ("auto", "/lib/x.so", False, "vendor"),
        ("auto", "", True, "vendor"),
        ("auto", "", False, "portable"),
    ],
)
def test_which_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configured: str, library: str, device: bool, chosen: str
) -> None:
    monkeypatch.setattr(Platform, "npu_devices", lambda self: ["/dev/rknpu"] if device else [])
    assert choose(configured, library, Platform(tmp_path))[0] == chosen
