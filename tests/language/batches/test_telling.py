"""What each conversation of a batch is told, on a runtime that the test plays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from rkllmd.errors import FormatNotMet, InvalidParams, RuntimeFailure
from rkllmd.language.batches import running
from rkllmd.language.runs import guiding
from rkllmd.language.runs.rendering import plain_prompts
from rkllmd.language.runs.run import Run
from rkllmd.language.texts.transcript import FINISH, NORMAL
from tests.language.batches.stage import Extension, Stage
from tests.language.generation.generations import NULL, results
from tests.language.guided.schema_maker import form_of


def answer(company: Any) -> int:
    """Say a word to each, and end."""
    company.on_result(results(*[(100, b"yes") for _ in range(3)]), NORMAL)
    company.on_result(NULL, FINISH)
    return 0


def chat(stage: Stage, *said: str) -> Run:
    """Return a run of a conversation in which users and the model take turns."""
    roles = ("user", "assistant")
    messages: list[Any] = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    return replace(stage.run(""), messages=messages)


def test_each_is_told_its_own_conversation_and_answers_as_if_alone() -> None:
    stage = Stage(answer)
    company = stage.company(chat(stage, "one"), chat(stage, "two", "yes", "three"))
    running.run_company(company)
    ((first, second, third),) = stage.given
    assert first == b"one"
    assert b"two" in second
    assert second.endswith(b"three")
    assert third == first, "nobody's"
    found = [running.final_of(company, lane) for lane in company.lanes]
    assert [(item["text"], item["template"]) for item in found] == [("yes", "words")] * 2


def test_one_that_can_not_be_told_is_refused_and_the_others_go_on() -> None:
    stage = Stage(answer)
    company = stage.company(chat(stage, "one", "last"), chat(stage, "two"))
    running.run_company(company)
    assert stage.given == [[b"two"] * 3]
    assert [type(lane.refusal) for lane in company.lanes] == [InvalidParams, type(None)]
    assert len(stage.ended) == 2, "each once"


def test_what_c_refuses_for_one_is_no_error_of_the_others() -> None:
    def play(company: Any) -> int:
        return -1 if b"too long" in stage.given[-1] else answer(company)

    stage = Stage(play)
    company = stage.company(stage.run("too long"), stage.run("b"), stage.run("c"))
    running.run_company(company)
    assert [given[:2] for given in stage.given] == [[b"too long", b"b"], [b"too long"] * 2, [b"b", b"c"]]
    assert [type(lane.refusal) for lane in company.lanes] == [RuntimeFailure, type(None), type(None)]
    assert [running.final_of(company, lane)["text"] for lane in company.lanes[1:]] == ["yes", "yes"]


def test_a_conversation_goes_on_where_its_beginning_is() -> None:
    extension = Extension()
    stage = Stage(answer, extension=extension)
    for said in (("one",), ("two",)):
        company = stage.company(chat(stage, *said))
        running.run_company(company)
        running.final_of(company, company.lanes[0])
    assert sorted(stage.model.kv_cache.sequences) == [0, 1]
    company = stage.company(chat(stage, "two", "yes", "more"), chat(stage, "one", "yes", "more"), chat(stage, "new"))
    running.run_company(company)
    assert extension.entries == [(1, True), (0, True), (2, False)]
    final = running.final_of(company, company.lanes[0])
    assert final.get("cached_tokens") is None, "the runtime does not say how many it has read"
    turn = company.lanes[0].turn
    assert turn is not None
    assert turn.cached_tokens == 7


def test_an_entry_that_nothing_can_guide_any_more_is_no_error_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost:
        """A guide that can say nothing."""

        def __init__(self, *_: Any) -> None:
            self.error = "too much"

        def __call__(self, last: int, likeliest: int, allowed: int, words: int) -> None:
            raise ValueError(self.error)

    def play(company: Any) -> int:
        for guide in extension.guides:
            guide(-1, -1, 0, 1)
        company.on_result(results((-1, None), (100, b"yes")), NORMAL)
        company.on_result(NULL, FINISH)
        return 0

    monkeypatch.setattr(guiding, "TokenGuide", Lost)
    monkeypatch.setattr(guiding, "_tokenizer", lambda *_: None)
    extension = Extension()
    stage = Stage(play, extension=extension)
    kept = replace(stage.run("a"), form=form_of({"type": "object"}))
    company = stage.company(kept, stage.run("b"))
    running.run_company(company)
    with pytest.raises(FormatNotMet, match="too much"):
        running.final_of(company, company.lanes[0])
    assert running.final_of(company, company.lanes[1])["text"] == "yes"


def test_a_prompt_that_can_not_be_given_is_no_error_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def wrapped(run: Run, *, goes_on: bool) -> Iterator[None]:
        if any(asked.prompt_input == b"bad" for asked in run.input.c):
            raise InvalidParams("It does not fit.", path="$.rkllm_input")
        yield

    monkeypatch.setattr(plain_prompts, "wrapped", wrapped)
    stage = Stage(answer)
    company = stage.company(stage.run("a"), stage.run("bad"))
    running.run_company(company)
    assert [type(lane.refusal) for lane in company.lanes] == [type(None), InvalidParams]
    with pytest.raises(InvalidParams):
        running.generate(stage.run("bad"))
