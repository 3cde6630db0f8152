"""A batch's callbacks, dealt out: no token in another's stream, whoever leaves when."""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.errors import NotKept
from rkllmd.language.batches.company import Company, Lane
from rkllmd.language.generation import ERROR, Generation
from rkllmd.language.texts.transcript import FINISH, NORMAL, Transcript
from tests.language.generation.generations import NULL, Loop, results

# make fuzz: random cancels, hang-ups and ends among four clients.
ROUNDS = int(os.environ.get("RKLLMD_COMPANIES", "300"))


class Busy(Loop):
    """A loop for which another thread schedules."""

    def turn(self) -> None:
        """Run what is scheduled now."""
        for _ in range(len(self.scheduled)):
            self.scheduled.pop(0)()


class Batch:
    """A company of lanes, each with a client of its own, on a loop that works when the test says so."""

    def __init__(
        self,
        places: int,
        *,
        limits: dict[int, int] | None = None,
        stop: tuple[str, ...] = (),
        may_mute: bool = False,
        loop: Loop | None = None,
    ) -> None:
        self.loop = loop or Loop()
        self.sent: list[list[dict[str, Any]]] = [[] for _ in range(places)]
        self.ended: list[Lane] = []
        self.aborts = 0
        self.lanes = [self._lane(place, (limits or {}).get(place, -1), stop) for place in range(places)]
        self.company = Company(
            self.lanes, may_mute=may_mute, on_end_of_lane=self.ended.append, wake=self.loop.wake, at_token=None
        )
        for lane in self.lanes:
            lane.generation.on_progress = self._looking_at(lane)
        self.company.on_progress = self._look
        self.company.enter(self.lanes)

    def _lane(self, place: int, limit: int, stop: tuple[str, ...]) -> Lane:
        generation = Generation(
            mode=RKLLMInferMode.RKLLM_INFER_GENERATE,
            transcript=Transcript(1, stop),
            max_new_tokens=limit,
            can_free_buffer=False,
            wake=self.loop.wake,
            send=self.sent[place].extend,
        )
        run: Any = SimpleNamespace()
        return Lane(run, generation)

    def _looking_at(self, lane: Lane) -> Callable[[], None]:
        return lambda: self.company.look_at(lane)

    def _look(self) -> None:
        self.aborts += self.company.is_deserted

    def step(self, *texts: bytes | None) -> Any:
        """Let C call back with these texts, None for an entry that has ended; return what it has then."""
        given = results(*[(-1 if text is None else 100, text) for text in texts])
        assert self.company.on_result(given, NORMAL) == 0
        return given

    def leave(self, place: int) -> None:
        """Let a client go."""
        self.company.leave(self.lanes[place], aborted=True)

    def text(self, place: int) -> str:
        """Return what a client has got."""
        return "".join(partial["text"] for partial in self.sent[place])

    def final(self, place: int) -> dict[str, Any]:
        """Return a client's final result."""
        return self.lanes[place].generation.final()


def test_each_has_its_own_stream_and_its_own_end() -> None:
    batch = Batch(3)
    batch.step(b"a", b"b", b"c")
    batch.step(b"A", None, b"C")
    batch.loop.run()
    assert batch.ended == [batch.lanes[1]], "at once, not with the longest"
    assert batch.final(1) == {
        "text": "",
        "token_id": 0,
        "_callback_state": 2,
        "seq": 1,
        "finish_reason": "stop",
        "perf": batch.lanes[1].figures(),
    }
    batch.step(b"!", None, None)
    batch.company.on_result(NULL, FINISH)
    batch.loop.run()
    assert [batch.text(place) for place in range(3)] == ["aA!", "b", "cC"]
    assert [lane.tokens for lane in batch.lanes] == [3, 1, 2]
    assert sorted(map(batch.lanes.index, batch.ended)) == [0, 1, 2], "each once"
    assert batch.company.finished.is_set()
    assert batch.aborts == 0, "C ends by itself"


def test_the_lanes_of_a_callback_wake_the_loop_once() -> None:
    batch = Batch(4)
    batch.step(b"a", b"b", b"c", b"d")
    assert batch.loop.wakes == 1
    batch.loop.run()
    assert [batch.text(place) for place in range(4)] == ["a", "b", "c", "d"]


