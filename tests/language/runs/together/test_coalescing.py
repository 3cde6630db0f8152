"""Which runs share a batch, and what has to be equal for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.c import byref, pointer
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.abi.layouts.rkllm_common import RKLLMLoraParam, RKLLMPromptCacheParam
from rkllmd.language.runs.together import coalescing

LAYOUT = LAYOUTS["1.3"]


def asked(model: Any, **changed: Any) -> dict[str, Any]:
    """Return what a run is called with; ``changed``: fields of its structs, its JSON, or options of its own."""
    infer_params, rkllm_input = LAYOUT["RKLLMInferParam"](), LAYOUT["RKLLMInput"]()
    json = changed.pop("json", {})
    for struct in (infer_params, rkllm_input):
        for name in [name for name in changed if hasattr(struct, name)]:
            setattr(struct, name, changed.pop(name))
    return {
        "model": model,
        "rkllm_input": SimpleNamespace(c=rkllm_input, json=json, path="$"),
        "rkllm_infer_params": SimpleNamespace(c=infer_params, json={}, path="$"),
        **changed,
    }


def messages(content: Any) -> Any:
    return SimpleNamespace(json=[{"role": "user", "content": content}], sources=None)


def model(n_batch: int = 4, coalesce: bool | None = None) -> Any:
    sampling = LAYOUT["RKLLMSamplingParam"](top_k=1)
    return SimpleNamespace(n_batch=n_batch, coalesce=coalesce, sampling=sampling)


def language(setting: str = "always", runtime: str = "simulator") -> Any:
    config = SimpleNamespace(coalesce=setting, format_by="auto")
    extension = object() if runtime == "portable" else None
    return SimpleNamespace(config=config, runtime=SimpleNamespace(name=runtime, extension=extension))


def together(
    the_model: Any, session: str | None = None, runtime: str = "simulator", **changed: Any
) -> tuple[Any, int] | None:
    invocation: Any = SimpleNamespace(call=SimpleNamespace(members=SimpleNamespace(session=session)))
    return coalescing.together(language(runtime=runtime), invocation, **asked(the_model, **changed))


@pytest.mark.parametrize(
    ("setting", "runtime", "declared", "n_batch", "on"),
    [
        ("auto", "portable", None, 4, True),
        ("auto", "vendor", None, 4, False),
        ("auto", "portable", None, 1, False),
        ("always", "vendor", None, 4, True),
        ("never", "portable", None, 4, False),
        ("never", "vendor", True, 4, True),
        ("always", "portable", False, 4, False),
    ],
)
def test_where_it_is_on(setting: str, runtime: str, declared: bool | None, n_batch: int, on: bool) -> None:
    assert coalescing.is_on(language(setting, runtime), model(n_batch, declared)) == on


def test_as_many_as_the_batch_has_places() -> None:
    the_model = model()
    found = together(the_model)
    assert found is not None
    assert found[1] == 4
    assert found == together(the_model)
    assert found != together(model()), "of another model"


SAMPLING = LAYOUT["RKLLMSamplingParam"](top_k=7)
USUAL = LAYOUT["RKLLMSamplingParam"](top_k=1)
LORA = RKLLMLoraParam(lora_adapter_name=b"poet")


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling_params": pointer(SAMPLING)},
        {"lora_params": pointer(LORA)},
        {"input_type": 1},
        {"messages": messages("Hello")},
    ],
    ids=["sampling", "adapter", "type of input", "conversations"],
)
def test_what_has_to_be_equal(changed: dict[str, Any]) -> None:
    the_model = model()
    assert together(the_model, **changed) not in (together(the_model), None)
    assert together(the_model, **changed) == together(the_model, **changed)


def test_what_may_differ() -> None:
    the_model = model()
    usual = together(the_model)
    assert together(the_model, sampling_params=pointer(USUAL)) == usual, "the same as the model's own"
    assert together(the_model, max_new_tokens=9, stop=["x"], special=True) == usual
    chats = together(the_model, messages=messages("Hello"))
    assert together(the_model, messages=messages("Bye"), raw=True, tools=[], keep_history=1) == chats


def test_a_form_is_shared_where_the_runtime_asks_for_each_token() -> None:
    """A pause would be one of all the others."""
    the_model = model()
    assert together(the_model, runtime="portable", format="json") == together(the_model, runtime="portable")
    assert together(the_model, format="json") is None


SAVING = RKLLMPromptCacheParam(save_prompt_cache=1, prompt_cache_path=b"/c")


@pytest.mark.parametrize(
    "changed",
    [
        {"json": [{}, {}, {}, {}]},
        {"mode": 1},
        {"input_type": 3},
        {"keep_history": 1},
        {"prompt_cache_params": pointer(SAVING)},
        {"session": "kitchen"},
        {"messages": messages([{"type": "text", "text": "What is it?"}, {"type": "image", "image": {}}])},
        {"seed": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_alone(changed: dict[str, Any]) -> None:
    assert together(model(), **changed) is None
    assert byref(SAVING)
