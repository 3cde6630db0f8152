"""Handles: small numbers that are never used twice, and the only one that is meant by null."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.calls.handles import Handles, begin_behind, resolve
from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized, NotYours, RpcError
from rkllmd.language.model import Model
from rkllmd.machine.memory.guard import Demand


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


# -- owners


def test_what_belongs_to_a_client_is_nobody_elses() -> None:
    handles: Handles[str] = Handles("tensor memory", "rknn.create_mem")
    mine, everybodys = handles.add("mine", owner=1), handles.add("everybody's")
    assert (handles.owner_of(mine), handles.owner_of(everybodys)) == (1, None)
    assert handles.get(mine, 1) == "mine"
    assert handles.get(everybodys, 1) == handles.get(everybodys, 2) == "everybody's"
    for stranger in (2, None):
        with pytest.raises(NotYours) as caught:
            handles.get(mine, stranger)
        assert caught.value.message == "This tensor memory belongs to another connection."
        assert caught.value.data == {"handle": mine}
    assert handles.usable_by(1) == {mine: "mine", everybodys: "everybody's"}
    assert handles.usable_by(2) == handles.usable_by(None) == {everybodys: "everybody's"}
    assert handles.owned_by(1) == ["mine"]
    assert handles.owned_by(2) == []


def test_null_means_the_only_one_that_is_not_anothers() -> None:
    handles: Handles[str] = Handles("RKNN context", "rknn.init")
    handles.add("a", owner=1)
    with pytest.raises(ModelNotInitialized) as caught:
        handles.get(None, 2)
    assert caught.value.message == "No RKNN context is loaded: call rknn.init first."
    own = handles.add("b", owner=2)
    assert handles.get(None, 2) == "b"
    more = handles.add("c")
    with pytest.raises(AmbiguousHandle) as ambiguous:
        handles.get(None, 2)
    assert ambiguous.value.data == {"handles": [own, more]}, "and nothing of another's"


def test_an_error_names_nothing_of_anothers() -> None:
    handles: Handles[str] = Handles("tensor memory")
    handles.add("a", owner=1)
    own = handles.add("b", owner=2)
    with pytest.raises(InvalidHandle) as caught:
        handles.get(10**9, 2)
    assert caught.value.data == {"handle": 10**9, "handles": [own]}


@pytest.mark.parametrize(("count", "end"), [(10, ""), (11, " and 1 more"), (30, " and 20 more")])
def test_an_error_names_ten_handles_and_counts_the_rest(count: int, end: str) -> None:
    handles: Handles[str] = Handles("tensor memory")
    first = handles.add("x")
    for _ in range(count - 1):
        handles.add("x")
    with pytest.raises(InvalidHandle) as caught:
        handles.get(10**9, None)
    listed = caught.value.message.partition("there is ")[2]
    assert listed.startswith(f"{first}, ")
    assert listed.count(",") == 9
    assert listed.endswith(f"{end}.")
    assert (" more" in listed) is bool(end)
    assert len(caught.value.data["handles"]) == count, "a program gets all"


def test_a_removed_handle_is_not_anothers_but_dead() -> None:
    handles: Handles[str] = Handles("tensor memory")
    number = handles.add("a", owner=1)
    handles.remove(number)
    with pytest.raises(InvalidHandle):
        handles.get(number, 2)
    assert handles.owned_by(1) == []
    assert handles.usable_by(1) == {}


# -- a handle that may be of several kinds


def test_a_handle_of_one_of_two_kinds() -> None:
    contexts: Handles[str] = Handles("RKNN context", "rknn.init")
    matmuls: Handles[str] = Handles("matmul context", "rknn.matmul_create")
    both = [contexts, matmuls]
    with pytest.raises(ModelNotInitialized) as caught:
        resolve(both, None, 1)
    assert caught.value.message == "No RKNN context is loaded: call rknn.init first."
    matmul = matmuls.add("matmul", owner=1)
    assert resolve(both, None, 1) == resolve(both, matmul, 1) == "matmul"
    context = contexts.add("context", owner=1)
    assert resolve(both, context, 1) == "context"
    assert resolve(both, matmul, 1) == "matmul"
    with pytest.raises(AmbiguousHandle) as ambiguous:
        resolve(both, None, 1)
    assert ambiguous.value.data == {"handles": [context, matmul]}
    assert resolve([contexts], None, 1) == "context"
    for number in (context, matmul):
        with pytest.raises(NotYours):
            resolve(both, number, 2)
    with pytest.raises(InvalidHandle) as invalid:
        resolve([contexts], matmul, 1)
    assert invalid.value.data == {"handle": matmul, "handles": [context]}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([None, 1, 2])), max_size=8),
    st.sampled_from([None, 1, 2]),
    st.one_of(st.none(), st.integers(0, 9)),
)
def test_nobody_ever_gets_what_is_anothers(
    items: list[tuple[int, int | None]], client: int | None, asked: int | None
) -> None:
    registries: list[Handles[int]] = [Handles("a"), Handles("b")]
    numbers = []
    for position, (registry, owner) in enumerate(items):
        numbers.append(registries[registry].add(position, owner))
    number = None if asked is None else numbers[asked] if asked < len(numbers) else 10**9
    usable = [position for position, (_, owner) in enumerate(items) if owner in (None, client)]
    wanted = usable if asked is None else [position for position in usable if position == asked]
    if len(wanted) == 1:
        assert resolve(registries, number, client) == wanted[0]
        return
    with pytest.raises(RpcError) as caught:
        resolve(registries, number, client)
    if asked is None:
        assert caught.value.kind == ("AmbiguousHandle" if usable else "ModelNotInitialized")
    else:
        assert caught.value.kind == ("NotYours" if asked < len(numbers) else "InvalidHandle")


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
    model = Model(None, "/m", 5, 1, -1, 4096, False, None, Demand("/m", 5))  # type: ignore[arg-type]
    assert not model.pointer
    assert model.kv_cache.owner is None
    assert not model.kv_cache.holds_words
    assert model.keep_alive is not Model(None, "/m", 5, 1, -1, 4096, False, None, Demand("/m", 5)).keep_alive  # type: ignore[arg-type]


def test_a_handle_of_an_earlier_daemon_is_given_back_and_to_nobody_else() -> None:
    handles: Handles[str] = Handles("language model")
    last = handles.add("new")
    begin_behind(last + 5)
    handles.restore(last + 5, "old")
    assert handles.get(last + 5) == "old"
    assert handles.owner_of(last + 5) is None, "it is everybody's"
    assert handles.add("newer") == last + 6
    begin_behind(1)
    assert handles.add("newest") == last + 7, "what is behind us changes nothing"
