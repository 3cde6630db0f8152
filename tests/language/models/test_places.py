"""Whether there is a place for a language model, and who makes room: decided without a runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams, ModelAlreadyLoaded, NotSupported
from rkllmd.language.models import places


class Models(list[Any]):
    """The models by their handles."""

    def get(self, number: int) -> Any:
        """Return the model of this handle."""
        return next(model for model in self if model.number == number)


def model(number: int, *, domain: int = 0, used_at: float = 0.0, is_asleep: bool = False) -> Any:
    return SimpleNamespace(
        number=number,
        path=f"/m{number}",
        name=None,
        size_bytes=number,
        domain=domain,
        used_at=used_at,
        is_asleep=is_asleep,
        sameness=(number,),
        file=None,
    )


def room(*models: Any, most: int = 1, second_init: str = "refuse", takes_several: bool = True) -> Any:
    asked: list[tuple[str, int, int]] = []
    guard = SimpleNamespace(
        footprints=SimpleNamespace(needed=lambda path, size: size * 10),
        check=lambda path, size, given_back=0: asked.append((path, size, given_back)),
    )
    return SimpleNamespace(
        models=Models(models),
        config=SimpleNamespace(max_models=most, second_init=second_init),
        runtime=SimpleNamespace(takes_several_models=takes_several, library=SimpleNamespace(runtime="RKLLM 1.2.1")),
        memory_guard=guard,
        asked=asked,
    )


def recipe(domain: int | None = None, default: int = 0) -> Any:
    extend = SimpleNamespace(base_domain_id=default)
    return SimpleNamespace(
        path="/new", size_bytes=5, domain=domain, where="$.param", param=SimpleNamespace(extend_param=extend)
    )


def numbers(models: list[Any]) -> list[int]:
    return [item.number for item in models]


def test_the_first_model_has_a_place() -> None:
    place = places.find(room(), recipe(), False)
    assert (place.replaced, place.forgotten, place.domain) == ([], [], 0)


def test_one_more_than_may_be_is_refused_by_name() -> None:
    with pytest.raises(ModelAlreadyLoaded) as refused:
        places.find(room(model(1)), recipe(), False)
    assert refused.value.data["loaded"] == [{"handle": 1, "model_path": "/m1"}]


def test_several_need_a_runtime_that_is_made_for_it() -> None:
    with pytest.raises(NotSupported):
        places.find(room(model(1), most=2, takes_several=False), recipe(), False)


def test_who_is_replaced() -> None:
    models = (model(1, used_at=2), model(2, used_at=1, is_asleep=True), model(3, used_at=3))
    assert numbers(places.find(room(*models, most=3), recipe(), True).replaced) == [1, 2, 3]
    assert numbers(places.find(room(*models, most=3), recipe(), 3).replaced) == [3]
    chosen = places.find(room(*models, most=2, second_init="replace"), recipe(), False)
    assert numbers(chosen.replaced) == [1], "the one used longest ago, of those that are loaded"


def test_a_sleeper_loses_its_place_where_there_are_too_many() -> None:
    asleep = (model(1, used_at=5, is_asleep=True), model(2, used_at=1, is_asleep=True))
    assert numbers(places.find(room(*asleep, most=2), recipe(), False).forgotten) == [2]
    assert numbers(places.find(room(*asleep, most=3), recipe(), False).forgotten) == []


def test_memory_that_the_replaced_give_back_counts() -> None:
    language = room(model(1), model(2, is_asleep=True), most=2)
    places.find(language, recipe(), True)
    assert language.asked == [("/new", 5, 10)], "a sleeper has nothing to give back"


def test_each_model_has_a_memory_domain_of_its_own() -> None:
    language = room(model(1, domain=0), model(2, domain=2), most=4)
    assert places.find(language, recipe(), False).domain == 1
    assert places.find(language, recipe(default=3), False).domain == 3
    assert places.find(language, recipe(domain=5), False).domain == 5
    with pytest.raises(InvalidParams) as refused:
        places.find(language, recipe(domain=2), False)
    assert refused.value.data["path"] == "$.param.extend_param.base_domain_id"
    assert 2 not in refused.value.data["limit"]
