"""What can't be a turn of a conversation is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon import Start


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"messages": []}, "$.messages"),
        ({"messages": [{"role": "user"}], "prompt_input": "x"}, "$"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "$.messages[0].role"),
        ({"messages": [{"role": "user", "content": "x"}], "mode": "RKLLM_INFER_GET_LOGITS"}, "$.messages"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, "$.messages"),
        ({"prompt": "x", "tools": [{}]}, "$.tools"),
        ({"tools": [{}]}, "$.rkllm_input"),
    ],
)
def test_what_is_no_conversation_is_refused(start: Start, params: dict[str, Any], path: str) -> None:
    daemon = start()
    daemon.load(max_context_len=1024)
    with daemon.connect() as wire:
        error = wire.ask("rkllm.run", params)["error"]
        assert (error["code"], error["data"]["path"]) == (-32602, path)
        both = wire.ask("rkllm.run", {"messages": [{"role": "user", "content": "x"}]}, session="a")["error"]
        assert both["data"]["member"] == "session"
    assert daemon.calls("rkllm_run") == 0


@pytest.mark.parametrize(
    "params",
    [
        {"input_type": "RKLLM_INPUT_TOKEN", "token_input": {"input_ids": [1, 2]}},
        {"prompt": "one", "mode": "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"},
    ],
    ids=["tokens", "hidden states"],
)
def test_what_is_no_talk_is_refused(start: Start, params: dict[str, Any]) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        answer = wire.ask("rkllm.run", params, session="a")
        assert answer["error"]["data"]["member"] == "session"
