"""One call of C for several runs, on a runtime that the test plays: what C is given, and what is cleared before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, RKLLMInferMode
from rkllmd.errors import RuntimeFailure
from rkllmd.language.batches import running
from rkllmd.language.batches.company import Company, Lane
from rkllmd.language.generation import ERROR
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.runs.run import Run
from rkllmd.language.texts.transcript import FINISH, NORMAL
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.metrics import Metrics
from rkllmd.npu.durations import Durations
from tests.language.generation.generations import NULL, results
from tests.language.stand_ins import invocation

LAYOUT = LAYOUTS["1.3"]
PLACES = 3


class Stage:
    """A model with batches of three and its runtime; ``play`` is what a run does, given the company."""

    def __init__(self, play: Callable[[Any], int] | None = None, *, extension: Any = None) -> None:
        self.calls: list[str] = []
        self.given: list[list[bytes]] = []
        self.limits, self.ended = list[int](), list[Lane]()
        self.model: Any = SimpleNamespace(
            watched_files=[],
            kv_cache=KvCache(),
            coalesce=True,
            has_lost_cross_attention=False,
            is_in_doubt=False,
            is_async=False,
            is_asleep=False,
            n_batch=PLACES,
            strings={},
            is_bare=False,
            name=None,
            number=1,
            path="/m",
            pointer=1,
            generation=None,
            max_context_len=64,
            most_tokens=lambda params: params.max_new_tokens,
        )

        def run(_: Any, inputs: Any, parameters: Any, __: Any) -> int:
            self.calls.append("rkllm_run")
            self.given.append([item.prompt_input for item in inputs])
            self.limits.append(parameters._obj.max_new_tokens)
            return (play or finish)(self.model.generation)

        library = SimpleNamespace(
            layout=LAYOUT, version="1.3.0", rkllm_run=run, rkllm_abort=lambda _: self.calls.append("rkllm_abort")
        )
        self.language: Any = SimpleNamespace(
            runtime=SimpleNamespace(
                name="simulator",
                library=library,
                extension=extension,
                output=SimpleNamespace(mark=lambda: 0, since=lambda mark: []),
                run_function=lambda asynchronous: "rkllm_run",
                remember_kv_cache_sizes=lambda model: None,
                call=lambda function, *_: self.calls.append(function),
                raw_call=lambda function, *arguments, on: getattr(library, function)(*arguments),
                journal=CrashJournal(),
            ),
            npu=SimpleNamespace(
                queue=SimpleNamespace(running=None),
                at_token=lambda: None,
                boundaries=SimpleNamespace(wake=lambda: None),
                durations=Durations(),
                metrics=Metrics(),
                beside=SimpleNamespace(give=lambda name, work: work()),
            ),
            run_soon=lambda function: function(),
            clients={},
            detached_calls=(),
            unaware=set(),
            models=[self.model],
            config=SimpleNamespace(coalesce="always"),
        )

    def run(self, prompt: str, limit: int = 0, client: int = 1) -> Run:
        """Return a run of a client."""
        infer_params = LAYOUT["RKLLMInferParam"](mode=RKLLMInferMode.RKLLM_INFER_GENERATE, max_new_tokens=limit)
        rkllm_input = LAYOUT["RKLLMInput"]()
        rkllm_input.prompt_input = prompt.encode()
        given: Any = SimpleNamespace(c=rkllm_input, json={}, path="$", sources=None, keep=[])
        parameters: Any = SimpleNamespace(c=infer_params, json={}, path="$", sources=None, keep=[])
        return Run(self.language, invocation(client), self.model, given, parameters)

    def company(self, *runs: Run) -> Company:
        """Return the company of these runs."""
        return running.company_of([running.lane_of(run) for run in runs], self.ended.append)


def finish(company: Any) -> int:
    company.on_result(NULL, FINISH)
    return 0


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


class Extension(SimpleNamespace):
    """The portable library's own functions; ``takes``: whether it takes fewer entries."""

    def next_entries(self, handle: Any, entries: int) -> bool:
        """Note how many entries the next run is to have."""
        self.entries = entries
        return bool(self.takes)


@pytest.mark.parametrize(("takes", "given"), [(True, [b"a", b"bb"]), (False, [b"a", b"bb", b"a"])])
def test_the_portable_runtime_is_given_no_more_than_there_are(takes: bool, given: Sequence[bytes]) -> None:
    extension = Extension(takes=takes)
    stage = Stage(extension=extension)
    running.run_company(stage.company(stage.run("a"), stage.run("bb")))
    assert stage.given == [given]
    assert extension.entries == 2


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
