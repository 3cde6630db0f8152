"""Texts become vectors, one run after the other; without a template where the runtime can do that."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest

from rkllmd.gateway.embeddings.protocol import WantedVectors, take_texts
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.upstream.vectors import vectors
from tests.gateway.statuses import TWO, status
from tests.gateway.upstream.scripted import daemon

REFUSED = {"code": -32010, "message": "bare is not supported.", "data": {"kind": "NotSupported"}}
HIDDEN = {"embd_size": 2, "hidden_states": {"data": base64.b64encode(struct.pack("2f", 3, 4)).decode()}}
FINAL = {"result": {"text": "", "finish_reason": "stop", "prompt_tokens": 5, "last_hidden_layer": HIDDEN}}


@pytest.mark.parametrize("can_be_bare", [True, False])
async def test_each_text_is_a_run(tmp_path: Path, can_be_bare: bool) -> None:
    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.status":
            return [{"result": TWO}]
        if asked["method"] == "rkllm.is_running":
            return [{"result": {"is_running": False}}]
        assert asked["params"]["mode"] == "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"
        return [FINAL] if can_be_bare or "bare" not in asked["params"] else [{"error": REFUSED}]

    async with daemon(tmp_path, script) as (scripted, upstream), upstream.connection() as connection:
        found = await vectors(upstream, connection, WantedVectors("demo", ["rain", "snow"]))
        assert scripted.asked[0].count("rkllm.run") == (2 if can_be_bare else 3), "what is refused is asked for once"
        assert (found.model, found.tokens) == ("demo", 10)
        assert [vector.tolist() for vector in found.vectors] == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
        with pytest.raises(WrongField, match="dimensions"):
            await vectors(upstream, connection, WantedVectors("demo", ["rain"], dimensions=3))


async def test_a_model_with_batches_is_given_whole_ones(tmp_path: Path) -> None:
    given: list[list[str]] = []

    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.status":
            return [{"result": status((1, "demo", "/m/demo.gguf"), n_batch=2)}]
        if asked["method"] == "rkllm.is_running":
            return [{"result": {"is_running": False}}]
        given.append([item["prompt"] for item in asked["params"]["rkllm_input"]])
        return [{"result": {"finish_reason": "stop", "last_hidden_layer": [{**HIDDEN, "num_tokens": 4}] * 2}}]

    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection:
        found = await vectors(upstream, connection, WantedVectors("demo", ["a", "b", "c"]))
    assert given == [["a", "b"], ["c", "c"]]
    assert (len(found.vectors), found.tokens) == (3, 12)


@pytest.mark.parametrize(
    ("path", "said"),
    [("$.rkllm_input[1].prompt_input", "must be text"), ("$.rkllm_input[1]", "the prompt has 2000 tokens")],
)
async def test_a_text_of_a_batch_that_is_wrong_is_named_as_it_was_sent(tmp_path: Path, path: str, said: str) -> None:
    wrong = {"code": -32602, "message": f"{path.removeprefix('$.')}: {said}", "data": {"path": path}}
    fields = Fields({"input": ["a", "b", "c", "d"]})
    texts = take_texts(fields, "input")

    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["method"] == "server.status":
            return [{"result": status((1, "demo", "/m/demo.gguf"), n_batch=2)}]
        if asked["method"] == "rkllm.is_running":
            return [{"result": {"is_running": False}}]
        is_first = asked["params"]["rkllm_input"][0]["prompt"] == "a"
        found = {"finish_reason": "stop", "last_hidden_layer": [{**HIDDEN, "num_tokens": 4}] * 2}
        return [{"result": found} if is_first else {"error": wrong}]

    async with daemon(tmp_path, script) as (_, upstream), upstream.connection() as connection:
        with pytest.raises(Failure) as refused:
            await vectors(upstream, connection, WantedVectors("demo", texts, names=fields.names))
    assert (refused.value.param, str(refused.value)) == ("input[3]", f"input[3]: {said}")
