"""An output of vision goes into the language model without leaving the daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkllmd.portable.demo.vision.draw import draw_digit
from tests.daemon import Daemon, until
from tests.rknn.board import DEMO, Array, Client, Simulator, b64, client, shared, tensor

# The simulator's embeddings are 8 wide: two tokens of an image.
ENCODER = b"RKNNSIM\ninput name=image type=float32 dims=2,8\noutput name=embed type=float32 dims=2,8\n"
WIDTH, TOKENS = 8, 2
EMBEDDING: Array = np.random.default_rng(5).standard_normal((TOKENS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def hashing(start_for_module: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """Return a daemon whose language model echoes a hash of all floats that it is given."""
    board = Simulator(start_for_module, tmp_path_factory.mktemp("hashing"), scenario="echo_hash=1")
    board.daemon.load()
    return board


def ask(wire: Client, image: Any, **members: Any) -> str:
    multimodal = {"prompt": "<image>What?", "image_embed": image, "n_image": 1, "n_image_tokens": TOKENS}
    multimodal |= {"image_width": 2, "image_height": 2}
    result = wire.result("rkllm.run", {"rkllm_input": {"multimodal_input": multimodal}}, **members)
    return str(result["text"])


def test_an_output_in_a_memory_is_an_image_for_the_language_model(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire:
        expected = ask(wire, tensor(EMBEDDING))
        assert "[image n=1x2 " in expected
        assert ask(wire, tensor(EMBEDDING[::-1].copy())) != expected, "each float counts"
        context = wire.load(ENCODER)
        mem = wire.memory(context, bytes(EMBEDDING.nbytes))
        wire.result("rknn.run", {"input_data": tensor(EMBEDDING)})
        asked = [{"index": 0, "want_float": True, "is_prealloc": True, "buf": {"mem": mem}}]
        (output,) = wire.result("rknn.outputs_get", {"outputs": asked})["outputs"]
        assert "data" not in output
        assert wire.contents(mem) == EMBEDDING.tobytes()
        assert ask(wire, {"mem": mem}) == expected
        assert ask(wire, {"mem": mem, "dtype": "float32", "shape": [TOKENS, WIDTH]}) == expected


def test_a_bound_output_and_a_part_of_a_memory_are_images_too(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire:
        expected = ask(wire, tensor(EMBEDDING))
        context = wire.load(ENCODER)
        mem = wire.memory(context, bytes(EMBEDDING.nbytes))
        wire.result("rknn.set_io_mem", {"mem": mem, "attr": {"name": "embed"}})
        wire.result("rknn.run", {"input_data": tensor(EMBEDDING)})
        assert ask(wire, {"mem": mem}) == expected
        big = wire.memory(context, b"\xff" * 64 + EMBEDDING.tobytes() + b"\xff" * 64)
        assert ask(wire, {"mem": big, "offset": 64, "size": EMBEDDING.nbytes}) == expected
        half = wire.memory(context, EMBEDDING.astype(np.float16).tobytes())
        rounded = EMBEDDING.astype(np.float16).astype(np.float32)
        assert ask(wire, {"mem": half, "dtype": "float16"}) == ask(wire, tensor(rounded))


def test_an_unaligned_part_of_a_memory_is_an_image_too(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire:
        expected = ask(wire, tensor(EMBEDDING))
        mem = wire.memory(wire.load(ENCODER), b"\xff" + EMBEDDING.tobytes())
        assert ask(wire, {"mem": mem, "offset": 1}) == expected


def test_an_image_by_descriptor_is_let_go_with_its_question(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire:
        expected = ask(wire, tensor(EMBEDDING))
        files = hashing.daemon.open_files()
        with shared(EMBEDDING.tobytes()) as fd:
            for _ in range(5):
                assert ask(wire, {"fd": 0}, fds=[fd]) == expected
        ask(wire, tensor(EMBEDDING))
        # The last call's may still be held by what waits for the next one.
        until("no descriptor stays for the garbage collector", lambda: hashing.daemon.open_files() <= files + 1)


def test_only_a_memory_that_fits_and_is_ones_own_is_an_image(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire, hashing.client() as other:
        mem = wire.memory(wire.load(ENCODER), EMBEDDING.tobytes())
        kept = wire.memory(None, EMBEDDING.tobytes(), keep=True)
        small = wire.memory(None, EMBEDDING.tobytes()[:-1])

        def refused(client: Client, number: int) -> Any:
            image = {"image_embed": {"mem": number}, "n_image": 1, "n_image_tokens": TOKENS}
            params = {"rkllm_input": {"multimodal_input": {"prompt": "<image>", **image}}}
            return client.refused("rkllm.run", params)["kind"]

        assert refused(wire, small) == "InvalidParams"
        assert refused(other, mem) == "NotYours"
        assert refused(wire, 999_999) == "InvalidHandle"
        assert ask(other, {"mem": kept}) == ask(wire, {"mem": mem})


def test_a_memory_that_goes_while_the_question_waits_is_refused(hashing: Simulator) -> None:
    with hashing, hashing.client() as wire, hashing.client() as other:
        mem = wire.memory(wire.load(ENCODER), EMBEDDING.tobytes())
        other.load(ENCODER)
        with hashing.playing(hold__rknn_run=1):
            entered = hashing.daemon.calls("rknn_run")
            other.request("rknn.infer", {"inputs": tensor(EMBEDDING)})
            hashing.wait_enter("rknn_run", entered + 1)
            wire.request("rknn.destroy_mem", {"mem": mem}, "destroy")
            image = {"image_embed": {"mem": mem}, "n_image": 1, "n_image_tokens": TOKENS}
            params = {"rkllm_input": {"multimodal_input": {"prompt": "<image>", **image}}}
            wire.request("rkllm.run", params, "ask")
            assert wire.result("server.queue", call_id="queue")["length"] == 2, "both passed the first look"
        assert wire.final("destroy")["result"]["success"] is True
        assert wire.final("ask")["error"]["data"]["kind"] == "InvalidHandle"
        assert "result" in other.final(1)


def test_a_declared_encoder_sees_for_its_model(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """The simulator's run copies its input, so the embeddings are the normalised colours: 3 tokens of 8 numbers."""
    (tmp_path / "vision.rknn").write_bytes(
        b"RKNNSIM\ninput name=image type=float32 dims=1,1,8,3\noutput name=embed type=float32 dims=1,3,8\n"
    )
    (tmp_path / "m.rkllm").touch()
    config = tmp_path / "rkllmd.toml"
    config.write_text(
        f"[models.m]\nmodel_path = '{tmp_path}/m.rkllm'\n[models.m.vision]\nmodel_path = '{tmp_path}/vision.rknn'\n"
        "size = [8, 1]\nmean = [1, 2, 3]\nstd = [2, 4, 8]\nimage_start = '<see>'\n"
    )
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 8, 3)
    embedding = ((pixels - np.array([1.0, 2.0, 3.0])) / np.array([2.0, 4.0, 8.0])).astype(np.float32)
    given = {"image_embed": tensor(embedding.reshape(1, 3, 8)), "image_width": 8, "image_height": 1}
    board = Simulator(start, tmp_path / "board", "--config", str(config), scenario="echo_hash=1")
    with board.client() as wire:
        wire.result("rkllm.init", {"model_path": "m"})

        def said(image: Any, text: str = "What? <see>") -> str:
            parts = [{"type": "image", "image": image}, {"type": "text", "text": text}]
            return str(wire.result("rkllm.run", {"messages": [{"role": "user", "content": parts}]})["text"])

        expected = said({**given, "image_start": "<see>"}, "What? < see>")
        assert said({"pixels": tensor(pixels)}) == expected
        assert said({"pixels": tensor(pixels[::-1].copy())}) == expected, "it is known already"
        assert board.daemon.calls("rknn_run") == 1
        wire.result("rkllm.destroy")
        assert board.daemon.calls("rknn_destroy") == 1


def test_the_demo_models_calculate_with_a_picture(start: Callable[..., Daemon]) -> None:
    daemon = start("--model", "demo", runtime="portable")
    with client(daemon) as wire:
        context = wire.load(DEMO / "digits_encoder.onnx")
        mem = wire.memory(context, bytes(128 * 4))
        for digit, answer in ((3, "3 + 4 = 7."), (8, "8 + 4 = 12.")):
            pixels = np.asarray(draw_digit(digit, seed=digit))
            wire.result("rknn.run", {"input_data": b64(pixels)})
            wire.result("rknn.outputs_get", {"outputs": [{"is_prealloc": True, "buf": {"mem": mem}}]})
            image = {"image_embed": {"mem": mem}, "n_image": 1, "n_image_tokens": 1}
            params = {"multimodal_input": {"prompt": "What is <image> plus 4?", **image}}
            assert wire.result("rkllm.run", params)["text"] == answer
            wire.result("rkllm.clear_kv_cache")
