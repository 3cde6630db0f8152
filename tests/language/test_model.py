"""A language model as an object: what it knows of itself."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding.attachments import Attachments
from rkllmd.language.model import Adapter, Model, kept_by_daemon
from rkllmd.machine.memory.guard import Demand


def model(layout: str = "1.3", **fields: Any) -> Model:
    param = LAYOUTS[layout]["RKLLMParam"](top_k=40, temperature=0.5)
    library: Any = SimpleNamespace(layout=LAYOUTS[layout])
    given = {"size_bytes": 5, "n_batch": 2, "max_new_tokens": 100, "max_context_len": 4096, "is_async": False, **fields}
    return Model(library, "/m", param=param, demand=Demand("/m", 5), **given)


def test_a_model_without_a_c_handle_is_alive_only_while_it_sleeps() -> None:
    made = model()
    assert not made.is_alive
    made.is_asleep = True
    assert made.is_alive
    made.is_asleep, made.pointer = False, ctypes.c_void_p(1)
    assert made.is_alive


def converted(layout: str, **fields: int) -> Converted:
    """Return RKLLMInferParam as a call has it."""
    return Converted(LAYOUTS[layout]["RKLLMInferParam"](**fields), {}, "$", Attachments())


@pytest.mark.parametrize(("per_run", "most"), [(7, 7), (0, 100), (-1, 100)])
def test_a_run_may_have_a_limit_of_its_own(per_run: int, most: int) -> None:
    given = converted("1.3", max_new_tokens=per_run)
    assert (model().most_tokens(given), kept_by_daemon(given)) == (most, None)


@pytest.mark.parametrize(("per_run", "most"), [(7, 7), (0, 100), (None, 100), (200, 100)])
def test_where_c_has_no_such_limit_the_daemon_keeps_it(per_run: int | None, most: int) -> None:
    given = converted("1.2")
    given.json["max_new_tokens"] = per_run
    assert (model("1.2").most_tokens(given), kept_by_daemon(given)) == (most, per_run or 0)


def test_the_template_in_use() -> None:
    made = model(chat_template="model")
    assert made.template_in_use == "model"
    made.strings["rkllm_set_chat_template"] = [b"", b"", b""]
    assert made.template_in_use == "set"
    assert model().template_in_use is None, "the vendor's runtime does not say"


def test_the_sampling_is_that_of_the_load() -> None:
    sampling = model().sampling
    assert (sampling.top_k, sampling.temperature) == (40, 0.5)


def test_adapters_have_the_names_that_runs_give() -> None:
    struct = LAYOUTS["1.3"]["RKLLMLoraAdapter"](lora_adapter_name="höflich".encode())
    made = model()
    made.adapters.append(Adapter(struct, []))
    assert made.lora_adapters == ["höflich"]


def test_nothing_is_in_the_cache_of_a_new_model() -> None:
    assert model().kv_cache_sizes == [0, 0]
    assert not model().kv_cache.holds_words
    assert model().domain == 0
