"""Ollama's two ways to ask for vectors."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from rkllmd.gateway.embeddings.protocol import Vectors
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.ollama import embedding

OPTIONS = {"num_ctx": 8, "temperature": 0.7, "top_p": 0.9, "min_p": 0.1, "seed": 1, "num_predict": 9, "stop": ["a"]}
FOUND = Vectors("demo", [array("f", [1.0, 0.0]), array("f", [0.0, 1.0])], 7)


def test_texts_become_vectors() -> None:
    wanted = embedding.read_embed(
        {"model": "demo", "input": ["a", "b"], "truncate": True, "keep_alive": "5m", "options": OPTIONS}
    )
    assert (wanted.model, wanted.texts, wanted.dimensions) == ("demo", ["a", "b"], None)
    answer = embedding.answer_embed(wanted, FOUND)
    assert answer["embeddings"] == [[1.0, 0.0], [0.0, 1.0]]
    assert (answer["model"], answer["prompt_eval_count"]) == ("demo", 7)
    assert all(type(answer[name]) is int for name in ("total_duration", "load_duration"))


def test_the_older_way_has_one_text() -> None:
    wanted = embedding.read_embeddings({"model": "demo", "prompt": "a"})
    assert wanted.texts == ["a"]
    assert embedding.answer_embeddings(wanted, FOUND) == {"embedding": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"input": 0}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "options": {"temprature": 1}}, "options.temprature"),
        ({"input": "a", "prompt": "a"}, "prompt"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        embedding.read_embed(body)
    assert refused.value.name == name


@pytest.mark.parametrize(("keep_alive", "leaves"), [(None, False), ("5m", False), (-1, False), (0, True), ("0s", True)])
def test_without_texts_the_model_is_loaded_or_unloaded(keep_alive: Any, *, leaves: bool) -> None:
    nothing: list[dict[str, Any]] = [{}, {"input": ""}, {"input": []}]
    for empty in nothing:
        wanted = embedding.read_embed({"model": "demo", "keep_alive": keep_alive, **empty})
        assert (wanted.texts, wanted.leaves) == ([], leaves)
        assert embedding.answer_embed(wanted, Vectors("demo", [], 0))["embeddings"] == []
    wanted = embedding.read_embeddings({"model": "demo", "prompt": "", "keep_alive": keep_alive})
    assert (wanted.texts, wanted.leaves) == ([], leaves)
    assert embedding.answer_embeddings(wanted, Vectors("demo", [], 0)) == {"embedding": []}
