"""Hidden states and logits: copied inside the callback, freed, and part of the final result."""

from __future__ import annotations

import base64
import ctypes
import struct
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.abi.json.tensors import tensor_to_json
from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMResult
from rkllmd.language.texts.transcript import FINISH, NORMAL
from tests.language.generation.generations import CONTINUE, FREE, NULL, Loop, generation, results


def with_tensors(*entries: tuple[list[float], list[float]], width: int = 2) -> tuple[Any, list[Any]]:
    """Return results with hidden states and logits of ``width`` columns, and the memory that C would own."""
    array = (RKLLMResult * len(entries))()
    memory: list[Any] = []
    for result, (hidden, logits) in zip(array, entries, strict=True):
        for values, tensor, name, size in (
            (hidden, result.last_hidden_layer, "hidden_states", "embd_size"),
            (logits, result.logits, "logits", "vocab_size"),
        ):
            if values:
                numbers = (ctypes.c_float * len(values))(*values)
                memory.append(numbers)
                setattr(tensor, name, ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float)))
                setattr(tensor, size, width)
                tensor.num_tokens = len(values) // width
    return ctypes.cast(array, ctypes.POINTER(RKLLMResult)), memory


def numbers(tensor: dict[str, Any]) -> list[float]:
    raw = base64.b64decode(tensor["data"])
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@pytest.mark.parametrize(("rows", "size"), [(1 << 13, 2**31), (1 << 14, 2**32)])
def test_a_tensor_that_is_too_large_to_be_copied_is_no_answer_without_it(loop: Loop, rows: int, size: int) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS, streamed=False)
    shown, _memory = with_tensors(([], [1, 2]))
    shown[0].logits.vocab_size, shown[0].logits.num_tokens = 1 << 16, rows
    with capture_logs():
        run.on_result(shown, NORMAL)
    assert run.tensors(tensor_to_json) == {}
    assert run.lost == f"OverflowError: a tensor of {size} bytes is too large: at most 2147483647 can be answered"


@pytest.mark.parametrize(("can_free", "returned"), [(True, FREE), (False, CONTINUE)])
def test_tensors_are_copied_and_the_runtimes_buffer_is_freed_where_it_can_be(
    loop: Loop, can_free: bool, returned: int
) -> None:
    run = generation(
        loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER, can_free_buffer=can_free, streamed=False
    )
    shown, memory = with_tensors(([1, 2, 3, 4], []))
    assert run.on_result(shown, NORMAL) == returned
    memory[0][0] = 99
    tensors = run.tensors(tensor_to_json)
    assert tensors.keys() == {"last_hidden_layer"}
    layer = tensors["last_hidden_layer"]
    assert (layer["embd_size"], layer["num_tokens"]) == (2, 2)
    assert (layer["hidden_states"]["dtype"], layer["hidden_states"]["shape"]) == ("float32", [2, 2])
    assert numbers(layer["hidden_states"]) == [1, 2, 3, 4]
    assert loop.partials == []


def test_logits(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    run.on_result(with_tensors(([], [0.5, -0.5]))[0], NORMAL)
    run.on_result(NULL, FINISH)
    tensors = run.tensors(tensor_to_json)
    assert tensors.keys() == {"logits"}
    assert (tensors["logits"]["vocab_size"], tensors["logits"]["num_tokens"]) == (2, 1)
    assert numbers(tensors["logits"]["logits"]) == [0.5, -0.5]


def test_tensors_of_a_batch_are_a_list(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS, n_batch=2)
    run.on_result(with_tensors(([], [1, 2]), ([], [3, 4]))[0], NORMAL)
    assert [numbers(entry["logits"]) for entry in run.tensors(tensor_to_json)["logits"]] == [[1, 2], [3, 4]]


def test_tensors_of_several_callbacks_are_a_list(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    for row in ([1.0, 2.0], [3.0, 4.0]):
        run.on_result(with_tensors(([], row))[0], NORMAL)
    assert [numbers(entry["logits"]) for entry in run.tensors(tensor_to_json)["logits"]] == [[1, 2], [3, 4]]


def test_a_run_without_tensors_has_none(loop: Loop) -> None:
    run = generation(loop, mode=RKLLMInferMode.RKLLM_INFER_GET_LOGITS)
    run.on_result(results((0, None)), NORMAL)
    assert run.tensors(tensor_to_json) == {}
