"""A run as a client has asked for it: what C gets of it."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.language.runs.run import Run
from rkllmd.portable.extension import NextRun
from rkllmd.wire.long_strings import LongString

INPUT = LAYOUTS["1.3"]["RKLLMInput"]
PARAMETERS = LAYOUTS["1.3"]["RKLLMInferParam"]()


def run_of(given: Any, struct: Any, n_batch: int = 1, extension: Any = None) -> Run:
    nothing: Any = None
    language: Any = SimpleNamespace(runtime=SimpleNamespace(extension=extension))
    model: Any = SimpleNamespace(n_batch=n_batch, pointer=1)
    parameters: Any = SimpleNamespace(c=PARAMETERS, json={}, path="$.rkllm_infer_params")
    converted: Any = SimpleNamespace(c=struct, json=given, path="$.rkllm_input")
    return Run(language, nothing, model, converted, parameters)


def test_one_input_may_be_given_with_or_without_an_array() -> None:
    alone, (first, _) = INPUT(role=b"user"), (INPUT * 2)(INPUT(role=b"user"), INPUT(role=b"tool"))
    array = (INPUT * 1)(first)
    for run in (run_of({}, alone), run_of([{}], array)):
        assert run.only_input.role == b"user"
        assert run.parameters is PARAMETERS


def test_c_gets_the_address_of_the_first_input() -> None:
    array = (INPUT * 2)(INPUT(role=b"user"), INPUT(role=b"tool"))
    for run, struct in ((run_of([{}, {}], array), array), (run_of({}, array[0]), array[0])):
        inputs: Any = run.inputs
        pointer = ctypes.cast(inputs, ctypes.POINTER(INPUT))
        assert ctypes.addressof(pointer.contents) == ctypes.addressof(struct)


def test_a_single_input_is_given_for_each_entry_of_a_batch() -> None:
    run = run_of({}, INPUT(role=b"tool"), n_batch=3)
    assert run.has_one_input
    assert run.is_alone_in_batch
    inputs: Any = run.inputs
    assert [entry.role for entry in inputs] == [b"tool"] * 3
    array = run_of([{}, {}], (INPUT * 2)(), n_batch=2)
    assert not array.has_one_input
    assert not array.is_alone_in_batch


def test_the_portable_runtime_is_told_that_there_is_one_entry() -> None:
    calls: list[Any] = []
    extension = SimpleNamespace(
        next_run=lambda handle, options: calls.append(options),
        next_entry=lambda handle, sequence, options: calls.append((sequence, options)),
    )
    run_of({}, INPUT(), n_batch=2, extension=extension).enter(NextRun(bare=True))
    assert calls == [NextRun(), (0, NextRun(bare=True))]
    calls.clear()
    run_of({}, INPUT(), extension=extension).enter(NextRun())
    assert calls == [], "nothing out of the ordinary"
    run_of({}, INPUT(), extension=extension).enter(NextRun(7))
    assert calls == [NextRun(7)]
    run_of({}, INPUT(), n_batch=2).enter(NextRun())


def test_what_is_not_given_is_left_to_the_runtime() -> None:
    run = run_of({}, INPUT())
    assert (run.seed, run.special, run.asynchronous) == (None, None, False)


def test_long_texts_in_tools_and_schemas_are_texts() -> None:
    long = LongString(bytearray(b"abc" * 10))
    nothing: Any = None
    asked: Any = {"tools": [{"description": long}], "format": {"enum": [long]}}
    asked |= dict.fromkeys(("model", "rkllm_input", "rkllm_infer_params"))
    run = Run.of(nothing, nothing, asked)
    assert run.tools == [{"description": str(long)}]
    assert run.form is not None
    assert run.form.schema == {"enum": [str(long)]}
