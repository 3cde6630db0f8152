"""Whether there is a place for a language model, and who makes room: decided without a runtime."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.config.settings import Config
from rkllmd.errors import InvalidHandle, InvalidParams, ModelAlreadyLoaded, NotSupported, PermissionDenied
from rkllmd.language.models import places
from rkllmd.machine.memory.guard import Demand
from rkllmd.npu.job import Arrival

NEW = Demand("/new", 5)

ANNA, BERTA = 50_001, 50_002


class Models(list[Any]):
    """The models by their handles."""

    def get(self, number: int) -> Any:
        """Return the model of this handle."""
        for model in self:
            if model.number == number:
                return model
        raise InvalidHandle("There is none.", handle=number)


def model(number: int, *, domain: int = 0, used_at: float = 0.0, is_asleep: bool = False, user: int = ANNA) -> Any:
    return SimpleNamespace(
        number=number,
        path=f"/m{number}",
        name=None,
        demand=Demand(f"/m{number}", number),
        domain=domain,
        used_at=used_at,
        is_asleep=is_asleep,
        swap=False,
        sameness=(number,),
        file=None,
        user=user,
    )


def room(*models: Any, most: int = 1, second_init: str = "refuse", takes_several: bool = True, **settings: Any) -> Any:
    asked: list[tuple[Demand, int]] = []
    guard = SimpleNamespace(
        footprints=SimpleNamespace(least=lambda demand: demand.file_bytes * 10),
        check=lambda demand, given_back=0: asked.append((demand, given_back)),
    )
    return SimpleNamespace(
        models=Models(models),
        config=Config(max_models=most, second_init=second_init, **settings),
        runtime=SimpleNamespace(takes_several_models=takes_several, library=SimpleNamespace(runtime="RKLLM 1.2.1")),
        memory_guard=guard,
        states=SimpleNamespace(size_bytes=0),
        asked=asked,
    )


def recipe(domain: int | None = None, default: int = 0, *, swap: bool = False) -> Any:
    extend = SimpleNamespace(base_domain_id=default)
    return SimpleNamespace(
        path="/new",
        demand=NEW,
        domain=domain,
        where="$.param",
        param=SimpleNamespace(extend_param=extend),
        swap=swap,
    )


def numbers(models: list[Any]) -> list[int]:
    return [item.number for item in models]


def test_the_first_model_has_a_place() -> None:
    place = places.find(room(), recipe(), False, None)
    assert (place.replaced, place.forgotten, place.domain) == ([], [], 0)


def test_one_more_than_may_be_is_refused_by_name() -> None:
    with pytest.raises(ModelAlreadyLoaded) as refused:
        places.find(room(model(1)), recipe(), False, None)
    assert refused.value.data["loaded"] == [{"handle": 1, "model_path": "/m1"}]


def test_several_need_a_runtime_that_is_made_for_it() -> None:
    with pytest.raises(NotSupported):
        places.find(room(model(1), most=2, takes_several=False), recipe(), False, None)


def test_who_is_replaced() -> None:
    models = (model(1, used_at=2), model(2, used_at=1, is_asleep=True), model(3, used_at=3))
    assert numbers(places.find(room(*models, most=3), recipe(), True, None).replaced) == [1, 2, 3]
    assert numbers(places.find(room(*models, most=3), recipe(), 3, None).replaced) == [3]
    chosen = places.find(room(*models, most=2, second_init="replace"), recipe(), False, None)
    assert numbers(chosen.replaced) == [1], "the one used longest ago, of those that are loaded"


def test_a_sleeper_loses_its_place_where_there_are_too_many() -> None:
    asleep = (model(1, used_at=5, is_asleep=True), model(2, used_at=1, is_asleep=True))
    assert numbers(places.find(room(*asleep, most=2), recipe(), False, None).forgotten) == [2]
    assert numbers(places.find(room(*asleep, most=3), recipe(), False, None).forgotten) == []


def test_a_model_that_may_be_swapped_in_sends_others_to_sleep() -> None:
    models = (model(1, used_at=2), model(2, used_at=1, is_asleep=True), model(3, used_at=3, domain=1))
    language = room(*models, most=2)
    place = places.find(language, recipe(swap=True), False, BERTA)
    assert (numbers(place.displaced), place.replaced, place.forgotten, place.domain) == ([1], [], [], 2)
    assert language.asked == [(NEW, 10)]
    alone = places.find(room(model(1)), recipe(swap=True), False, BERTA)
    assert (numbers(alone.displaced), alone.domain) == ([1], 0)
    assert numbers(places.find(room(model(1)), recipe(swap=True), True, ANNA).replaced) == [1]


def test_who_would_leave_for_a_load_that_waits() -> None:
    models = (model(1, used_at=2), model(2, used_at=1, is_asleep=True), model(3, used_at=3, domain=1))
    full, roomy = room(*models, most=2), room(*models, most=3)

    def leaving(language: Any, wanted: Any, replace: bool | int = False) -> list[int] | None:
        found = places.arrival(language, wanted, replace).displaces
        return None if found is None else numbers(list(found))

    assert leaving(full, recipe(swap=True)) == [1]
    assert leaving(roomy, recipe(swap=True)) == []
    assert leaving(full, recipe(), True) == [1, 3], "a sleeper leaves nothing"
    assert leaving(full, recipe(), 3) == [3]
    assert leaving(full, recipe(), 99) == [], "it will be refused"
    assert leaving(full, recipe()) == [], "that too"
    assert leaving(room(*models, most=2, second_init="replace"), recipe()) == [1]


def test_for_a_load_of_what_is_there_nobody_leaves_and_a_sleeper_is_woken() -> None:
    asleep, awake = model(2, is_asleep=True), model(1)
    language = room(awake, asleep)
    wanted = recipe(swap=True)
    wanted.path, wanted.sameness = asleep.path, asleep.sameness
    assert places.arrival(language, wanted, False) == Arrival(asleep, [awake])
    asleep.is_asleep, awake.is_asleep = False, True
    assert places.arrival(language, wanted, False) == Arrival(asleep, None)
    assert places.arrival(language, wanted, True).displaces == [asleep], "it is loaded anew"


def test_memory_that_the_replaced_give_back_counts() -> None:
    language = room(model(1), model(2, is_asleep=True), most=2)
    places.find(language, recipe(), True, None)
    assert language.asked == [(NEW, 10)], "a sleeper has nothing to give back"


def test_each_model_has_a_memory_domain_of_its_own() -> None:
    language = room(model(1, domain=0), model(2, domain=2), most=4)
    assert places.find(language, recipe(), False, None).domain == 1
    assert places.find(language, recipe(default=3), False, None).domain == 3
    assert places.find(language, recipe(domain=5), False, None).domain == 5
    with pytest.raises(InvalidParams) as refused:
        places.find(language, recipe(domain=2), False, None)
    assert refused.value.data["path"] == "$.param.extend_param.base_domain_id"
    assert 2 not in refused.value.data["limit"]


def test_a_user_may_replace_its_own_and_what_the_operator_gives_to_all() -> None:
    language = room(model(1, user=ANNA), most=1)
    assert numbers(places.find(language, recipe(), True, ANNA).replaced) == [1]
    for replace in (True, 1):
        with pytest.raises(PermissionDenied, match="Language model 1 is shared"):
            places.find(language, recipe(), replace, BERTA)
    given = room(model(1, user=ANNA), most=1, second_init="replace")
    assert numbers(places.find(given, recipe(), False, BERTA).replaced) == [1]


def test_a_user_has_as_many_models_as_its_share() -> None:
    language = room(model(1, user=ANNA), model(2, user=ANNA, domain=1, is_asleep=True), most=3, max_models_per_user=1)
    with pytest.raises(ModelAlreadyLoaded, match="This user has 1 models loaded") as caught:
        places.find(language, recipe(), False, ANNA)
    assert caught.value.data["loaded"] == [{"handle": 1, "model_path": "/m1"}]
    assert (caught.value.data["setting"], caught.value.data["limit"]) == ("max_models_per_user", 1)
    assert places.find(language, recipe(), 1, ANNA), "one in the place of another"
    assert places.find(language, recipe(), False, BERTA)
    assert places.find(language, recipe(), False, None), "the daemon"
