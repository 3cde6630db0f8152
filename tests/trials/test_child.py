"""What a trial does with a file: its steps, what they are made with, and what is reported."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi import callbacks, library, rknn_library
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd, rknn_tensor_type
from rkllmd.trials import child
from tests.daemon import Start


def test_a_trial_with_each_layout(start: Start) -> None:
    for version in ("1.2.3", "1.3.0", "1.3.1"):
        daemon = start("--trial-loads", "always", version=version)
        with daemon.connect() as wire:
            assert wire.ask("rkllm.init", {"model_path": str(daemon.model)})["result"]["success"]
            assert daemon.calls("rkllm_init") == 2
            assert daemon.calls("rkllm_run") == 1
            assert wire.ask("rknn.init", {"model_path": str(daemon.model)})["result"]["success"]
            assert daemon.calls("rknn_init") == 2


class Reports:
    """What a trial has reported."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(self, **what: Any) -> None:
        """Note it."""
        self.all.append(what)

    @property
    def steps(self) -> list[str]:
        """Return the steps in order."""
        return [what["step"] for what in self.all if "step" in what]


# -- language models ---------------------------------------------------------------------------------------------------


class Rkllm:
    """A runtime whose functions answer what the test says, 0 otherwise, and what it was called with."""

    def __init__(self, layout: str, **statuses: int) -> None:
        self.layout = LAYOUTS[layout]
        self.statuses = statuses
        self.param: Any = None
        self.runs: list[tuple[int, bytes | None, int]] = []  # mode, adapter, inputs
        self.handle: int | None = 7

    def rkllm_init(self, handle: Any, param: Any, _callback: Any) -> int:
        """Load."""
        self.param = param._obj
        handle._obj.value = self.handle
        return self.statuses.get("rkllm_init", 0)

    def rkllm_load_lora(self, _handle: Any, _adapter: Any) -> int:
        """Load an adapter."""
        return self.statuses.get("rkllm_load_lora", 0)

    def rkllm_load_prompt_cache(self, _handle: Any, _path: bytes) -> int:
        """Load a prompt cache."""
        return self.statuses.get("rkllm_load_prompt_cache", 0)

    def rkllm_run(self, _handle: Any, inputs: Any, infer: Any, _userdata: Any) -> int:
        """Run."""
        struct = infer._obj
        name = struct.lora_params.contents.lora_adapter_name if struct.lora_params else None
        assert all(item.prompt_input for item in inputs)
        self.runs.append((struct.mode, name, len(inputs)))
        return self.statuses.get("rkllm_run", 0) if len(self.runs) == 1 else 0


def rkllm(monkeypatch: pytest.MonkeyPatch, runtime: Rkllm, *, n_batch: int = 1, **more: Any) -> tuple[Reports, bool]:
    """Return what a trial with this runtime reports, and whether it went to its end."""
    monkeypatch.setattr(library, "load", lambda *_, **__: runtime)
    param = runtime.layout["RKLLMParam"](max_new_tokens=500, is_async=True)
    param.extend_param.n_batch = n_batch
    request = {
        "library": "/lib.so",
        "layout": None,
        "built_here": False,
        "param": bytes(param).hex(),
        "model_path": "/model\udcff",
        "adapter": None,
        "prompt_cache": None,
        "tokenizer_path": None,
        "embedding_path": None,
    }
    reports = Reports()
    try:
        child._try_rkllm({**request, **more}, reports)
    except child._FailedError:
        return reports, False
    return reports, True


