"""What is tried of a language model before it is loaded: its file, its adapters, a prompt cache."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.language.model import Adapter
from rkllmd.language.models import model_trial
from rkllmd.portable import demo

LAYOUT = LAYOUTS["1.3"]


def room(trial_loads: str = "always") -> Any:
    library = SimpleNamespace(path=Path("/lib/librkllmrt.so"), version="1.3.0", layout=LAYOUT)
    return SimpleNamespace(
        config=SimpleNamespace(trial_loads=trial_loads), runtime=SimpleNamespace(name="vendor", library=library)
    )


def file(path: Path) -> str:
    path.write_bytes(b"weights")
    return str(path)


def recipe(tmp_path: Path, *adapters: Adapter, context: int = 4096) -> Any:
    param = LAYOUT["RKLLMParam"](model_path=b"/m", max_context_len=context)
    return SimpleNamespace(
        param=param, path=file(tmp_path / "model"), adapters=adapters, tokenizer_path=None, embedding_path=None
    )


def adapter(tmp_path: Path) -> Adapter:
    path = file(tmp_path / "lora")
    return Adapter(LAYOUT["RKLLMLoraAdapter"](lora_adapter_path=path.encode(), lora_adapter_name=b"a", scale=0.5), [])


def param_of(trial: Any) -> Any:
    return LAYOUT["RKLLMParam"].from_buffer_copy(bytes.fromhex(trial.request["param"]))


def test_a_model_is_tried_and_then_each_of_its_adapters(tmp_path: Path) -> None:
    model, lora = model_trial.of_recipe(room(), recipe(tmp_path, adapter(tmp_path)))
    assert (model.path, model.request["adapter"]) == (str(tmp_path / "model"), None)
    assert lora.path == str(tmp_path / "lora")
    assert lora.request["adapter"] == {"path": str(tmp_path / "lora"), "name": "a", "scale": 0.5}
    assert lora.request["model_path"] == str(tmp_path / "model")


@pytest.mark.parametrize(("context", "tried"), [(4096, 4096), (0, 256), (-1, 256)])
def test_a_context_that_follows_the_memory_is_tried_short(tmp_path: Path, context: int, tried: int) -> None:
    given = recipe(tmp_path, adapter(tmp_path), context=context)
    model, lora = model_trial.of_recipe(room(), given)
    assert param_of(model).max_context_len == tried
    assert param_of(lora).max_context_len == 256, "an adapter needs no long one"
    assert given.param.max_context_len == context, "the load itself is as it was"


def test_no_pointer_goes_to_another_process(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    (model,) = model_trial.of_recipe(room(), given)
    assert param_of(model).model_path is None
    assert given.param.model_path == b"/m"


def test_a_file_that_was_written_since_is_tried_anew(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    (first,), (again,) = model_trial.of_recipe(room(), given), model_trial.of_recipe(room(), given)
    assert first.key == again.key
    Path(given.path).write_bytes(b"other weights")
    (changed,) = model_trial.of_recipe(room(), given)
    assert changed.key != first.key


def test_what_needs_no_trial(tmp_path: Path) -> None:
    assert model_trial.of_recipe(room("never"), recipe(tmp_path)) == []
    ours = recipe(tmp_path)
    ours.path = str(demo.MODEL)
    assert model_trial.of_recipe(room(), ours) == [], "it comes with the daemon"
