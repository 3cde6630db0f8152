"""What is said of a C call that failed, and which runtime is chosen."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.c import c_void_p
from rkllmd.abi.layouts.rknn import rknn_context
from rkllmd.errors import InvalidHandle
from rkllmd.machine.c_runtime import CRuntime, choose, last_words, no_handle
from rkllmd.machine.crash_journal import CrashJournal
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


@pytest.mark.parametrize("handle", [None, 0, c_void_p(), rknn_context(), rknn_context(0)])
def test_no_null_handle_reaches_c(handle: object) -> None:
    called: list[object] = []
    library: Any = SimpleNamespace(rknn_mem_sync=called.append)
    output: Any = SimpleNamespace(mark=lambda: 0, since=lambda mark: [], journal=CrashJournal())
    runtime: CRuntime[Any] = CRuntime("vendor", "", output, lambda: library)
    with pytest.raises(InvalidHandle, match="rknn_mem_sync was not called"):
        runtime.invoke("rknn_mem_sync", handle)
    with pytest.raises(InvalidHandle, match="rknn_mem_sync was not called"):
        runtime.raw_call("rknn_mem_sync", handle)
    runtime.invoke("rknn_mem_sync", rknn_context(7))
    assert len(called) == 1