GENERATE, HIDDEN = RKLLMInferMode.RKLLM_INFER_GENERATE, RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_is_loaded_as_the_daemon_would_and_generates_one_token(
    monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    runtime = Rkllm(layout)
    reports, is_done = rkllm(monkeypatch, runtime, n_batch=3)
    assert is_done
    assert reports.all == [{"step": "rkllm_init"}, {"step": "rkllm_run", "seconds": 10.0}]
    assert runtime.param.model_path == b"/model\xff"
    assert (runtime.param.max_new_tokens, runtime.param.is_async) == (1, False)
    assert runtime.runs == [(GENERATE, None, 3)]


def test_an_embedding_model_has_hidden_states_only(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Rkllm("1.3", rkllm_run=-1)
    assert rkllm(monkeypatch, runtime, n_batch=0)[1]
    assert runtime.runs == [(GENERATE, None, 1), (HIDDEN, None, 1)]


BESIDE: dict[str, Any] = {"adapter": {"name": "pirate", "path": "/a", "scale": 0.5}, "prompt_cache": "/cache"}


def test_an_adapter_and_a_prompt_cache_are_tried_with_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Rkllm("1.3")
    reports, is_done = rkllm(monkeypatch, runtime, **BESIDE)
    assert is_done
    assert reports.steps == ["rkllm_init", "rkllm_load_lora", "rkllm_load_prompt_cache", "rkllm_run"]
    assert runtime.runs == [(GENERATE, b"pirate", 1)]


@pytest.mark.parametrize("function", ["rkllm_init", "rkllm_load_lora", "rkllm_load_prompt_cache"])
def test_a_function_that_fails_ends_the_trial_and_is_reported(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    runtime = Rkllm("1.3", **{function: -5})
    reports, is_done = rkllm(monkeypatch, runtime, **BESIDE)
    assert not is_done
    assert reports.all[-2:] == [{"step": function}, {"failed": function, "status": -5}]
    assert runtime.runs == []


def test_a_load_without_a_handle_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Rkllm("1.3")
    runtime.handle = None
    reports, is_done = rkllm(monkeypatch, runtime)
    assert (is_done, reports.all[-1]) == (False, {"failed": "rkllm_init", "status": -1})


@pytest.mark.parametrize(
    ("name", "step"), [("tokenizer_path", "the tokenizer"), ("embedding_path", "the embedding file")]
)
def test_a_file_of_a_callback_is_a_step_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, step: str
) -> None:
    field = {"tokenizer_path": "tokenizer_callback", "embedding_path": "embed_callback"}[name]
    nothing = type(getattr(LAYOUTS["1.3"]["RKLLMCallback"](), field))()
    given: list[str] = []
    given_file: dict[str, Any] = {name: "/file"}

    def made(path: str, _log: Any) -> Any:
        given.append(path)
        return nothing

    monkeypatch.setattr(callbacks, name.replace("_path", "_callback"), made)
    reports, is_done = rkllm(monkeypatch, Rkllm("1.3"), **given_file)
    assert (is_done, given) == (True, ["/file"])
    assert reports.steps == [step, "rkllm_init", "rkllm_run"]
    given.clear()
    assert rkllm(monkeypatch, Rkllm("1.2"), **given_file)[0].steps == ["rkllm_init", "rkllm_run"]
    assert given == [], "that layout has no such callback"


# -- RKNN --------------------------------------------------------------------------------------------------------------


class Rknn(dict[str, Any]):
    """A runtime with a model of these inputs: type and number of elements of each."""

    def __init__(self, *inputs: tuple[rknn_tensor_type, int], **statuses: int) -> None:
        self._inputs = inputs
        self._statuses = statuses
        self.given: list[bytes] = []
        self.calls: list[str] = []
        names = ("rknn_init", "rknn_query", "rknn_inputs_set", "rknn_run")
        super().__init__({name: getattr(self, name) for name in names})

    def rknn_init(self, *_: Any) -> int:
        """Load."""
        return self._statuses.get("rknn_init", 0)

    def rknn_query(self, _context: Any, command: int, info: Any, _size: int) -> int:
        """Describe the model."""
        struct = info._obj
        if command == rknn_query_cmd.RKNN_QUERY_IN_OUT_NUM:
            struct.n_input = len(self._inputs)
            return self._statuses.get("number", 0)
        struct.type, struct.n_elems = self._inputs[struct.index]
        return self._statuses.get("attr", 0)

    def rknn_inputs_set(self, _context: Any, _count: int, inputs: Any) -> int:
        """Note what is given."""
        self.given = [ctypes.string_at(item.buf, item.size) for item in inputs]
        return self._statuses.get("rknn_inputs_set", 0)

    def rknn_run(self, _context: Any, _extend: Any) -> int:
        """Run."""
        self.calls.append("rknn_run")
        return 0


def rknn(monkeypatch: pytest.MonkeyPatch, runtime: Rknn) -> Reports:
    """Return what a trial with this runtime reports."""
    monkeypatch.setattr(rknn_library, "load", lambda *_: SimpleNamespace(functions=runtime))
    reports = Reports()
    request = {"library": "/lib.so", "layout": None, "model_path": "/m.rknn", "offset": 0, "part": 0}
    try:
        child._try_rknn(request, reports)
    except child._FailedError:
        reports(failed_early=True)
    return reports


T = rknn_tensor_type
LOADED = ["rknn_init", "rknn_query"]


def test_a_model_runs_once_with_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Rknn((T.RKNN_TENSOR_FLOAT32, 2), (T.RKNN_TENSOR_INT64, 1), (T.RKNN_TENSOR_UINT8, 0))
    reports = rknn(monkeypatch, runtime)
    assert reports.steps == [*LOADED, "rknn_inputs_set", "rknn_run"]
    assert [what.get("seconds") for what in reports.all] == [None, 2.0, None, 2.0]
    assert runtime.given == [b"\0\0\x80\x3f" * 2, b"\1" + bytes(7), b""]
    assert runtime.calls == ["rknn_run"]


@pytest.mark.parametrize(
    "runtime",
    [
        Rknn(),
        Rknn((T.RKNN_TENSOR_INT8, 1), number=-1),
        Rknn((T.RKNN_TENSOR_INT8, 1), attr=-1),
        Rknn((T.RKNN_TENSOR_INT4, 1)),
        Rknn((T.RKNN_TENSOR_FLOAT32, 2**25), (T.RKNN_TENSOR_FLOAT32, 2**25 + 1)),
    ],
    ids=["no inputs", "no number", "no attributes", "another type", "too large"],
)
def test_a_model_that_no_inputs_are_made_for_is_loaded_only(monkeypatch: pytest.MonkeyPatch, runtime: Rknn) -> None:
    assert rknn(monkeypatch, runtime).steps == LOADED
    assert runtime.calls == []


def test_inputs_that_are_refused_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Rknn((T.RKNN_TENSOR_INT8, 4), rknn_inputs_set=-1)
    assert rknn(monkeypatch, runtime).steps == [*LOADED, "rknn_inputs_set"]
    assert runtime.calls == []


def test_a_model_that_is_refused_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = rknn(monkeypatch, Rknn((T.RKNN_TENSOR_INT8, 4), rknn_init=-6))
    assert reports.all == [{"step": "rknn_init"}, {"failed": "rknn_init", "status": -6}, {"failed_early": True}]
