"""The examples of docs/protocol.md, section 3, as written, paths apart."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.daemon import Daemon


def test_the_examples_run_as_written_in_one_go(start: Callable[..., Daemon]) -> None:
    """A script may send rkllm.init and what builds upon it without waiting for the answers."""
    daemon = start("--max-models", "2", scenario="text=quantum computing")
    adapter = daemon.directory / "coding.rkllm"
    adapter.touch()
    lines = [
        '{"jsonrpc":"2.0","id":1,"method":"rkllm.init","params":[{"model_path":"/models/qwen3.rkllm"}]}',
        '{"jsonrpc":"2.0","id":2,"method":"rkllm.run_async",'
        '"params":[null,{"input_type":0,"prompt_input":"Hello"},{"mode":0},null]}',
        '{"jsonrpc":"2.0","id":5,"method":"rkllm.load_lora","params":[{"lora_adapter_path":"/models/lora/coding.rkllm"}]}',
        '{"jsonrpc":"2.0","id":8,"method":"rkllm.run","params":{"role":"user","prompt":"Hello"}}',
    ]
    text = "\n".join(lines).replace("/models/qwen3.rkllm", str(daemon.model))
    with daemon.connect() as wire:
        wire.send(text.replace("/models/lora/coding.rkllm", str(adapter)).encode() + b"\n")
        wire.half_close()
        messages = []
        while (message := wire.receive()) is not None:
            messages.append(message)
    finals = {message["id"]: message for message in messages}
    assert [message["id"] for message in messages if "error" in message] == [], json.dumps(messages)
    assert finals[1]["result"]["handle"] == 1
    streamed = [message["result"] for message in messages if message["id"] == 2]
    assert "".join(result["text"] for result in streamed) == "quantum computing"
    assert [result["seq"] for result in streamed] == list(range(len(streamed)))
    assert streamed[-1]["_callback_state"] == 2
    assert finals[8]["result"]["text"] == "quantum computing"
