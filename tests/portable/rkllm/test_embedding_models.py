"""An embedding model (an encoder such as BERT) as the main model: what it has is served, the rest says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode
from rkllmd.portable import build
from rkllmd.portable.driver import Driver, embeddings
from tests.daemon import Daemon
from tests.portable.gguf_files import embedding_model

GENERATE, HIDDEN, LOGITS = RKLLMInferMode
WIDTH = 32
SENTENCE = "embedding model (bert): it generates no text and has no logits, only hidden states (mode 1"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return embedding_model(tmp_path / "bert.gguf", width=WIDTH)


def test_hidden_states_of_each_token(model: Path) -> None:
    with Driver(build.build(), model) as driver:
        rows = driver.run("w1 w2 w3", mode=HIDDEN).rows[0]
        assert [len(row) for row in rows] == [WIDTH] * 5, "[CLS] w1 w2 w3 [SEP]"
        assert driver.run("w1 w2 w3", mode=HIDDEN, keep_history=True).rows[0] == rows
        assert driver.run("w1 w2 w3", mode=HIDDEN, keep_history=True).rows[0] == rows, "nothing is kept between runs"
        # Attention looks in both directions: what comes later changes what came before.
        assert driver.run("w1 w2 w4", mode=HIDDEN).rows[0][1] != rows[1]
        assert driver.run(embeddings([[0.1] * WIDTH] * 3), mode=HIDDEN).status == 0


def test_of_a_batch_each_text_is_its_own(model: Path) -> None:
    with Driver(build.build(), model) as alone:
        first, second = (alone.run(text, mode=HIDDEN).rows[0] for text in ("w1 w2 w3", "w4"))
    with Driver(build.build(), model, n_batch=2) as driver:
        assert driver.run("w1 w2 w3", "w4", mode=HIDDEN).rows == [first, second]


@pytest.mark.parametrize("mode", [GENERATE, LOGITS])
def test_it_says_what_it_is(model: Path, mode: RKLLMInferMode, capfd: pytest.CaptureFixture[str]) -> None:
    with Driver(build.build(), model) as driver:
        assert driver.run("w1", mode=mode).status != 0
        assert SENTENCE in capfd.readouterr().err
        assert driver.run("w1", mode=HIDDEN).status == 0


def test_text_beyond_the_trained_positions_is_refused(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Driver(build.build(), model, max_context_len=4096) as driver:
        assert driver.run("w1 " * 100, mode=HIDDEN).status != 0
        assert "the prompt of 102 tokens does not fit the context of 64 tokens" in capfd.readouterr().err
        assert len(driver.run("w1 " * 62, mode=HIDDEN).rows[0]) == 64


def test_it_has_nothing_for_a_prompt_cache(model: Path, tmp_path: Path) -> None:
    with Driver(build.build(), model) as driver:
        assert driver.run("w1", mode=HIDDEN, save_cache=tmp_path / "cache").status != 0
        assert not (tmp_path / "cache").exists()
        assert driver.clear() == 0


def test_over_the_socket(start: Callable[..., Daemon], model: Path) -> None:
    daemon = start(runtime="portable")
    with daemon.connect() as wire:
        assert wire.ask("rkllm.init", {"model_path": str(model)})["result"]["success"]
        hidden: dict[str, Any] = wire.ask(
            "rkllm.run", {"prompt": "w1 w2", "mode": "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"}
        )["result"]
        assert hidden["last_hidden_layer"]["num_tokens"] == 4
        assert hidden["last_hidden_layer"]["embd_size"] == WIDTH
        error = wire.ask("rkllm.run", {"prompt": "w1 w2"})["error"]
        assert SENTENCE in error["message"]
