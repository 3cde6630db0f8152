"""Loading models, speaking to them, and giving one what it is to keep."""

from __future__ import annotations

from typing import Any

from tests.daemon import Daemon
from tests.wire_connection import Wire


def init(daemon: Daemon, wire: Wire, **param: Any) -> dict[str, Any]:
    return wire.ask("rkllm.init", {"model_path": str(daemon.model), **param})


def say(wire: Wire, **params: Any) -> Any:
    return wire.ask("rkllm.run", {"prompt": "Hi", **params})["result"]["text"]


def models(wire: Wire) -> list[dict[str, Any]]:
    return list(wire.ask("server.status")["result"]["models"])


def dress(daemon: Daemon, wire: Wire, handle: int) -> None:
    """Set all that is set again when a model is loaded again."""
    adapter = daemon.directory / "coding.rkllm"
    adapter.touch()
    strings = {"system_prompt": "Be brief.", "prompt_prefix": "<u>", "prompt_postfix": "</u>"}
    for method, params in (
        ("rkllm.load_lora", {"lora_adapter_path": str(adapter)}),
        ("rkllm.set_function_tools", {"system_prompt": "Old.", "tools": []}),
        ("rkllm.set_chat_template", strings),
    ):
        assert "result" in wire.ask(method, {"handle": handle, **params})


DRESSED = "<lora:coding><tool_call>[]</tool_call>[system] Be brief. [user] <u>Hi</u>"
WITH_LORA = {"rkllm_infer_params": {"lora_params": {"lora_adapter_name": "coding"}}}
