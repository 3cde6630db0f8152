"""Counts of tokens where C does not say them: by the model's own tokenizer, in the folder that is declared for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from tests.abi.tokenizer_files import WORDS
from tests.daemon import Start
from tests.server.conversations.talking import Talk
from tests.wire_connection import kind

# Ten tokens around a question, each a word of its own.
TEMPLATE = (
    "{% for m in messages %}zero zero {{ m.content }} zero {% endfor %}{% if add_generation_prompt %}one one{% endif %}"
)


def test_a_runtime_that_does_not_count_says_so(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        for params in ({"text": "one"}, {"messages": [{"role": "user", "content": "one"}]}):
            error = wire.ask("server.count_tokens", params)["error"]
            assert error["data"]["kind"] == "NotSupported"
            assert "tokenizer.json" in error["message"]
        assert kind(wire.ask("server.count_tokens", {"text": "x" * 10_000_000})) == "InvalidParams"


def test_a_declared_tokenizer_counts(start: Start, tmp_path: Path) -> None:
    """Texts, messages by the model's own template, the prompts of runs that C says nothing of, and what is too long."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(WORDS)
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({"chat_template": TEMPLATE}))
    (tmp_path / "a.rkllm").touch()
    declared = f"[models.a]\nmodel_path = '{tmp_path}/a.rkllm'\ntokenizer = '{folder}/'\nmax_context_len = 32\n"
    (tmp_path / "rkllmd.toml").write_text(declared)
    daemon = start("--config", str(tmp_path / "rkllmd.toml"), "--model", "a", scenario="perf_zero=1;text=two")
    daemon.wait_event("model_loaded")

    def said(text: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}]}

    with daemon.connect() as wire:
        assert wire.ask("server.count_tokens", {"text": "zero <s> two"})["result"] == {"tokens": 3}
        assert kind(wire.ask("server.count_tokens", {"text": "zero", "special": False})) == "NotSupported"
        counted = wire.ask("server.count_tokens", said("two two"))["result"]
        assert counted == {"tokens": 7, "template": "model"}
        talk = Talk(wire)
        assert talk.ask("two two")["prompt_tokens"] == 7
        long = {"tokens": 33, "max_context_len": 32, "keyword": "maxLength", "limit": 32}
        error = wire.ask("rkllm.run", said("two " * 28))["error"]
        assert error["data"] == {"kind": "InvalidParams", "path": "$.messages", **long}
        assert daemon.calls("rkllm_run") == 1, "C was not asked"
        assert kind(wire.ask("rkllm.run", {"prompt": "two " * 33})) == "InvalidParams"
        again = talk.ask("two")
        assert again["cached_tokens"] > 0, "what was refused has taken nothing from the others"
