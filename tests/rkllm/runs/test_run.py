"""rkllm.run and rkllm.run_async: text, token ids and embeddings, in all their JSON forms, as C sees them."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import pytest

from tests.rkllm.board import Board
from tests.rkllm.runs.inputs import BOTH, TENSOR, WIDTH, base64_of, floats, fnv1a, text_of

_OF_INFER_PARAMS = ("mode", "lora_params", "prompt_cache_params")


# --------------------------------------------------------------------------------------------------------------------
# Text


@BOTH
@pytest.mark.parametrize("form", ["flat", "named", "positional"])
def test_a_long_text_that_could_be_base64_is_a_text(board: Board, method: str, form: str) -> None:
    board.load(max_new_tokens=-1)
    text = "Word" * 25_000
    params: dict[str, Any] = {
        "flat": {"prompt": text, "role": "A" * 65_536},
        "named": {"rkllm_input": {"prompt_input": text, "role": "A" * 65_536}},
        "positional": [{"prompt_input": text, "role": "A" * 65_536}],
    }
    answer = board.wire.ask(method, params[form], stream="final")["result"]["text"]
    assert text in answer
    assert f"[{'A' * 65_536}]" in answer


@BOTH
@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"prompt_input": "Hello"}, "[user] Hello"),
        ({"prompt": "Hello"}, "[user] Hello"),
        ({"prompt": "Hello", "role": "system"}, "[system] Hello"),
        ({"prompt": "Hello", "role": None}, "[user] Hello"),
        ({"prompt": "Hello", "enable_thinking": True}, "<think>hm</think>[user] Hello"),
        ({"prompt": "Hello", "enable_thinking": 1}, "<think>hm</think>[user] Hello"),
        ({"prompt": "Hello", "enable_thinking": False}, "[user] Hello"),
        ({"prompt": "Hello", "input_type": 0}, "[user] Hello"),
        ({"prompt": "Hello", "input_type": 0.0}, "[user] Hello"),
        ({"prompt": "Hello", "input_type": "RKLLM_INPUT_PROMPT"}, "[user] Hello"),
        ({"prompt": ""}, "[user] "),
        ({"prompt": 'Grüße, 世界 🎉\n\t"\\'}, '[user] Grüße, 世界 🎉\n\t"\\'),
        ({"prompt": "Hello", "mode": "RKLLM_INFER_GENERATE"}, "[user] Hello"),
        ({"prompt": "Hello", "lora_params": None, "prompt_cache_params": None}, "[user] Hello"),
    ],
)
def test_text(board: Board, method: str, params: dict[str, Any], text: str) -> None:
    board.load()
    assert text_of(board, method, params) == text
    run_input = {name: value for name, value in params.items() if name not in _OF_INFER_PARAMS}
    infer_params = {name: value for name, value in params.items() if name not in run_input}
    assert text_of(board, method, [run_input, infer_params]) == text


@BOTH
def test_a_streamed_answer_has_the_documented_messages(board: Board, method: str) -> None:
    board.load()
    board.script(text="quantum computing", tokens="words")
    board.wire.request(method, {"prompt": "Hi"}, stream="partial")
    first, second, last = (message["result"] for message in board.wire.until_final(1))
    assert first == {"text": "quantum ", "token_id": 100, "_callback_state": 0, "seq": 0}
    assert second == {"text": "computing", "token_id": 101, "_callback_state": 0, "seq": 1}
    assert last == {
        "text": "",
        "token_id": 0,
        "_callback_state": 2,
        "seq": 2,
        "finish_reason": "stop",
        "perf": {
            "prefill_time_ms": 10.0,
            "prefill_tokens": 2,
            "generate_time_ms": 20.0,
            "generate_tokens": 2,
            "memory_usage_mb": 12.5,
        },
    }


@BOTH
def test_the_whole_answer_at_once(board: Board, method: str) -> None:
    board.load()
    board.script(text="quantum computing", tokens="words")
    board.wire.request(method, {"prompt": "Hi"}, stream="final")
    (message,) = board.wire.until_final(1)
    result = message["result"]
    assert result.pop("perf")["generate_tokens"] == 2
    assert result == {"text": "quantum computing", "token_id": 0, "_callback_state": 2, "finish_reason": "stop"}


@BOTH
def test_an_answer_as_notifications(board: Board, method: str) -> None:
    board.load()
    board.script(text="quantum computing", tokens="words")
    board.wire.request(method, {"prompt": "Hi"}, "a", stream="notify")
    first, second, last = (board.wire.receive() for _ in range(3))
    params = {"id": "a", "text": "quantum ", "token_id": 100, "_callback_state": 0, "seq": 0}
    assert first == {"jsonrpc": "2.0", "method": "rkllm.token", "params": params}
    assert second["params"]["seq"] == 1
    assert last["id"] == "a"
    assert last["result"]["_callback_state"] == 2


def test_an_unknown_shape_of_answer_is_refused(board: Board) -> None:
    board.load()
    error = board.refused("rkllm.run", {"prompt": "Hi"}, stream="chunked")
    assert (error["code"], error["keyword"], error["limit"]) == (-32602, "enum", ["partial", "final", "notify"])


# --------------------------------------------------------------------------------------------------------------------
# Token ids and embeddings


@BOTH
@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 3, -4],
        {"data": [1, 2, 3, -4]},
        {"data": base64_of(struct.pack("<4i", 1, 2, 3, -4)), "dtype": "int32"},
        {"data": base64_of(struct.pack("<4i", 1, 2, 3, -4)), "dtype": "int32", "shape": [4]},
        {"data": base64_of(struct.pack("<4q", 1, 2, 3, -4)), "dtype": "int64"},
        base64_of(struct.pack("<4i", 1, 2, 3, -4)),
    ],
    ids=["array", "array in an object", "base64", "base64 with its shape", "int64", "bare base64"],
)
@pytest.mark.parametrize("input_type", [None, 1, "RKLLM_INPUT_TOKEN"])
def test_token_ids(board: Board, method: str, ids: Any, input_type: Any) -> None:
    board.load()
    board.script(echo_hash=1)
    for count in ({}, {"n_tokens": 4}):
        params: dict[str, Any] = {"token_input": {"input_ids": ids, **count}}
        if input_type is not None:
            params["input_type"] = input_type
        expected = f"[user] [tokens n=4 sum=2 hash={fnv1a(struct.pack('<4i', 1, 2, 3, -4))}]"
        assert text_of(board, method, params) == expected


ROWS = [[float(row * 10 + column) / 4 for column in range(WIDTH)] for row in range(3)]
FLAT = [number for row in ROWS for number in row]
EMBEDDINGS: dict[str, Any] = {
    "rows": {"embed": ROWS},
    "numbers with n_tokens": {"embed": FLAT, "n_tokens": 3},
    "base64 with its shape": {"embed": {"data": floats(FLAT), "dtype": "float32", "shape": [3, WIDTH]}},
    "base64 with n_tokens": {"embed": {"data": floats(FLAT)}, "n_tokens": 3},
    "bare base64": {"embed": floats(FLAT), "n_tokens": 3},
    "float16": {
        "embed": {"data": base64_of(struct.pack(f"<{len(FLAT)}e", *FLAT)), "dtype": "float16", "shape": [3, WIDTH]}
    },
    "bfloat16": {
        "embed": {
            "data": base64_of(b"".join(struct.pack("<f", number)[2:] for number in FLAT)),
            "dtype": "bfloat16",
            "shape": [3, WIDTH],
        }
    },
}


@BOTH
@pytest.mark.parametrize("form", EMBEDDINGS)
@pytest.mark.parametrize("input_type", [None, 2, "RKLLM_INPUT_EMBED"])
def test_embeddings(board: Board, method: str, form: str, input_type: Any) -> None:
    board.load()
    board.script(echo_hash=1)
    params = {"embed_input": EMBEDDINGS[form], "input_type": input_type}
    if input_type is None:
        del params["input_type"]
    expected = f"[user] [embed n=3 sum={sum(FLAT):g} hash={fnv1a(array('f', FLAT).tobytes())}]"
    assert text_of(board, method, params) == expected


# --------------------------------------------------------------------------------------------------------------------
# Contradictions and what is wrong

IMAGE = {"prompt": "What?", "image_embed": TENSOR}


@BOTH
@pytest.mark.parametrize(
    ("params", "path", "keyword"),
    [
        (None, "$.rkllm_input", "required"),
        ({}, "$.rkllm_input", "required"),
        ([None, None, None], "$[1]", "type"),
        ({"mode": 0}, "$.rkllm_input", "required"),
        ({"role": "user"}, "$", "required"),
        ([{"role": "user"}], "$[0]", "required"),
        ({"rkllm_input": {"role": "user"}}, "$.rkllm_input", "required"),
        ({"prompt": "a", "token_input": {"input_ids": [1]}}, "$", "oneOf"),
        ({"prompt": "a", "prompt_input": "a"}, "$", "oneOf"),
        ({"multimodal": IMAGE, "multimodal_input": IMAGE}, "$", "oneOf"),
        ({"prompt": "a", "input_type": 1}, "$.input_type", "const"),
        ({"prompt": "a", "input_type": "RKLLM_INPUT_EMBED"}, "$.input_type", "const"),
        ({"prompt": "a", "input_type": 4}, "$.input_type", "enum"),
        ({"prompt": "a", "input_type": "PROMPT"}, "$.input_type", "enum"),
        ({"prompt": "a", "input_type": True}, "$.input_type", "enum"),
        ({"prompt": 5}, "$.prompt", "type"),
        ({"prompt_input": "a\0b"}, "$.prompt_input", "pattern"),
        ({"prompt": "a", "role": "us\0er"}, "$.role", "pattern"),
        ({"prompt": "a", "role": 1}, "$.role", "type"),
        ({"prompt": "a", "enable_thinking": "yes"}, "$.enable_thinking", "type"),
        ({"prompt": "a", "promt": "b"}, "$.promt", "additionalProperties"),
        ({"prompt": "a", "userdata": 1}, "$.userdata", "const"),
        ({"prompt": "a", "mode": 3}, "$.mode", "enum"),
        ({"prompt": "a", "mode": "GENERATE"}, "$.mode", "enum"),
        ({"prompt": "a", "keep_history": 2}, "$.keep_history", "maximum"),
        ([{"prompt": "a"}, {"mode": 0}, None, None], "$[3]", "maxItems"),
        ([None, {"prompt": "a"}, {"mode": 9}], "$[2].mode", "enum"),
        ({"token_input": {}}, "$.token_input", "required"),
        ({"token_input": {"input_ids": []}}, "$.token_input.input_ids", "minItems"),
        ({"token_input": {"input_ids": [1.5]}}, "$.token_input.input_ids[0]", "type"),
        ({"token_input": {"input_ids": [2**31]}}, "$.token_input.input_ids[0]", "maximum"),
        ({"token_input": {"input_ids": ["1"]}}, "$.token_input.input_ids[0]", "type"),
        ({"token_input": {"input_ids": [1, 2], "n_tokens": 3}}, "$.token_input.n_tokens", "const"),
        ({"token_input": {"input_ids": "abc"}}, "$.token_input.input_ids", "contentEncoding"),
        ({"token_input": {"input_ids": "AAAAAAA="}}, "$.token_input.input_ids", "multipleOf"),
        (
            {"token_input": {"input_ids": {"data": "AAAAAA==", "dtype": "float32"}}},
            "$.token_input.input_ids.dtype",
            "enum",
        ),
        ({"token_input": {"input_ids": {"data": [1, 2], "shape": [3]}}}, "$.token_input.input_ids", "shape"),
        ({"embed_input": {"embed": [1.0] * 8}}, "$.embed_input", "required"),
        ({"embed_input": {"embed": [1.0] * 8, "n_tokens": 3}}, "$.embed_input", "shape"),
        ({"embed_input": {"embed": [1.0] * 8, "n_tokens": 0}}, "$.embed_input.n_tokens", "minimum"),
        ({"embed_input": {"embed": [[1.0], [1.0, 2.0]]}}, "$.embed_input.embed", "items"),
        ({"embed_input": {"embed": [1e39], "n_tokens": 1}}, "$.embed_input.embed[0]", "maximum"),
        ({"multimodal_input": {"prompt": "a"}}, "$.multimodal_input", "required"),
        ({"multimodal_input": {"image_embed": TENSOR}}, "$.multimodal_input", "required"),
        ({"multimodal_input": {**IMAGE, "image": {"image_embed": TENSOR}}}, "$.multimodal_input", "oneOf"),
        ({"multimodal_input": {**IMAGE, "n_image": 3}}, "$.multimodal_input", "shape"),
        ({"multimodal_input": {"prompt": "a", "image": {}}}, "$.multimodal_input.image", "required"),
    ],
)
def test_wrong_inputs_are_refused_with_their_place(
    board: Board, method: str, params: Any, path: str, keyword: str
) -> None:
    board.load()
    error = board.refused(method, params)
    assert (error["code"], error["kind"]) == (-32602, "InvalidParams")
    assert (error["path"], error["keyword"]) == (path, keyword), error["message"]


@BOTH
def test_without_a_model(board: Board, method: str) -> None:
    error = board.refused(method, {"prompt": "Hi"})
    assert (error["code"], error["kind"]) == (-32000, "ModelNotInitialized")


@BOTH
def test_a_prompt_of_a_megabyte(board: Board, method: str) -> None:
    """What a client of the C server lost at 4096 bytes."""
    board.load(max_new_tokens=0, max_context_len=4096)
    board.script(tokens=100_000)
    prompt = "0123456789" * 100_000
    assert text_of(board, method, {"prompt": prompt}) == f"[user] {prompt}"
