"""A prompt cache kept by name, with the portable runtime over the socket: the prompt is not read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rkllmd.portable.demo import MODEL as DEMO_MODEL
from tests.daemon import Daemon
from tests.wire_connection import Wire

SYSTEM = "You are a helpful assistant on a small board. " * 6
TEMPLATE = [SYSTEM, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"]


def result(wire: Wire, method: str, params: Any = None) -> Any:
    answer = wire.ask(method, params)
    assert "result" in answer, answer
    return answer["result"]


def load_model(wire: Wire, **param: Any) -> None:
    result(wire, "rkllm.init", {"model_path": str(DEMO_MODEL), "max_new_tokens": 8, "top_k": 1, **param})
    result(wire, "rkllm.set_chat_template", TEMPLATE)


def test_a_prompt_is_read_once(start: Callable[..., Daemon], tmp_path: Path) -> None:
    caches = tmp_path / "caches"
    caches.mkdir()
    daemon = start("--cache-directory", str(caches), runtime="portable")
    save = {"prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": "system"}}
    with daemon.connect() as wire:
        load_model(wire)
        first = result(wire, "rkllm.run", {"prompt": "What is an NPU?", **save})
        assert first["prompt_cache"] == {"name": "system", "saved": True}
        result(wire, "rkllm.load_prompt_cache", {"prompt_cache_path": "system"})
        again = result(wire, "rkllm.run", {"prompt": "What is an NPU?"})
        assert (again["text"], again["perf"]["prefill_tokens"]) == (first["text"], 1)
        assert first["perf"]["prefill_tokens"] > 50
        result(wire, "rkllm.destroy")
        load_model(wire, max_context_len=300)
        error = wire.ask("rkllm.load_prompt_cache", {"prompt_cache_path": "system"})["error"]
        assert error["data"]["keyword"] == "fingerprint"
        assert [item["what"] for item in error["data"]["differences"]] == ["max_context_len"]
    assert {path.name for path in caches.rglob("*") if path.is_file()} == {"system.cache", "system.json"}


def test_what_the_runtime_can_not_save_is_an_error_and_leaves_nothing(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    caches = tmp_path / "caches"
    caches.mkdir()
    daemon = start("--cache-directory", str(caches), runtime="portable")
    save = {"prompt_cache_params": {"save_prompt_cache": 1, "prompt_cache_path": "two"}}
    with daemon.connect() as wire:
        load_model(wire, extend_param={"n_batch": 2})
        params = {"rkllm_input": [{"prompt": "Hello"}, {"prompt": "Hello"}], "rkllm_infer_params": save}
        error = wire.ask("rkllm.run", params)["error"]
        assert "n_batch must be 1" in error["message"]
        assert result(wire, "server.prompt_caches")["prompt_caches"] == []
    assert [path for path in caches.rglob("*") if path.is_file()] == []