def test_one_that_leaves_has_no_more_tokens_and_costs_the_others_nothing() -> None:
    batch = Batch(2)
    batch.step(b"a", b"b")
    batch.leave(0)
    assert batch.final(0)["finish_reason"] == "abort"
    batch.step(b"A", b"B")
    batch.loop.run()
    assert [batch.text(place) for place in range(2)] == ["a", "bB"]
    assert batch.aborts == 0
    assert not batch.company.abort_requested


def test_when_the_last_one_leaves_c_is_aborted_and_again_as_long_as_tokens_come() -> None:
    batch = Batch(2)
    batch.leave(0)
    assert batch.aborts == 0
    batch.leave(1)
    assert batch.aborts == 1
    batch.step(b"a", b"b")
    batch.loop.run()
    assert batch.aborts == 2
    assert batch.sent == [[], []]


def test_each_has_its_own_limit_of_tokens() -> None:
    batch = Batch(2, limits={0: 1, 1: 2})
    assert batch.company.max_new_tokens == 2
    batch.step(b"a", b"b")
    batch.step(b"A", b"B")
    batch.loop.run()
    assert [batch.text(place) for place in range(2)] == ["a", "bB"]
    assert [batch.final(place)["finish_reason"] for place in range(2)] == ["length", "length"]
    assert batch.aborts == 0, "C ends at the larger limit by itself"


def test_without_a_limit_for_one_there_is_none_for_c() -> None:
    assert Batch(2, limits={0: 7}).company.max_new_tokens == 0


def test_each_stops_at_its_own_stop_string() -> None:
    batch = Batch(2, stop=("x",))
    batch.step(b"axb", b"c")
    batch.loop.run()
    batch.step(b"more", b"d")
    batch.loop.run()
    assert [batch.text(place) for place in range(2)] == ["a", "cd"]
    assert batch.final(0)["stop_sequence"] == "x"
    assert batch.final(0)["finish_reason"] == "stop"


def test_an_entry_that_nobody_wants_is_ended_where_the_runtime_can_do_that() -> None:
    batch = Batch(2, may_mute=True)
    batch.leave(1)
    given = batch.step(b"a", b"b")
    assert [given[0].token_id, given[1].token_id] == [100, -1]
    other = Batch(2)
    other.leave(1)
    assert other.step(b"a", b"b")[1].token_id == 100, "the vendor's memory stays as it is"


def test_lanes_that_were_left_before_have_no_entry() -> None:
    batch = Batch(3)
    batch.leave(0)
    assert batch.company.enter(batch.lanes) == tuple(batch.lanes[1:])
    batch.step(b"b", b"c")
    batch.loop.run()
    assert [batch.text(place) for place in range(3)] == ["", "b", "c"]


def test_an_error_of_c_leaves_the_rest_open() -> None:
    batch = Batch(2)
    batch.step(b"a", None)
    batch.company.on_result(NULL, ERROR)
    assert [lane.is_open for lane in batch.lanes] == [True, False]
    assert batch.company.failed
    assert batch.company.ended.is_set()


def test_the_figures_are_those_of_the_run() -> None:
    batch = Batch(2)
    given = results((100, b"a"), (100, b"b"))
    given[0].perf.prefill_tokens = 5
    batch.company.on_result(given, NORMAL)
    last = results((0, None), (0, None))
    last[0].perf.prefill_tokens = last[1].perf.prefill_tokens = 9
    batch.company.on_result(last, FINISH)
    assert [batch.final(place)["perf"]["prefill_tokens"] for place in range(2)] == [5, 9]
    assert batch.final(0)["perf"]["generate_tokens"] == 1


def test_a_lane_that_never_began_says_so() -> None:
    batch = Batch(2)
    batch.lanes[0].refusal = NotKept("No.", reason="full")
    batch.company.close(batch.lanes[0])
    batch.loop.run()
    assert batch.ended == [batch.lanes[0]]
    assert "perf" not in batch.final(0)


@pytest.mark.parametrize("state", [NORMAL, FINISH])
def test_null_from_c_is_no_crash(state: int) -> None:
    batch = Batch(2)
    batch.company.on_result(NULL, state)
    assert batch.company.ended.is_set() == (state == FINISH)


def test_all_of_them_together_are_one_run_to_the_worker() -> None:
    batch = Batch(2)
    batch.step(b"a", b"b")
    batch.step(b"a", b"b")
    assert batch.company.tokens == 2
    assert batch.company.so_far() == {}
    assert batch.company.has_begun
    assert batch.company.shares_batch


