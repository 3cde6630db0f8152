"""Handles: small numbers that are never used twice, and the only one that is meant by null."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized
from rkllmd.handles import Handles, Model


def test_null_means_the_only_one() -> None:
    handles: Handles[str] = Handles("language model")
    number = handles.add("a")
    assert handles.get(None) == "a"
    assert handles.get(number) == "a"
    assert len(handles) == 1


def test_null_without_any() -> None:
    with pytest.raises(ModelNotInitialized) as caught:
        Handles("language model").get(None)
    assert caught.value.message == "No language model is loaded: call rkllm.init first."


def test_null_among_several() -> None:
    handles: Handles[str] = Handles("language model")
    numbers = [handles.add("a"), handles.add("b")]
    with pytest.raises(AmbiguousHandle) as caught:
        handles.get(None)
    assert caught.value.data == {"handles": numbers}
    handles.remove(numbers[0])
    assert handles.get(None) == "b"


@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_a_handle_that_there_is_not(number: int) -> None:
    handles: Handles[str] = Handles("language model")
    known = handles.add("a")
    with pytest.raises(InvalidHandle) as caught:
        handles.get(number)
    assert caught.value.data == {"handle": number, "handles": [known]}


def test_a_removed_handle_is_dead_and_removing_it_again_is_nothing() -> None:
    handles: Handles[str] = Handles("language model")
    number = handles.add("a")
    handles.remove(number)
    handles.remove(number)
    assert len(handles) == 0
    with pytest.raises(InvalidHandle):
        handles.get(number)


def test_handles_of_several_kinds_are_different_numbers() -> None:
    """A context's number in place of a model's must be an error and not another object."""
    models: Handles[str] = Handles("language model")
    contexts: Handles[str] = Handles("context")
    numbers = [models.add("a"), contexts.add("b"), models.add("c"), contexts.add("d")]
    assert len(set(numbers)) == 4
    with pytest.raises(InvalidHandle):
        models.get(numbers[1])


def test_iterating_while_one_is_removed() -> None:
    handles: Handles[int] = Handles("x")
    numbers = [handles.add(n) for n in range(3)]
    seen = []
    for item in handles:
        handles.remove(numbers[item])
        seen.append(item)
    assert seen == [0, 1, 2]
    assert len(handles) == 0


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_no_number_is_used_twice(adds: list[bool]) -> None:
    handles: Handles[int] = Handles("x")
    live: list[int] = []
    used: list[int] = []
    for position, add in enumerate(adds):
        if add:
            number = handles.add(position)
            assert number > 0
            assert number not in used
            used.append(number)
            live.append(number)
        elif live:
            handles.remove(live.pop(0))
        assert len(handles) == len(live)


def test_a_new_model_belongs_to_nobody() -> None:
    model = Model(None, "/m", 5, 1, -1, 4096, False, None)  # type: ignore[arg-type]
    assert not model.pointer
    assert model.history_client is None
    assert not model.history_kept
    assert model.keep_alive is not Model(None, "/m", 5, 1, -1, 4096, False, None).keep_alive  # type: ignore[arg-type]
