"""The tokenizer and the embedding file of rkllm.init, which the runtime asks for by callbacks (RKLLM 1.3)."""

from __future__ import annotations

import os
from array import array

import pytest

from tests.rkllm.board import Board

TOKENIZER = """{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
"pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
"model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "zero": 1, "one": 2, "two": 3}, "unk_token": "[UNK]"}}"""


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_the_tokenizer_callback_gives_the_runtime_its_ids(board: Board) -> None:
    board.load(tokenizer_path=board.file("tokenizer.json", TOKENIZER.encode()))
    run = board.result("rkllm.run", {"prompt": "zero one two"})
    assert run["text"] == "[user] [ids n=3] zero one two"
    assert run["perf"]["prefill_tokens"] == 3


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_the_embedding_callback_gives_the_runtime_rows_of_the_file(board: Board) -> None:
    # The simulator's rows are 8 wide; row i holds i in each column. A prompt's ids are 1, 2, 3 by the tokenizer.
    table = array("f", [float(row) for row in range(4) for _ in range(8)])
    board.load(
        tokenizer_path=board.file("tokenizer.json", TOKENIZER.encode()),
        embedding_path=board.file("embedding.bin", table.tobytes()),
    )
    assert board.say("zero one two") == "[user] [ids n=3] [embed_callback n=3 sum=48] zero one two"
    assert board.say("two two") == "[user] [ids n=2] [embed_callback n=2 sum=48] two two"
    tokens = board.result("rkllm.run", {"token_input": {"input_ids": [3, 1]}})
    assert tokens["text"] == "[user] [embed_callback n=2 sum=32] [tokens n=2 sum=4]"


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_an_embedding_outside_the_file_fails_the_run_and_says_why(board: Board) -> None:
    board.load(embedding_path=board.file("embedding.bin", bytes(2 * 8 * 4)))
    error = board.error("rkllm.run", {"token_input": {"input_ids": [5]}})
    assert error["data"]["kind"] == "RuntimeError"
    assert "E rkllm: embed callback failed, ret: -1" in error["data"]["log"]
    assert "outside the 2 rows" in error["message"], "the runtime can't say why, the daemon can"
    reasons = [event["reason"] for event in board.daemon.events("runtime_callback_failed")]
    assert any("outside the 2 rows" in reason for reason in reasons)


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_an_embedding_file_that_is_cut_short_fails_the_run_and_not_the_daemon(board: Board) -> None:
    path = board.file("embedding.bin", bytes(256 * 8 * 4))
    board.load(embedding_path=path)
    assert "embed_callback" in board.say("ab")
    os.truncate(path, 0)
    error = board.error("rkllm.run", {"prompt": "ab"})
    assert error["data"]["kind"] == "RuntimeError"
    assert "cut short" in error["message"]
    assert board.result("server.status")["state"] == "idle"


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
@pytest.mark.parametrize(
    ("name", "content", "keyword"),
    [
        ("tokenizer_path", b"{}", "format"),
        ("embedding_path", b"", "format"),
        ("embedding_path", b"12345", "multipleOf"),
        ("tokenizer_path", None, "file"),
        ("embedding_path", None, "file"),
    ],
)
def test_a_callbacks_file_that_is_none_is_refused(board: Board, name: str, content: bytes | None, keyword: str) -> None:
    path = "/nowhere" if content is None else board.file("broken", content)
    error = board.refused("rkllm.init", {"model_path": str(board.model), name: path})
    assert (error["code"], error["path"], error["keyword"]) == (-32602, f"$.{name}", keyword)


def test_null_asks_for_no_callback(board: Board) -> None:
    board.load(tokenizer_path=None, embedding_path=None)
    assert board.say() == "[user] Hi"
