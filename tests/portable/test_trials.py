"""Files that kill the runtime: they are tried by another process first, and the daemon reports what they did."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkllmd.portable.demo import vision
from tests.daemon import Daemon, Start
from tests.portable.gguf_files import DEMO, LORA, embedding_model, with_duplicate_token, with_value
from tests.wire_connection import Wire, kind

numpy = pytest.importorskip("numpy")

QUESTION = {"prompt": "What is an NPU?"}
ANSWER = "An NPU is a neural processing unit"
EPSILON = "llama.attention.layer_norm_rms_epsilon"
HIDDEN = "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"

KILLERS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "duplicate token": (with_duplicate_token, "rkllm_init", "id_to_token.size()"),
    "no blocks": (lambda path: with_value(path, "llama.block_count", struct.pack("<I", 0)), "rkllm_init", "n_layer"),
    "negative epsilon": (lambda path: with_value(path, EPSILON, struct.pack("<f", -1)), "rkllm_run", "eps >= 0"),
}


def copied(path: Path, source: Path = DEMO) -> Path:
    path.write_bytes(source.read_bytes())
    return path


def tried(daemon: Daemon) -> list[str]:
    return [event["path"] for event in daemon.events("file_tried")]


@pytest.mark.parametrize("name", KILLERS)
def test_a_model_that_kills(start: Start, tmp_path: Path, name: str) -> None:
    make, function, words = KILLERS[name]
    model = make(tmp_path / "killer.gguf")
    daemon = start("--model", "demo", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", QUESTION)["result"]["text"].startswith(ANSWER)
        for attempt in range(2):
            error = wire.ask("rkllm.init", {"model_path": str(model), "replace": True})["error"]
            assert error["data"]["kind"] == "RuntimeError"
            assert error["data"]["signal"] == "SIGABRT"
            assert error["data"]["function"] == function
            assert words in error["data"]["log"][-1]
            assert words in error["message"]
            assert str(model) in error["message"]
            remembered = [event.get("remembered", False) for event in daemon.events("file_kills_the_runtime")]
            assert remembered == [False, True][: attempt + 1]
        # The one that served was never touched.
        assert "restored" not in error["data"]
        assert wire.ask("rkllm.run", {**QUESTION, "handle": 1})["result"]["text"].startswith(ANSWER)
    assert daemon.events("model_loaded_again") == []


def test_a_verdict_outlives_the_daemon(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    killer, good = with_duplicate_token(tmp_path / "killer.gguf"), copied(tmp_path / "good.gguf")
    for counts in ([False], [True]):
        daemon = start("--state-directory", str(state), runtime="portable")
        with daemon.connect() as wire:
            assert kind(wire.ask("rkllm.init", {"model_path": str(killer)})) == "RuntimeError"
            assert wire.ask("rkllm.init", {"model_path": str(good)})["result"]["success"]
        found = [event.get("remembered", False) for event in daemon.events("file_kills_the_runtime")]
        assert found == counts
        assert tried(daemon) == ([] if counts == [True] else [str(good)])
        daemon.stop()


def test_a_file_is_tried_once_and_again_when_it_has_changed(start: Start, tmp_path: Path) -> None:
    model = copied(tmp_path / "model.gguf")
    daemon = start(runtime="portable")
    with daemon.connect() as wire:

        def load(**more: Any) -> dict[str, Any]:
            return wire.ask("rkllm.init", {"model_path": str(model), "replace": True, **more})

        for _ in range(2):
            assert load()["result"]["success"]
        assert tried(daemon) == [str(model)]
        assert load(max_context_len=64)["result"]["success"]
        assert tried(daemon) == [str(model)] * 2, "another context is built in another way"
        with_duplicate_token(model)
        assert kind(load()) == "RuntimeError"
        assert wire.ask("rkllm.run", QUESTION)["result"]["text"].startswith(ANSWER)


def test_what_is_the_packages_own_is_not_tried(start: Start) -> None:
    daemon = start("--model", "demo", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.load_lora", {"lora_adapter_path": str(LORA)})["result"]["success"]
        digits = Path(vision.__file__).parents[1] / "digits.onnx"
        assert wire.ask("rknn.init", {"model_path": str(digits)})["result"]["success"]
    assert tried(daemon) == []


def test_it_can_be_turned_off(start: Start, tmp_path: Path) -> None:
    model = copied(tmp_path / "model.gguf")
    daemon = start("--trial-loads", "never", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
    assert tried(daemon) == []


def test_adapters_and_prompt_caches_are_tried_too(start: Start, tmp_path: Path) -> None:
    adapter, cache = copied(tmp_path / "pirate.gguf", LORA), tmp_path / "cache"
    saving = {"save_prompt_cache": 1, "prompt_cache_path": str(cache)}
    daemon = start("--model", "demo", "--writable-directories", str(tmp_path), runtime="portable")
    with daemon.connect() as wire:
        for name in ("pirate", "other"):
            given = {"lora_adapter_path": str(adapter), "lora_adapter_name": name}
            assert wire.ask("rkllm.load_lora", given)["result"]["success"]
        assert wire.ask("rkllm.run", {**QUESTION, "prompt_cache_params": saving})["result"]["text"].startswith(ANSWER)
        for _ in range(2):
            assert wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": str(cache)})["result"]["success"]
        assert tried(daemon) == [str(adapter), str(cache)]
        # What is refused in the ordinary way says why, as ever.
        refused = wire.ask("rkllm.load_lora", {"lora_adapter_path": str(DEMO)})["error"]
        assert refused["message"].startswith("rkllm_load_lora failed with status -1")
        refused = wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": str(adapter)})["error"]
        assert "it is no prompt cache of this runtime" in refused["message"]
        assert wire.ask("rkllm.run", QUESTION)["result"]["text"].startswith(ANSWER)


def test_an_embedding_model_is_tried_by_what_it_has(start: Start, tmp_path: Path) -> None:
    model = embedding_model(tmp_path / "bert.gguf")
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
        assert wire.ask("rkllm.run", {"prompt": "w1", "mode": HIDDEN})["result"]["last_hidden_layer"]
    assert tried(daemon) == [str(model)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "download has probably failed"),
        (b"RKNN" + bytes(64), "rknn.init"),
        (b"PK\3\4" + bytes(64), "ZIP archive"),
        (bytes(64), "not a GGUF file"),
    ],
)
def test_what_is_no_model_is_refused_at_once(start: Start, tmp_path: Path, content: bytes, words: str) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(content)
    daemon = start("--model", "demo", runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.run", QUESTION)["result"]["text"].startswith(ANSWER)
        error = wire.ask("rkllm.init", {"model_path": str(wrong), "replace": True})["error"]
        assert (error["data"]["kind"], error["data"]["keyword"]) == ("InvalidParams", "format")
        assert words in error["message"]
        assert wire.ask("rkllm.run", {**QUESTION, "handle": 1})["result"]["text"].startswith(ANSWER)


# -- RKNN ------------------------------------------------------------------------------------------------------------


def graph(nodes: list[Any], constants: dict[str, Any]) -> bytes:
    """Return a model of one input x and one output y, both int32 of one element."""
    tensors = [numpy_helper.from_array(numpy.array([value], "int32"), name) for name, value in constants.items()]
    x, y = (helper.make_tensor_value_info(name, TensorProto.INT32, [1]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    return bytes(model.SerializeToString())


# What no integer of 32 bits holds: x86 traps, and ONNX Runtime computes constants while it loads.
AT_LOAD = graph(
    [helper.make_node("Div", ["a", "b"], ["k"]), helper.make_node("Add", ["x", "k"], ["y"])], {"a": -(2**31), "b": -1}
)
# The same in the first run only: the trial's input is 1.
AT_RUN = graph(
    [
        helper.make_node("Sub", ["a", "x"], ["k"]),
        helper.make_node("Div", ["k", "b"], ["y"]),
    ],
    {"a": -(2**31) + 1, "b": -1},
)
TRAPS = pytest.mark.skipif(os.uname().machine != "x86_64", reason="this division traps on x86 only")


def ask_to_load(wire: Wire, model: Path, form: str) -> dict[str, Any]:
    if form == "path":
        return wire.ask("rknn.init", {"model_path": str(model)})
    return wire.ask("rknn.init", {"model": {"data": base64.b64encode(model.read_bytes()).decode()}})


@TRAPS
@pytest.mark.parametrize("form", ["path", "bytes"])
@pytest.mark.parametrize(("content", "function"), [(AT_LOAD, "rknn_init"), (AT_RUN, "rknn_run")])
def test_an_onnx_model_that_kills(start: Start, tmp_path: Path, form: str, content: bytes, function: str) -> None:
    model = tmp_path / "killer.onnx"
    model.write_bytes(content)
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        for _ in range(2):
            error = ask_to_load(wire, model, form)["error"]
            assert (error["data"]["kind"], error["data"]["signal"]) == ("RuntimeError", "SIGFPE")
            assert error["data"]["function"] == function
        assert wire.ask("server.status")["result"]["state"] == "idle"
    assert [event.get("remembered", False) for event in daemon.events("file_kills_the_runtime")] == [False, True]


@pytest.mark.parametrize("form", ["path", "bytes"])
def test_a_good_onnx_model_is_tried_once(start: Start, tmp_path: Path, form: str) -> None:
    model = tmp_path / "good.onnx"
    model.write_bytes(graph([helper.make_node("Add", ["x", "a"], ["y"])], {"a": 5}))
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        for _ in range(2):
            assert ask_to_load(wire, model, form)["result"]["n_input"] == 1
    assert len(tried(daemon)) == 1


def with_weights_beside(folder: Path) -> Path:
    """Write a model that adds 0 … 299, which stand in a file of their own."""
    weights = numpy_helper.from_array(numpy.arange(300, dtype="float32"), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [300]) for name in "xy")
    made = helper.make_model(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 8
    onnx.save(
        made, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=True
    )
    return folder / "m.onnx"


@pytest.mark.parametrize("change", ["cut short", "overwritten", "removed"])
def test_weights_beside_a_loaded_model_may_change(start: Start, tmp_path: Path, change: str) -> None:
    model = with_weights_beside(tmp_path)
    beside = tmp_path / "m.data"
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rknn.init", {"model_path": str(model)})["result"]["success"]
        if change == "cut short":
            os.truncate(beside, 0)
        elif change == "overwritten":
            beside.write_bytes(bytes(beside.stat().st_size))
        else:
            beside.unlink()
        run = wire.ask("rknn.infer", {"inputs": [0.0] * 300, "encoding": "array"})["result"]
        assert numpy.array(run["outputs"][0]["data"]).ravel().tolist() == list(range(300))


def test_other_weights_are_another_model(start: Start, tmp_path: Path) -> None:
    model = with_weights_beside(tmp_path)
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        for _ in range(2):
            assert wire.ask("rknn.init", {"model_path": str(model)})["result"]["success"]
            (tmp_path / "m.data").write_bytes(numpy.ones(300, "float32").tobytes())
    assert len(tried(daemon)) == 2