@given(st.data())
def test_whoever_leaves_when(data: st.DataObject) -> None:
    """What each has seen is the beginning of what is its own, up to where it has left; all of it if it stays."""
    places = data.draw(st.integers(1, 4))
    lengths = [data.draw(st.integers(0, 6)) for _ in range(places)]
    leaves = {place: data.draw(st.integers(0, 6)) for place in range(places) if data.draw(st.booleans())}
    batch = Batch(places, may_mute=data.draw(st.booleans()))
    for step in range(max(lengths) + 1):
        for place in (place for place, at in leaves.items() if at == step):
            batch.leave(place)
        if data.draw(st.booleans()):
            batch.loop.turn()
        batch.step(*[b"%c%d" % (97 + place, step) if step < lengths[place] else None for place in range(places)])
    batch.company.on_result(NULL, FINISH)
    batch.loop.run()
    for place in range(places):
        count = min(lengths[place], leaves.get(place, 99))
        assert batch.text(place) == "".join(f"{chr(97 + place)}{step}" for step in range(count))
        assert batch.final(place)["seq"] == count
    assert len(batch.ended) == places


def test_random_cancels_on_two_threads_leave_no_token_in_anothers_stream() -> None:
    """C calls back on a thread of its own, while the loop lets clients leave; the loop is never made to wait."""
    chance = random.Random(ROUNDS)
    for _ in range(ROUNDS):
        _one_round(chance)


def _one_round(chance: random.Random) -> None:
    batch = Batch(4, loop=Busy())
    lengths = [chance.randrange(1, 12) for _ in range(4)]

    def call_back() -> None:
        for step in range(max(lengths)):
            batch.step(*[b"%c" % (97 + place) if step < lengths[place] else None for place in range(4)])
        batch.company.on_result(NULL, FINISH)

    thread = threading.Thread(target=call_back)
    thread.start()
    finals: dict[int, dict[str, Any]] = {}
    for place in chance.sample(range(4), chance.randrange(5)):
        for _ in range(chance.randrange(3)):
            batch.loop.turn()
        batch.leave(place)
    while len(finals) < 4:
        batch.loop.turn()
        for lane in batch.ended:
            place = batch.lanes.index(lane)
            if place not in finals:
                finals[place] = batch.final(place)
                finals[place]["shown"] = len(batch.sent[place])
    thread.join()
    batch.loop.run()
    assert sorted(finals) == [0, 1, 2, 3], "each has its end, once"
    assert len(batch.ended) == 4
    for place, final in finals.items():
        assert set(batch.text(place)) <= {chr(97 + place)}, "no token of another"
        assert final["seq"] == final["shown"] == len(batch.sent[place]) <= lengths[place], "none after its end"


def test_a_callback_that_has_a_lane_closes_it_for_the_loop() -> None:
    """The loop does not wait for the lock: it goes on, and the callback does what is due."""
    batch = Batch(1)
    lane = batch.lanes[0]
    lane.lock.acquire()
    batch.leave(0)
    assert lane.is_open
    lane.lock.release()
    batch.step(b"late")
    assert not lane.is_open
    batch.loop.run()
    assert batch.text(0) == ""
    assert batch.ended == [lane]


def test_the_results_of_c_are_not_read_beyond_the_entries() -> None:
    batch = Batch(2)
    guard = results((100, b"a"), (100, b"b"), (7, b"foreign"))
    batch.company.on_result(ctypes.cast(guard, type(NULL)), NORMAL)
    batch.loop.run()
    assert [batch.text(place) for place in range(2)] == ["a", "b"]


def test_an_abort_of_the_call_before_is_not_one_of_the_next() -> None:
    """C may be told to abort a moment later, when it has been given another half of the lanes."""
    batch, anew = Batch(2), list[str]()
    batch.company.on_anew = lambda: anew.append("anew")
    first, batch.company.abort_requested = batch.company.ended, True
    batch.company.begin_anew()
    assert first.is_set()
    assert not batch.company.ended.is_set()
    assert not batch.company.abort_requested
    assert anew == ["anew"]
    batch.company.enter(batch.lanes[:1])
    batch.leave(0)
    assert batch.company.is_deserted, "whoever is not in it is not asked"
    assert batch.lanes[1].is_open
