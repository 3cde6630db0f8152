"""What C calls back reaches the run that is on, and keeps no model alive."""

from __future__ import annotations

import ctypes
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, LLMResultCallback
from rkllmd.language.model import Model
from rkllmd.language.models.callbacks import give_callbacks
from rkllmd.machine.memory.guard import Demand

NO_FILES: Any = SimpleNamespace(tokenizer_path=None, embedding_path=None)


def model(layout: str) -> Model:
    library: Any = SimpleNamespace(layout=LAYOUTS[layout])
    param = LAYOUTS[layout]["RKLLMParam"]()
    made = Model(library, "/m", 5, 1, -1, 4096, is_async=False, param=param, demand=Demand("/m", 5))
    give_callbacks(made, NO_FILES)
    return made


def result_callback(made: Model) -> Any:
    """Return the function as C would find it in the last argument of rkllm_init."""
    argument: Any = made.callback
    if made.library.layout.name == "1.2":
        return argument
    struct = ctypes.cast(argument, ctypes.POINTER(made.library.layout["RKLLMCallback"])).contents
    return struct.result_callback


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_reaches_the_run_that_is_on(layout: str) -> None:
    made = model(layout)
    callback = result_callback(made)
    states: list[int] = []

    def on_result(_: Any, state: int) -> int:
        states.append(state)
        return 2

    generation: Any = SimpleNamespace(on_result=on_result)
    assert callback(None, None, 1) == 0, "no run is on"
    made.generation = generation
    assert callback(None, None, 1) == 2
    made.generation = None
    assert callback(None, None, 1) == 0
    assert states == [1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_goes_without_the_garbage_collector(layout: str) -> None:
    gc.disable()
    try:
        made = model(layout)
        alive, callback = weakref.ref(made), result_callback(made)
        keep = [made.callback, *made.keep_alive]
        del made
        assert alive() is None, "its files would stay open until the next collection"
        assert callback(None, None, 1) == 0, "a late callback finds nobody"
        del keep
    finally:
        gc.enable()


def test_c_gets_a_pointer_of_the_kind_that_its_layout_wants() -> None:
    assert isinstance(model("1.2").callback, LLMResultCallback)
    for layout in ("1.3", "1.3.1"):
        made = model(layout)
        assert any(isinstance(item, LAYOUTS[layout]["RKLLMCallback"]) for item in made.keep_alive)
