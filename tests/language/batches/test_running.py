"""One call of C for several runs, on a runtime that the test plays: what C is given, and what is cleared before."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import RuntimeFailure
from rkllmd.language.batches import running
from rkllmd.language.generation import ERROR
from rkllmd.language.texts.transcript import NORMAL
from tests.language.batches.stage import Extension, Stage, finish
from tests.language.generation.generations import NULL, results


def test_c_is_given_all_inputs_and_the_largest_limit() -> None:
    stage = Stage()
    running.run_company(stage.company(stage.run("a", 3), stage.run("b", 5), stage.run("c", 4)))
    assert stage.given == [[b"a", b"b", b"c"]]
    assert stage.limits == [5]
    assert len(stage.ended) == 3
    assert stage.model.generation is None


def test_places_that_nobody_has_are_given_the_shortest_prompt_once_more() -> None:
    stage = Stage()
    running.run_company(stage.company(stage.run("longer"), stage.run("bb")))
    assert stage.given == [[b"longer", b"bb", b"bb"]]


def test_the_portable_runtime_is_given_no_more_than_there_are() -> None:
    extension = Extension()
    stage = Stage(extension=extension)
    running.run_company(stage.company(stage.run("a"), stage.run("bb")))
    assert stage.given == [[b"a", b"bb"]]
    assert extension.entries == [(0, False), (1, False)]


def test_words_of_a_conversation_are_cleared_and_each_is_told() -> None:
    stage = Stage()
    stage.model.kv_cache.take_turn(7, keep_history=True)
    company = stage.company(stage.run("a"), stage.run("b"))
    running.run_company(company)
    assert stage.calls == ["rkllm_clear_kv_cache", "rkllm_run"]
    assert company.history_reset
    assert stage.model.kv_cache.is_foreign_to(1, keep_history=True), "what a batch leaves is nobody's"
    assert not stage.model.kv_cache.is_foreign_to(1, keep_history=False)


def test_one_that_left_before_is_not_given_to_c() -> None:
    stage = Stage()
    company = stage.company(stage.run("a"), stage.run("b"))
    company.leave(company.lanes[0], aborted=True)
    running.run_company(company)
    assert stage.given == [[b"b", b"b", b"b"]]


def test_nothing_is_run_for_nobody() -> None:
    stage = Stage()
    company = stage.company(stage.run("a"))
    company.leave(company.lanes[0], aborted=True)
    running.run_company(company)
    assert stage.calls == []


def test_when_the_last_has_left_c_is_told_to_stop() -> None:
    def leave(company: Any) -> int:
        for lane in company.lanes:
            company.leave(lane, aborted=True)
        return -1

    stage = Stage(leave)
    running.run_company(stage.company(stage.run("a"), stage.run("b")))
    assert stage.calls == ["rkllm_run", "rkllm_abort"]


def test_a_failure_is_raised_for_those_that_are_left() -> None:
    def fail(company: Any) -> int:
        company.on_result(results((100, b"x"), (-1, None)), NORMAL)
        company.on_result(NULL, ERROR)
        return 0

    stage = Stage(fail)
    company = stage.company(stage.run("a"), stage.run("b"))
    with pytest.raises(RuntimeFailure, match="RKLLM_RUN_ERROR"):
        running.run_company(company)
    assert stage.ended == [company.lanes[1]]


def test_a_model_that_was_dead_is_loaded_again_and_all_are_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(lambda company: finish(company) if stage.calls.count("rkllm_run") > 1 else -1)
    stage.model.is_in_doubt = True
    for name in ("put_to_sleep", "load_again"):
        monkeypatch.setattr(running, name, lambda _, __, name=name: stage.calls.append(name))
    running.run_company(stage.company(stage.run("a"), stage.run("b")))
    assert stage.calls == ["rkllm_run", "put_to_sleep", "load_again", "rkllm_run"]
    assert len(stage.ended) == 2
    assert not stage.model.is_in_doubt


def test_a_run_with_a_batch_to_itself() -> None:
    def play(company: Any) -> int:
        company.on_result(results((100, b"x"), (100, b"y"), (100, b"z")), NORMAL)
        return finish(company)

    stage = Stage(play)
    final = running.generate(stage.run("a"))()
    assert final["text"] == "x"
    assert final["finish_reason"] == "stop"
    failing = Stage(lambda company: 3)
    with pytest.raises(RuntimeFailure, match="returned 3"):
        running.generate(failing.run("a"))
