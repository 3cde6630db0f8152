"""rkllm.run and rkllm.run_async: the four kinds of input, in all their JSON forms, as C sees them."""

from __future__ import annotations

import base64
import struct
from array import array
from typing import Any

import pytest

from tests.rkllm.board import Board

_OF_INFER_PARAMS = ("mode", "lora_params", "prompt_cache_params")
WIDTH = 8  # of the simulator's embeddings
BOTH = pytest.mark.parametrize("method", ["rkllm.run", "rkllm.run_async"])


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def floats(values: list[float]) -> str:
    return base64_of(array("f", values).tobytes())


def fnv1a(data: bytes) -> str:
    """Return the hash that the simulator's echo shows: it sees order and every bit."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def text_of(board: Board, method: str, params: Any) -> str:
    """Run and return the text, streamed or whole."""
    board.wire.request(method, params)
    messages = board.wire.until_final(1)
    assert "result" in messages[-1], messages[-1]
    return "".join(message["result"]["text"] for message in messages)


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
    answer = text_of(board, method, params[form])
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
# Images and videos

TENSOR = {"data": floats([0.5] * 4 * WIDTH), "dtype": "float32", "shape": [4, WIDTH]}
IMAGES: dict[str, Any] = {
    "flat": {"image_embed": TENSOR},
    "nested": {"image": {"image_embed": TENSOR}},
    "flat with counts": {"image_embed": floats([0.5] * 4 * WIDTH), "n_image": 1, "n_image_tokens": 4},
    "nested with counts": {"image": {"image_embed": [0.5] * 4 * WIDTH, "n_image": 1, "n_image_tokens": 4}},
    "image_embed_base64": {"image_embed_base64": floats([0.5] * 4 * WIDTH), "n_image_tokens": 4},
    "nested image_embed_base64": {"image": {"image_embed_base64": floats([0.5] * 4 * WIDTH), "n_image_tokens": 4}},
    "float16": {
        "image_embed": {
            "data": base64_of(struct.pack(f"<{4 * WIDTH}e", *[0.5] * 4 * WIDTH)),
            "dtype": "float16",
            "shape": [1, 4, WIDTH],
        }
    },
}


@BOTH
@pytest.mark.parametrize("form", IMAGES)
@pytest.mark.parametrize("member", ["multimodal_input", "multimodal"])
def test_an_image_in_both_json_forms(board: Board, method: str, form: str, member: str) -> None:
    board.load()
    image = dict(IMAGES[form])
    if "image" in image:
        image["image"] = {**image["image"], "image_width": 392, "image_height": 256}
    else:
        image |= {"image_width": 392, "image_height": 256}
    params = {member: {"prompt": "<image>What?", **image}}
    expected = "[user] <image>What?[image n=1x4 sum=16 size=392x256]"
    assert text_of(board, method, params) == expected
    for input_type in (3, "RKLLM_INPUT_MULTIMODAL"):
        assert text_of(board, method, {**params, "input_type": input_type}) == expected


def test_several_images(board: Board) -> None:
    board.load()
    board.script(echo_hash=1)
    values = [float(index) for index in range(3 * 2 * WIDTH)]
    for image in (
        {"image_embed": {"data": floats(values), "shape": [3, 2, WIDTH]}},
        {"image_embed": floats(values), "n_image": 3, "n_image_tokens": 2},
        {"image_embed": {"data": floats(values), "shape": [6, WIDTH]}, "n_image": 3},
    ):
        hashed = fnv1a(array("f", values).tobytes())
        expected = f"[user] What?[image n=3x2 sum={sum(values):g} hash={hashed} size=0x0]"
        assert board.result("rkllm.run", {"multimodal": {"prompt": "What?", **image}})["text"] == expected


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_image_tags_of_one_input(board: Board) -> None:
    board.load()
    tags = {"image_start": "<i>", "image_end": "</i>", "image_content": "<p>"}
    flat = {"prompt": "What?", "image_embed": TENSOR, **tags}
    nested = {"prompt": "What?", "image": {"image_embed": TENSOR, **tags}}
    for multimodal in (flat, nested):
        text = board.result("rkllm.run", {"multimodal_input": multimodal})["text"]
        assert text == "[user] What?[image n=1x4 sum=16 size=0x0 tags=<i>,</i>,<p>]"


@pytest.mark.parametrize("version", ["1.2.3"])
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("tag", ["image_start", "image_end", "image_content"])
def test_image_tags_of_one_input_are_not_in_1_2(board: Board, tag: str, nested: bool) -> None:
    board.load()
    image = {"image_embed": TENSOR, tag: "<i>"}
    multimodal = {"prompt": "What?", **({"image": image} if nested else image)}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.0 or 1.3.1")
    assert "rkllm.init" in error["message"], "it says where 1.2 takes them"


VIDEO = {
    "video_embed": {"data": floats([0.25] * 2 * 3 * WIDTH), "shape": [2, 3, WIDTH]},
    "video_start": "<v>",
    "video_end": "</v>",
    "video_content": "<f>",
    "frame_width": 64,
    "frame_height": 48,
}
SHOWN_VIDEO = "[video n=1x2x3 sum=12 size=64x48 tags=<v>,</v>,<f>]"


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_a_video_alone_and_beside_an_image(board: Board) -> None:
    board.load()
    alone = {"prompt": "What?", "video": VIDEO}
    assert board.result("rkllm.run", {"multimodal_input": alone})["text"] == f"[user] What?{SHOWN_VIDEO}"
    both = {**alone, "image": {"image_embed": TENSOR}}
    text = board.result("rkllm.run", {"multimodal_input": both})["text"]
    assert text == f"[user] What?[image n=1x4 sum=16 size=0x0]{SHOWN_VIDEO}"
    counted = {
        "video_embed": floats([0.25] * 6 * WIDTH),
        "n_video": 1,
        "n_frame_per_video": 2,
        "n_frame_tokens": 3,
    }
    text = board.result("rkllm.run", {"multimodal_input": {"prompt": "What?", "video": counted}})["text"]
    assert text == "[user] What?[video n=1x2x3 sum=12 size=0x0]"


@pytest.mark.parametrize("version", ["1.2.3"])
def test_video_is_not_in_1_2(board: Board) -> None:
    board.load()
    multimodal = {"prompt": "What?", "image": {"image_embed": TENSOR}, "video": VIDEO}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.0 or 1.3.1")


AUDIO = {
    "audio_embed": {"data": floats([0.25] * 2 * 3 * WIDTH), "shape": [2, 3, WIDTH]},
    "audio_start": "<a>",
    "audio_end": "</a>",
    "audio_content": "<s>",
}
SHOWN_AUDIO = "[audio n=2x3 sum=12 tags=<a>,</a>,<s>]"


@pytest.mark.parametrize("version", ["1.3.1"])
def test_audio_alone_and_beside_an_image_and_a_video(board: Board) -> None:
    board.load()
    alone = {"prompt": "What?", "audio": AUDIO}
    assert board.result("rkllm.run", {"multimodal_input": alone})["text"] == f"[user] What?{SHOWN_AUDIO}"
    everything = {**alone, "image": {"image_embed": TENSOR}, "video": VIDEO}
    text = board.result("rkllm.run", {"multimodal_input": everything})["text"]
    assert text == f"[user] What?[image n=1x4 sum=16 size=0x0]{SHOWN_VIDEO}{SHOWN_AUDIO}"
    counted = {"audio_embed": floats([0.25] * 6 * WIDTH), "n_audio_tokens": 6}
    text = board.result("rkllm.run", {"multimodal": {"prompt": "What?", "audio": counted}})["text"]
    assert text == "[user] What?[audio n=1x6 sum=12]"


@pytest.mark.parametrize("version", ["1.3.1"])
def test_inputs_of_a_batch_are_as_wide_as_those_of_1_3_1(board: Board) -> None:
    """The second one lies behind the first, 208 bytes further: with the layout of 1.3.0 C would read it elsewhere."""
    board.load(extend_param={"n_batch": 2})
    inputs = [{"multimodal_input": {"prompt": prompt, "audio": AUDIO}} for prompt in ("a", "b")]
    answer = board.result("rkllm.run", {"rkllm_input": inputs})
    assert [entry["text"] for entry in answer["batch"]] == [f"[user] {prompt}{SHOWN_AUDIO}" for prompt in ("a", "b")]


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0"])
def test_audio_is_not_in_earlier_runtimes(board: Board, version: str) -> None:
    board.load()
    multimodal = {"prompt": "What?", "image": {"image_embed": TENSOR}, "audio": AUDIO}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.1")
    assert error["runtime"] == f"rkllm {version}"


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
    board.load(max_new_tokens=0)
    board.script(tokens=100_000)
    prompt = "0123456789" * 100_000
    assert text_of(board, method, {"prompt": prompt}) == f"[user] {prompt}"
